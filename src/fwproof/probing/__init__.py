"""Probing: sends real packets from real vantage points and watches both ends."""
