"""What was planned, tried and published, unit by unit."""
