"""What Muster is timed against: scripts that do the same work another way."""
