"""Merging the lake: many fragments to few files, verified, and switched at once."""
