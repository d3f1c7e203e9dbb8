"""Money: what an application of a plan may cost, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conf.prices import PriceTable, Usage
from jobs.backfill.plan import Plan, PlannedUnit
from jobs.errors import OverBudget
from pipelines.ledger.record import Record


class Budget:
    """What was spent, priced as the plan was, and whether more may be; ``stopped`` says why not."""

    def __init__(self, plan: Plan, most: float | None) -> None:
        self._prices = PriceTable.model_validate(plan.prices)
        self._most = most
        self.spent = 0.0
        self.stopped: str | None = None

    def allows(self, days: Sequence[str], units: Mapping[str, PlannedUnit]) -> bool:
        """Return whether the units of these days may be made; once no, always no."""
        comes = sum(units[day].predicted.usd for day in days)
        if self.stopped is None and self._most is not None and self.spent + comes > self._most:
            self.stopped = (
                f"stopped at the budget: {self.spent:,.4f} of {self._most:,.4f} USD spent, "
                f"{comes:,.4f} USD expected for what comes next ({days[0]} to {days[-1]})"
            )
        return self.stopped is None

    def add(self, unit: PlannedUnit, last: Record) -> None:
        """Take note of an attempt: by what it did, or as it was planned if it did not succeed."""
        self.spent += self._price(unit, last)

    def _price(self, unit: PlannedUnit, last: Record) -> float:
        planned = unit.predicted
        if last.event != "succeeded":
            return planned.usd
        written = last.details["balance"]["written"]
        scale = written / planned.written if planned.written else 1.0
        return self._prices.price(
            Usage(
                puts=planned.puts,
                gets=planned.gets,
                write_units=round(planned.write_units * scale),
                worker_seconds=last.details["seconds"],
                scanned_bytes=last.details["inputBytes"],
            )
        )


def check_budget(plan: Plan, most: float | None) -> None:
    """Check that a plan is taken to cost no more than it may.

    Raises:
        OverBudget: it is; nothing was done.
    """
    expected = plan.predicted.usd
    if most is not None and expected > most:
        raise OverBudget(
            f"budget: expected at most {most:,.4f} USD (--budget-usd), found a plan of "
            f"{expected:,.4f} USD; nothing was done"
        )
