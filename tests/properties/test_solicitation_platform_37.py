from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.logs import logging_to

ERRORS = (ValueError, OSError, KeyError, ZeroDivisionError)

names = st.sampled_from(["muster.progress", "muster.scoring", "third.party", "other", ""])
levels = st.sampled_from([logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
extras = st.dictionaries(
    st.sampled_from(["unit", "stage", "rows", "correlation_id", "level", "timestamp"]),
    st.one_of(st.text(max_size=10), st.integers(), st.floats(), st.none()),
)
events = st.tuples(
    names,
    levels,
    st.one_of(st.text(), st.dictionaries(st.text(), st.text(), max_size=2)),
    st.one_of(st.none(), st.tuples(st.sampled_from(ERRORS), st.text(max_size=20))),
    extras,
)


def emit(name: str, level: int, message: Any, error: Any, extra: dict[str, Any]) -> None:
    logger = logging.getLogger(name)
    if error is None:
        logger.log(level, message, extra=extra)
        return
    kind, words = error
    try:
        raise kind(words)
    except ERRORS:
        logger.log(level, message, exc_info=True, extra=extra)


@settings(max_examples=100, deadline=None)
@given(
    run=st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=30),
    logged=st.lists(events, max_size=8),
    end=st.one_of(st.none(), st.sampled_from(ERRORS)),
)
def test_every_entry_carries_the_run_and_failures_their_details(
    run: str, logged: list[tuple[Any, ...]], end: type[Exception] | None
) -> None:
    """Feature: solicitation-platform, Property 37: Structured logging with correlation"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log.jsonl")
        try:
            with logging_to(path, run):
                for event in logged:
                    emit(*event)
                if end:
                    raise end("the end")
        except ERRORS:
            assert end is not None
        logging.getLogger("muster.scoring").error("after the run")
        entries = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]

    assert len(entries) == len(logged) + (end is not None)
    assert all(entry["correlation_id"] == run for entry in entries)
    details = [(error, level) for _, level, _, error, _ in logged]
    if end:
        details.append(((end, "the end"), logging.ERROR))
    for entry, (error, level) in zip(entries, details, strict=True):
        failed = error is not None or level >= logging.ERROR
        assert {"error_type", "error_message", "stack"} <= entry.keys() or not failed
        if error is not None:
            assert entry["error_type"] == error[0].__qualname__
            assert entry["stack"].startswith("Traceback")
