"""What a run did: counts of every unit, their sums, and the document that ``--json`` prints.

Pure data. Seconds appear in stages and runs, never in a balance: a rerun balances to the same
numbers however long it took.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.table import Table

Status = Literal["published", "unchanged", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class StageCount:
    """Rows that one stage of the chain saw in one unit, and the seconds it worked on them.

    ``stage`` is the kernel's name, or the source's or sink's; ``rejected`` are all rows that do not
    go on, so duplicates count here as well. ``rows_in == passed + rejected``.
    """

    stage: str
    rows_in: int
    passed: int
    rejected: int
    seconds: float

    def __add__(self, other: StageCount) -> StageCount:
        return StageCount(
            self.stage,
            self.rows_in + other.rows_in,
            self.passed + other.passed,
            self.rejected + other.rejected,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """How many rows one filter turned away for one reason (property 38)."""

    filter_type: str
    filter_id: str
    reason_code: str
    count: int

    def __add__(self, other: Rejected) -> Rejected:
        return replace(self, count=self.count + other.count)


@dataclass(frozen=True, slots=True)
class Balance:
    """Where every row that was read went; adding two balances adds every line.

    >>> a = Balance(read=5, written=2, rejected=(Rejected("TRUST", "sane", "OUT_OF_RANGE", 3),))
    >>> a.balanced, (a + a).difference, (a + a).rejected_by_code()
    (True, 0, {'OUT_OF_RANGE': 6})
    """

    read: int = 0
    written: int = 0
    deduplicated: int = 0
    quarantined: int = 0
    rejected: tuple[Rejected, ...] = ()

    def __add__(self, other: Balance) -> Balance:
        return Balance(
            self.read + other.read,
            self.written + other.written,
            self.deduplicated + other.deduplicated,
            self.quarantined + other.quarantined,
            _sum_rejected((*self.rejected, *other.rejected)),
        )

    @property
    def rejected_total(self) -> int:
        """Rows rejected for any reason."""
        return sum(r.count for r in self.rejected)

    @property
    def difference(self) -> int:
        """Rows read that no other line accounts for; negative when more came out than went in."""
        accounted = self.written + self.deduplicated + self.quarantined + self.rejected_total
        return self.read - accounted

    @property
    def balanced(self) -> bool:
        """Whether every row read is accounted for exactly once."""
        return self.difference == 0

    def rejected_by_code(self) -> dict[str, int]:
        """Return rows by reason code, sorted by code; a code that turned nothing away is absent."""
        counts: dict[str, int] = {}
        for line in self.rejected:
            counts[line.reason_code] = counts.get(line.reason_code, 0) + line.count
        return {code: counts[code] for code in sorted(counts) if counts[code]}

    def document(self) -> dict[str, Any]:
        """Return the lines as they stand in ``--json``."""
        return {
            "read": self.read,
            "written": self.written,
            "deduplicated": self.deduplicated,
            "quarantined": self.quarantined,
            "rejected": self.rejected_by_code(),
        }


@dataclass(frozen=True, slots=True)
class Histogram:
    """Rows by bucket: bands by their names, scores by the bounds of their bucket."""

    name: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]

    @classmethod
    def between(cls, name: str, edges: Sequence[float], counts: Sequence[int]) -> Histogram:
        """Return the histogram whose bucket ``i`` holds ``edges[i] <= value < edges[i + 1]``.

        >>> Histogram.between("score.value", (0.0, 0.5, 1.0), (7, 2)).labels
        ('0–0.5', '0.5–1')
        """
        labels = tuple(f"{low:g}–{high:g}" for low, high in pairwise(edges))
        if len(labels) != len(counts):
            raise ValueError(f"histogram '{name}': {len(counts)} counts for {len(labels)} buckets")
        return cls(name, labels, tuple(counts))

    def __add__(self, other: Histogram) -> Histogram:
        sums = dict(zip(self.labels, self.counts, strict=True))
        for label, count in zip(other.labels, other.counts, strict=True):
            sums[label] = sums.get(label, 0) + count
        return Histogram(self.name, tuple(sums), tuple(sums.values()))


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What became of one unit. ``error`` says why a failed unit failed or a skipped one waited."""

    partition: str
    status: Status
    balance: Balance = Balance()
    stages: tuple[StageCount, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    fragments: int = 0
    bytes_written: int = 0
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the unit's output is visible."""
        return self.status in ("published", "unchanged")

    @property
    def seconds(self) -> float:
        """Seconds of work over all stages, which is not wall time when units share a run."""
        return sum(stage.seconds for stage in self.stages)

    def document(self) -> dict[str, Any]:
        """Return the unit as it stands in ``--json``."""
        document = {"partition": self.partition, **self.balance.document()}
        if not self.succeeded:
            document |= {"status": self.status, "error": self.error}
        return document


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of a run: its units in the order they were asked for, and what ran them.

    ``chain`` names every step that can turn rows away, in the order in which rows meet them
    (filter ids; ``dedupe`` for duplicates), so that reports show steps that rejected nothing too.
    """

    run_id: str
    job: str
    program: str
    environment: str
    config_fingerprint: str
    code_version: str
    units: tuple[UnitResult, ...]
    wall_seconds: float = 0.0
    chain: tuple[str, ...] = ()

    @property
    def total(self) -> Balance:
        """The balance of all units together."""
        return reduce(Balance.__add__, (unit.balance for unit in self.units), Balance())

    @property
    def failed(self) -> tuple[UnitResult, ...]:
        """Units that failed."""
        return tuple(unit for unit in self.units if unit.status == "failed")

    @property
    def succeeded(self) -> bool:
        """Whether the output of every unit is visible."""
        return all(unit.succeeded for unit in self.units)

    @property
    def rows_per_second(self) -> float:
        """Rows of units that changed, a second of wall time; 0 when no time was taken down.

        Units that are unchanged were made by an earlier run, or may have been.
        """
        read = sum(unit.balance.read for unit in self.units if unit.status != "unchanged")
        return read / self.wall_seconds if self.wall_seconds > 0 else 0.0

    @property
    def stages(self) -> tuple[StageCount, ...]:
        """Counts and seconds of every stage over all units, in the order they first appear."""
        sums: dict[str, StageCount] = {}
        for stage in (stage for unit in self.units for stage in unit.stages):
            sums[stage.stage] = sums[stage.stage] + stage if stage.stage in sums else stage
        return tuple(sums.values())

    @property
    def histograms(self) -> tuple[Histogram, ...]:
        """Histograms of the same name over all units, in the order they first appear."""
        sums: dict[str, Histogram] = {}
        for item in (item for unit in self.units for item in unit.histograms):
            sums[item.name] = sums[item.name] + item if item.name in sums else item
        return tuple(sums.values())

    def document(self) -> dict[str, Any]:
        """Return the one document that ``--json`` prints."""
        return {"run_id": self.run_id, "units": [unit.document() for unit in self.units]}

    def balance_table(self) -> Table:
        """Return the balance sheet for a terminal; see ``jobs.tables``."""
        from jobs.tables import balance_table  # only a terminal needs rich

        return balance_table(self)


def _sum_rejected(lines: Iterable[Rejected]) -> tuple[Rejected, ...]:
    sums: dict[tuple[str, str, str], Rejected] = {}
    for line in lines:
        key = (line.filter_type, line.filter_id, line.reason_code)
        sums[key] = sums[key] + line if key in sums else line
    return tuple(sums.values())
