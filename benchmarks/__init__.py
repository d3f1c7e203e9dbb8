"""Side-by-side timings against named peers; not installed with the package."""
