"""Floor 6: a recorded trial as a file that other tools run: psql, isolationtester, pytest."""
