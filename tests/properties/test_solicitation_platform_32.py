from __future__ import annotations

import tempfile
from datetime import date, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from conf.load import load_environment, load_program
from jobs.backfill.apply import Options, apply
from jobs.backfill.plan import Request
from jobs.backfill.planning import make_plan
from jobs.days import DateRange
from jobs.solicit import SolicitJob

PROGRAM = load_program("product-reviews")

DAYS = st.builds(
    lambda first, days: DateRange(first, first + timedelta(days=days)),
    st.dates(date(2017, 1, 1), date(2017, 12, 1)),
    st.integers(0, 40),
)


@settings(max_examples=100, deadline=None)
@given(
    days=DAYS,
    ttl=st.integers(1, 3660),
    name=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
)
def test_a_disabled_program_is_skipped_and_leaves_nothing(
    days: DateRange, ttl: int, name: str
) -> None:
    """Feature: solicitation-platform, Property 32: Program disable enforcement

    Whatever else a program says, and whatever days are asked for: each is skipped with the reason,
    and neither lake nor store comes into being.
    """
    changes = {"enabled": False, "program_id": name, "candidate_ttl_days": ttl}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        environment = load_environment("local").with_out(out)
        job = SolicitJob(PROGRAM.model_copy(update=changes), environment, out, name, {})
        first, last = days.units[0], days.units[-1]
        request = Request("solicit", (name,), "local", str(out), first, last)
        plan = make_plan(request, lambda _: job)
        applied = apply(plan, lambda _: job, Options())
        (part,) = plan.programs
        assert (part.units, applied.run) == ((), "")
        assert [unit.day for unit in part.left] == list(days.units)
        assert {unit.state for unit in part.left} == {"disabled"}
        assert {unit.why for unit in part.left} == {f"program '{name}' is disabled"}
        assert not out.exists()
