"""Beam pipelines: sources, the kernel step, sinks."""
