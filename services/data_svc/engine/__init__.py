"""Turns uploaded files into dataset versions: scanning, checking, splitting, writing. No database, no wire."""
