"""What stops a job before or after its pipeline ran."""

from __future__ import annotations


class JobError(Exception):
    """Base of this package's errors; the command line prints the message and exits 1."""


class WrongUse(JobError):
    """The command was given something that cannot be; exits 2."""


class UnitsHeld(JobError):
    """A living run holds units that were asked for; exits 3."""


class PlanMoved(JobError):
    """Inputs, settings or code are no longer those of the plan."""


class OverBudget(JobError):
    """What is left to do is taken to cost more than was allowed."""


class Cancelled(JobError):
    """The run was asked to stop, and its units were given back; exits 130."""


class NothingFound(JobError):
    """What was asked for is not there."""
