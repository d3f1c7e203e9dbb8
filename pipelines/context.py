"""What a run knows of itself: who runs, for which program, under which settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from transforms.kernel import UnitContext


def logical_time(unit: str) -> datetime:
    """Return the last millisecond of the unit's day in UTC: the only "now" its rows know.

    Every event of the day is at or before it, and its date is the unit's own.
    """
    day = date.fromisoformat(unit)
    return datetime.combine(day, time.min, UTC) + timedelta(days=1) - timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class RunContext:
    """A job, its program and the fingerprint of the settings that decide its output."""

    job: str
    program_id: str
    config_fingerprint: str
    code_version: str

    def unit_name(self, unit: str) -> str:
        """Return the name under which the unit is published and known to the store."""
        return f"{self.job}/{self.program_id}/{unit}"

    def execution_id(self, unit: str) -> str:
        """Return what outputs call the execution: the same for every rerun of the same settings."""
        return f"{self.unit_name(unit)}/{self.config_fingerprint[:12]}"

    def unit(self, unit: str) -> UnitContext:
        """Return what kernels may know of the unit."""
        return UnitContext(self.program_id, unit, self.execution_id(unit), logical_time(unit))
