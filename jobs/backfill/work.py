"""What planning and applying must know of a job: a program of it, and how its units are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from conf.digest import digest
from conf.environment import Environment
from conf.prices import PriceTable
from jobs.code_fingerprint import Code
from pipelines.context import RunContext
from pipelines.ledger.record import Record
from pipelines.publisher import Promise
from pipelines.sources.inputs import Input

if TYPE_CHECKING:
    from jobs.backfill.plan import ProgramPlan, Request


@dataclass(frozen=True, slots=True)
class UnitInputs:
    """What one unit reads, by the part it plays: ``reads`` are its own rows, others context."""

    roles: Mapping[str, tuple[Input, ...]]

    @property
    def by_name(self) -> dict[str, Input]:
        """All of them by name, sorted."""
        return {i.name: i for i in sorted(self._all(), key=lambda i: i.name)}

    def _all(self) -> list[Input]:
        return [item for items in self.roles.values() for item in items]

    @property
    def rows(self) -> int | None:
        """The rows of the unit's own, where every input knows them."""
        rows = [item.rows for item in self.roles["reads"]]
        return None if not rows or None in rows else sum(filter(None, rows))

    @property
    def size(self) -> int:
        """The bytes of the unit's own inputs, where they are files."""
        return sum(item.size or 0 for item in self.roles["reads"])

    def fingerprint(self, config: str, code: str) -> str:
        """Return the SHA-256 of inputs, configuration and code: what the output depends on."""
        said = [
            [role, i.name, *i.said()] for role, items in sorted(self.roles.items()) for i in items
        ]
        return digest([config, code, said])


@dataclass(frozen=True, slots=True)
class Wave:
    """The units of one pipeline run, by day: who holds them, and what was promised of them."""

    leases: Mapping[str, Record]
    promises: Mapping[str, Promise]

    @property
    def days(self) -> tuple[str, ...]:
        """The days in order."""
        return tuple(sorted(self.leases))


class Completing(Protocol):
    """Does what is left to do of units that are published."""

    def finish(self, record: Record) -> Record:
        """Bring everything up to what is published; returns the ``succeeded`` record."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Work(Protocol):
    """One program of a job in an environment."""

    @property
    def job(self) -> str:
        """The job's name."""
        ...

    @property
    def asked(self) -> str:
        """The program as it was asked for: a name or the path of its YAML."""
        ...

    @property
    def context(self) -> RunContext:
        """What units are called and what their outputs say of the settings."""
        ...

    @property
    def environment(self) -> Environment:
        """Where it runs."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether it may run at all (property 32)."""
        ...

    @property
    def late_days(self) -> int:
        """How many days back inputs that grew are done anew."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """All settings that decide the bytes of the output."""
        ...

    @property
    def steps(self) -> tuple[str, ...]:
        """Every step that can turn rows away, in the order in which rows meet them."""
        ...

    @property
    def tiers(self) -> tuple[str, ...]:
        """The bands from the lowest to the highest."""
        ...

    @property
    def code(self) -> Code:
        """The code that decides the bytes of the output."""
        ...

    def check(self, day: str) -> None:
        """Try everything that can be wrong before a row is read."""
        ...

    def inputs(self, days: Sequence[str]) -> dict[str, UnitInputs]:
        """Return what each day reads, as it is now."""
        ...

    def outputs(self, day: str) -> tuple[str, ...]:
        """Name where a unit's output goes."""
        ...

    def moved(self, wave: Wave) -> dict[str, str]:
        """Say of which days the inputs are seen to differ from what was promised, and how."""
        ...

    def plan(self, request: Request, prices: PriceTable) -> ProgramPlan:
        """Say which units are made, of what, and why; writes nothing."""
        ...

    def completing(self, wave: Wave, about: Mapping[str, Any]) -> Completing:
        """Return what completes units of a wave that were published before."""
        ...

    def run(self, wave: Wave, about: Mapping[str, Any]) -> None:
        """Make the units of one wave, in one pipeline run; what became of them is in the ledger.

        ``about`` is what each published record says of the settings and the code.
        """
        ...

    def folder(self, first: str, last: str) -> Path:
        """Return where log and report of a run over these days go."""
        ...
