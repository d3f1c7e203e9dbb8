from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.logs import log_metrics, logging_to
from jobs.metrics import stage_metrics
from jobs.results import StageCount, UnitResult

STEPS = (
    ("read", "ETL"),
    ("conform", "ETL"),
    ("filters", "filtering"),
    ("dedupe", "filtering"),
    ("score:response", "scoring"),
    ("band", "scoring"),
    ("capacity", "filtering"),
    ("write candidates", "storage"),
    ("publish", "storage"),
)
ORDER = ("ETL", "filtering", "scoring", "storage")

# where each row of a unit ends: the index of the step that turns it away, or none
fates = st.lists(st.sampled_from([*range(1, len(STEPS) - 2), None]), max_size=60)


def walk(partition: str, unit: list[int | None]) -> UnitResult:
    stages = []
    for index, (step, _) in enumerate(STEPS):
        here = [fate for fate in unit if fate is None or fate >= index]
        turned = sum(fate == index for fate in here)
        stages.append(StageCount(step, len(here), len(here) - turned, turned, 0.0))
    return UnitResult(partition, "published", stages=tuple(stages))


def expected(unit: list[int | None]) -> list[tuple[str, str, int]]:
    """Follow each row by itself instead of the counts of the steps."""
    lines = []
    for stage in ORDER:
        steps = [index for index, (_, of) in enumerate(STEPS) if of == stage]
        came = [fate for fate in unit if fate is None or fate >= steps[0]]
        turned = [fate for fate in came if fate in steps]
        lines += [
            ("processed", stage, len(came)),
            ("passed", stage, len(came) - len(turned)),
            ("rejected", stage, len(turned)),
        ]
    return lines


@settings(max_examples=100, deadline=None)
@given(st.lists(fates, max_size=4))
def test_metrics_of_every_stage_are_published(units: list[list[int | None]]) -> None:
    """Feature: solicitation-platform, Property 26: Workflow metrics publishing"""
    results = [walk(f"2017-03-{day:02}", unit) for day, unit in enumerate(units, 1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.jsonl")
        with logging_to(path, "run"):
            log_metrics(stage_metrics(results))
        published = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert [(m["unit"], m["metric"], m["stage"], m["value"]) for m in published] == [
        (f"2017-03-{day:02}", *line) for day, unit in enumerate(units, 1) for line in expected(unit)
    ]
