"""What stops a job before or after its pipeline ran."""

from __future__ import annotations


class JobError(Exception):
    """Base of this package's errors; the command line prints the message and exits 1."""


class WrongUse(JobError):
    """The command was given something that cannot be; exits 2."""


class RunBusy(JobError):
    """Another run writes to the same place."""


class NothingFound(JobError):
    """What was asked for is not there."""
