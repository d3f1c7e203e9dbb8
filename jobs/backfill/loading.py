"""From what a request names to the work that it means."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from conf.load import program_names
from jobs.backfill.plan import Request
from jobs.backfill.planning import Loader
from jobs.backfill.work import Work
from jobs.errors import WrongUse


def loader(request: Request) -> Loader:
    """Return what loads a program's work for the job, the environment and the folder asked for.

    Each program is loaded once: a plan and its application see the same settings.
    """
    if request.job == "merge":
        from jobs.merges.loading import merge_loader

        return merge_loader(request)
    if request.job != "solicit":
        raise WrongUse(f"job: expected one of 'muster jobs', found '{request.job}'")

    @cache
    def load(program: str) -> Work:
        # Beam takes seconds to import: only who plans or runs pays for it.
        from jobs.solicit import SolicitJob

        return SolicitJob.load(program, request.environment, Path(request.out))

    return load


def programs_asked(named: tuple[str, ...]) -> tuple[str, ...]:
    """Return the programs that were named, each once, in order; all that are known without any."""
    return tuple(dict.fromkeys(named)) or program_names()
