"""Lets Beam's ``--setup_file`` build the source distribution; see pyproject.toml."""

from setuptools import setup

setup()
