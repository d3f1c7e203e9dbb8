"""What can be wrong with a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration file; ``path`` reads like ``filterChain.filters[2].order``.

    >>> print(Problem("p.yaml", "channels", "at least 1 item", "0 items"))
    p.yaml: channels: expected at least 1 item, found 0 items
    """

    file: str
    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.path}" if self.path else self.file
        return f"{where}: expected {self.expected}, found {self.found}"


class ConfigurationError(Exception):
    """A configuration was refused; ``problems`` holds every fault, the message one a line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)
