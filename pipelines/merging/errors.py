"""What stops a merge."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.errors import PipelineError
from pipelines.merging.parts import Problem


class NotVerified(PipelineError):
    """What was written is not what was read: nothing of it is published."""

    def __init__(self, key: str, found: str) -> None:
        super().__init__(f"{key}: expected every row of its sources once, {found}")


class GenerationMoved(PipelineError):
    """A month was merged by another run since it was planned."""

    def __init__(self, month: str, expected: Sequence[str], found: Sequence[str]) -> None:
        super().__init__(
            f"{month}: expected the generation of {_named(expected)}, found that of "
            f"{_named(found)}; plan again"
        )


class NothingLeft(PipelineError):
    """Every source of a merge is bad."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        told = "; ".join(map(str, self.problems[:3]))
        more = f" and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        super().__init__(f"expected sources to merge, found none that is good: {told}{more}")


def _named(keys: Sequence[str]) -> str:
    return f"{keys[0].rpartition('/')[0]} ({len(keys)} files)" if keys else "nothing"


class Unmergeable(Exception):
    """A source whose rows must not reach a merged file, with what was expected and found."""


class NotRecovered(PipelineError):
    """A source of a merge cannot be put together again."""
