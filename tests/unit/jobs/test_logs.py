from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.logs import log_metrics, logging_to
from jobs.metrics import Metric

RUN = "run-7"
APP = logging.getLogger("muster.test")


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / RUN / "log.jsonl"


@contextmanager
def no_other_handlers() -> Iterator[None]:
    """Leave pytest's own handlers out: they raise on records that cannot be formatted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [])
        yield


def test_every_record_of_the_process_carries_the_run(path: Path) -> None:
    with logging_to(path, RUN):
        APP.info("read", extra={"unit": "2017-03-05", "stage": "filters", "rows": 3})
        logging.getLogger("other.library").warning("slow", extra={"correlation_id": "theirs"})
        thread = threading.Thread(target=lambda: APP.info({"correlation_id": "x", "n": 1}))
        thread.start()
        thread.join()
    first, other, threaded = entries(path)
    assert first.pop("timestamp").endswith("+00:00")
    assert first == {
        "level": "INFO",
        "logger": "muster.test",
        "message": "read",
        "correlation_id": RUN,
        "unit": "2017-03-05",
        "stage": "filters",
        "rows": 3,
    }
    assert [other["logger"], other["correlation_id"]] == ["other.library", RUN]
    assert threaded["correlation_id"] == RUN


def test_level_is_kept(path: Path) -> None:
    with logging_to(path, RUN, logging.WARNING):
        APP.info("quiet")
        APP.warning("loud")
    assert [entry["message"] for entry in entries(path)] == ["loud"]


def test_logging_is_as_before_afterwards(path: Path) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogRecordFactory(), root.filters[:])
    with logging_to(path, RUN):
        assert root.handlers != before[1]
    assert before == (root.level, root.handlers, logging.getLogRecordFactory(), root.filters)
    APP.warning("after")
    assert entries(path) == []


def test_failures_have_type_message_and_stack(path: Path) -> None:
    with logging_to(path, RUN):
        try:
            raise FileNotFoundError("no transactions.parquet")
        except FileNotFoundError:
            APP.exception("unit failed", extra={"unit": "2017-03-05"})
        APP.error("balance is off by 3")
    raised, said = entries(path)
    assert raised["error_type"] == "FileNotFoundError"
    assert raised["error_message"] == "no transactions.parquet"
    assert raised["stack"].startswith("Traceback")
    assert "test_failures_have_type_message_and_stack" in raised["stack"]
    assert raised["unit"] == "2017-03-05"
    assert (said["error_type"], said["error_message"]) == (None, "balance is off by 3")
    assert "exc_info" not in raised


def test_what_stops_a_run_is_its_last_entry(path: Path) -> None:
    with pytest.raises(KeyError), logging_to(path, RUN):
        raise KeyError("department")
    (entry,) = entries(path)
    assert (entry["level"], entry["error_type"]) == ("ERROR", "KeyError")


def test_personal_data_is_masked_in_message_arguments_extras_and_exceptions(path: Path) -> None:
    with logging_to(path, RUN):
        APP.info("to ann@example.org")
        APP.info("to %s, order %d", "ann@example.org", 31198570044)
        APP.info("to %(phone)s", {"phone": "extension seven"})
        APP.info("to", extra={"email": "unusual", "household": {"address": ["12", "Oak"]}})
        APP.info({"email": "unusual", "rows": 3})
        APP.info("stack", stack_info=True)
        try:
            raise ValueError("bad row of +1 415 555 2671") from OSError("ann@example.org")
        except ValueError:
            APP.exception("failed for 12 Oak Street")
    text = path.read_text("utf-8")
    for personal in ("ann@", "extension seven", "unusual", "Oak", "415"):
        assert personal not in text
    assert "to [email], order 31198570044" in text
    assert entries(path)[-1]["error_message"] == "bad row of [phone]"


@pytest.mark.parametrize(
    ("message", "arguments", "expected"),
    [
        ("%d rows", ("three",), "%d rows ['three']"),
        ("%(phone)d", ({"phone": 4155552671},), "%(phone)d {'phone': '[redacted]'}"),
        ("100% of %s", (), "100% of %s"),
        ("two\nlines \udc80 \u2028 ü", (), "two\nlines \udc80 \u2028 ü"),
    ],
)
def test_odd_messages_are_kept(
    path: Path, message: str, arguments: tuple[Any, ...], expected: str
) -> None:
    with no_other_handlers(), logging_to(path, RUN):
        APP.info(message, *arguments)
    assert [entry["message"] for entry in entries(path)] == [expected]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_odd_values_neither_stop_the_work_nor_break_the_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with no_other_handlers(), logging_to(path, RUN):
        APP.info("%s", Unprintable(), extra={"a": Unprintable(), "b": float("inf"), "c": {(1, 2)}})
    (entry,) = entries(path)
    assert (entry["a"], entry["b"], entry["c"]) == ("<Unprintable>", "inf", "{(1, 2)}")
    assert capsys.readouterr().err == ""


def test_other_handlers_see_the_record_as_it_was_logged(path: Path) -> None:
    seen = io.StringIO()
    handler = logging.StreamHandler(seen)
    with logging_to(path, RUN):
        logging.getLogger().addHandler(handler)
        try:
            APP.info("to %s", "ann@example.org")
        finally:
            logging.getLogger().removeHandler(handler)
    assert seen.getvalue() == "to ann@example.org\n"


def test_a_second_attempt_is_appended(path: Path) -> None:
    for attempt in ("first", "second"):
        with logging_to(path, RUN):
            APP.info(attempt)
    assert [entry["message"] for entry in entries(path)] == ["first", "second"]


def test_metrics_are_published_as_fields(path: Path) -> None:
    metric = Metric(metric="passed", stage="ETL", unit="2017-03-05", value=3)
    with logging_to(path, RUN):
        log_metrics([metric])
    (entry,) = entries(path)
    assert metric.items() <= entry.items()
    assert entry["correlation_id"] == RUN
