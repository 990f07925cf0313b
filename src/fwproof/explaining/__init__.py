"""Why a packet gets where it gets, in words, and the smallest change of the tables that would decide it otherwise."""
