from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.candidate_table import candidate_table
from jobs.cli import main
from pipelines.sinks.stores import open_store


def item(customer: str, subject: str, score: float, kind: str = "product") -> Any:
    return {
        "PK": f"CUSTOMER#{customer}#PROGRAM#reviews#MARKETPLACE#US",
        "SK": f"SUBJECT#{kind}#{subject}",
        "context": [{"type": "marketplace", "id": "US"}, {"type": "program", "id": "reviews"}],
        "subject": {"type": kind, "id": subject, "metadata": None},
        "scores": {
            "response": {
                "modelId": "response",
                "value": score,
                "confidence": 1.0,
                "timestamp": "2017-03-05T23:59:59.999Z",
                "metadata": {"source": "model"},
            }
        },
        "attributes": {
            "eventDate": "2017-03-05T12:00:00.000Z",
            "deliveryDate": None,
            "timingWindow": None,
            "orderValue": 2.5,
            "mediaEligible": None,
            "channelEligibility": {"email": True, "in-app": False},
        },
        "metadata": {
            "createdAt": "2017-03-05T23:59:59.999Z",
            "updatedAt": "2017-03-05T23:59:59.999Z",
            "expiresAt": "2017-04-04T23:59:59.999Z",
            "version": 1,
            "sourceConnectorId": "transactions",
            "workflowExecutionId": "solicit/reviews/2017-03-05/0",
            "band": "high",
            "treatments": {"wording": "plain"},
        },
        "rejectionHistory": None,
        "ttl": 1491350399,
        "units": [],
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    with open_store(f"sqlite:///{tmp_path}/candidates.sqlite", write=True) as store:
        store.put_batch([item("7", "A", 0.25), item("7", "B", 0.75), item("8", "A", 0.5, "video")])
    return tmp_path


def run(out: Path, *arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(main, ["candidates", *arguments, "--out", str(out)])
    assert done.exit_code == code, done.output
    return done


def keys(document: Any) -> list[str]:
    return [f"{i['PK'].split('#')[1]} {i['SK']}" for i in document["items"]]


def test_by_channel_is_best_score_first(out: Path) -> None:
    done = run(out, "by-channel", "--program", "reviews", "--channel", "email", "--json")
    found = json.loads(done.stdout)
    assert keys(found) == ["7 SUBJECT#product#B", "8 SUBJECT#video#A", "7 SUBJECT#product#A"]
    assert found["cursor"] is None


def test_a_channel_that_nobody_is_eligible_for_is_empty(out: Path) -> None:
    done = run(out, "by-channel", "--program", "reviews", "--channel", "in-app")
    assert done.stdout == "no candidates\n"


def test_pages_follow_each_other(out: Path) -> None:
    query = ("by-channel", "--program", "reviews", "--channel", "email", "--json", "--limit", "2")
    first = json.loads(run(out, *query).stdout)
    rest = json.loads(run(out, *query, "--cursor", first["cursor"]).stdout)
    assert len(keys(first)) == 2
    assert keys(rest) == ["7 SUBJECT#product#A"]


def test_by_customer_and_by_date(out: Path) -> None:
    of_customer = json.loads(run(out, "by-customer", "--customer", "7", "--json").stdout)
    assert keys(of_customer) == ["7 SUBJECT#product#A", "7 SUBJECT#product#B"]
    dates = ("by-date", "--program", "reviews", "--json", "--date")
    assert len(json.loads(run(out, *dates, "2017-03-05").stdout)["items"]) == 3
    assert json.loads(run(out, *dates, "2017-03-06").stdout)["items"] == []


def test_what_has_expired_can_be_hidden(out: Path) -> None:
    query = ("by-customer", "--customer", "7", "--json", "--as-of")
    assert len(json.loads(run(out, *query, "2017-04-04").stdout)["items"]) == 2
    assert json.loads(run(out, *query, "2017-04-05").stdout)["items"] == []


def test_get_shows_the_whole_item_or_says_that_there_is_none(out: Path) -> None:
    key = ("--customer", "7", "--program", "reviews", "--marketplace", "US")
    subject = ("--subject-type", "product", "--subject")
    found = json.loads(run(out, "get", *key, *subject, "A", "--json").stdout)
    assert found["attributes"]["orderValue"] == 2.5
    missing = run(out, "get", *key, *subject, "Z", code=1)
    assert missing.stderr.startswith("muster: expected a candidate CUSTOMER#7#PROGRAM#reviews")


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", "by-customer", "--customer", "7", code=1)
    assert "expected a candidate store" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("by-date", "--program", "reviews", "--date", "5 March"),
        ("by-customer", "--customer", "7", "--limit", "0"),
        ("by-customer", "--customer", "7", "--as-of", "tomorrow"),
        ("by-customer", "--customer", "7", "--cursor", "page 2"),
        ("by-customer", "--customer", "7", "--store", "candidates.sqlite"),
        ("by-customer",),
    ],
)
def test_wrong_use_exits_2(out: Path, arguments: tuple[str, ...]) -> None:
    run(out, *arguments, code=2)


def test_the_table_names_the_subject_by_its_type_when_there_is_one() -> None:
    same = candidate_table([item("7", "A", 0.25), item("8", "B", 0.5)])
    mixed = candidate_table([item("7", "A", 0.25), item("8", "B", 0.5, "video")])
    assert [column.header for column in same.columns][:3] == ["customer", "product", "response"]
    assert list(same.columns[1].cells) == ["A", "B"]
    assert mixed.columns[1].header == "subject"
    assert list(mixed.columns[1].cells) == ["product A", "video B"]


def test_moments_without_a_zone_are_utc() -> None:
    from jobs.candidates import _Moment

    assert _Moment().convert("2017-04-01", None, None) == datetime(2017, 4, 1, tzinfo=UTC)
    assert date(2017, 4, 1) == _Moment().convert("2017-04-01T00:00:00Z", None, None).date()
