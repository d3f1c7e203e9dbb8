"""The way of the rows through the chain: what each step turned away and what was left after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.results import Rejected, RunResult

#: How the chain names duplicates.
DEDUPE = "dedupe"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: of ``came`` rows, ``away`` did not go on, for ``reasons`` that add up to it."""

    name: str
    kind: str
    came: int
    away: int
    reasons: tuple[tuple[str, int], ...]

    @property
    def left(self) -> int:
        """Rows that went on."""
        return self.came - self.away


def funnel(result: RunResult) -> tuple[Step, ...]:
    """Return the steps of all units together in chain order; the last one leaves what was written.

    Steps that the run's chain does not name come after those that it names. Rows that no line of
    the balance accounts for (units that failed half-way) leave in a step of their own.
    """
    total = result.total
    lines = _lines(result.chain, total.rejected, total.deduplicated)
    if total.quarantined:
        lines.insert(0, ("quarantine", "unreadable", (("QUARANTINED", total.quarantined),)))
    if total.difference:
        lines.append(("not accounted for", "", (("UNACCOUNTED", total.difference),)))
    steps: list[Step] = []
    came = total.read
    for name, kind, reasons in lines:
        steps.append(Step(name, kind, came, sum(count for _, count in reasons), reasons))
        came = steps[-1].left
    return tuple(steps)


Line = tuple[str, str, tuple[tuple[str, int], ...]]


def _lines(chain: tuple[str, ...], rejected: tuple[Rejected, ...], deduplicated: int) -> list[Line]:
    return [
        (name, *_step(name, rejected, deduplicated))
        for name in _order(chain, rejected, deduplicated > 0)
    ]


def _order(
    chain: tuple[str, ...], rejected: Iterable[Rejected], deduplicated: bool
) -> tuple[str, ...]:
    """Return the chain with what it does not name: filters, duplicates, then capacity."""
    found = sorted(rejected, key=lambda line: line.filter_type == "CAPACITY")
    before = [line.filter_id for line in found if line.filter_type != "CAPACITY"]
    after = [line.filter_id for line in found if line.filter_type == "CAPACITY"]
    names = (*chain, *before, *([DEDUPE] if deduplicated else []), *after)
    return tuple(dict.fromkeys(names))


def _step(
    name: str, rejected: tuple[Rejected, ...], deduplicated: int
) -> tuple[str, tuple[tuple[str, int], ...]]:
    if name == DEDUPE:
        return "duplicates", (("DUPLICATE", deduplicated),) if deduplicated else ()
    lines = [line for line in rejected if line.filter_id == name]
    kind = lines[0].filter_type.lower().replace("_", " ") if lines else ""
    return kind, tuple((line.reason_code, line.count) for line in lines if line.count)
