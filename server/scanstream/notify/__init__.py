"""Tells others that scans have ended: targets that are allowed, each told at least once, signed."""
