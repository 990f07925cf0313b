"""What hosts say of themselves besides their rule tables: fail2ban, drop logs, what is loaded at boot.

Pure: text in, values out. Every parser keeps what it does not understand as a fault of that text.
"""
