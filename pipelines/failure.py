"""A unit that cannot be finished: it is told, and its neighbours go on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

from pipelines.errors import StorageFailed, StoreBusy, StoreUnavailable, WarehouseFailed

#: What waiting may mend.
_OUT_OF_REACH = (StorageFailed, StoreBusy, StoreUnavailable, ConnectionError, TimeoutError)

#: Tag of the output that carries failures.
FAILURES = "failures"

_LOG = logging.getLogger("muster.pipeline")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one unit failed, and where."""

    unit: str
    stage: str
    error: str
    message: str
    transient: bool = False

    def of_dependent(self, unit: str) -> Failure:
        """Return the failure of a unit whose look-back needs this one's rows."""
        message = f"its look-back needs {self.unit}, which failed: {self.message}"
        return replace(self, unit=unit, message=message)


@dataclass(frozen=True, slots=True)
class Lookback:
    """The units of a run, and how many days before each of them its rows are compared with."""

    units: tuple[str, ...]
    days: int

    def fail(self, failure: Failure) -> Iterator[Failure]:
        """Yield the failure of every unit that cannot be decided without the failed one's rows."""
        first = date.fromisoformat(failure.unit)
        for unit in self.units:
            if first <= date.fromisoformat(unit) <= first + timedelta(days=self.days):
                yield failure if unit == failure.unit else failure.of_dependent(unit)


def caught(unit: str, stage: str, error: Exception) -> Failure:
    """Turn an exception into a failure of its unit, and log it with its stack."""
    _LOG.error(
        "unit failed", exc_info=error, extra={"unit": unit, "stage": stage, "error": str(error)}
    )
    return Failure(unit, stage, type(error).__name__, str(error), is_transient(error))


def is_transient(error: Exception) -> bool:
    """Say whether the same work may well succeed a little later: what was out of reach may be back.

    Data, settings and broken invariants do not change by waiting.
    """
    if isinstance(error, WarehouseFailed):
        return error.transient
    return isinstance(error, _OUT_OF_REACH)
