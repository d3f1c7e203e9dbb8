"""Merges as a job: its options, its units, and what is shown of it."""
