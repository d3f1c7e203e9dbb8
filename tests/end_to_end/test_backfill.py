"""Planning and applying as a user does, over a warehouse whose rows change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines.sinks.stores import open_store

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

DAYS = tuple(f"2017-03-0{n}" for n in range(1, 7))
PROGRAM: dict[str, Any] = {
    "programId": "visits",
    "programName": "Visits",
    "enabled": True,
    "marketplaces": ["US"],
    "candidateTTLDays": 10,
    "dataConnectors": [
        {
            "sourceId": "visits",
            "connectorType": "warehouse",
            "tableName": "visits",
            "query": "SELECT * FROM visits WHERE seen >= $1 AND seen < $2 ORDER BY seen, n",
            "partition": {"column": "seen"},
            "subjectType": "page",
            "marketplace": "US",
            "fieldMappings": {
                "customerId": "visitor",
                "subjectId": "page",
                "eventDate": "seen",
                "orderValue": "spent",
            },
            "orderBy": ["n"],
        }
    ],
    "scoringModels": [
        {
            "modelId": "worth",
            "type": "linear",
            "coefficients": {"orderValue": 0.01},
            "fallbackScore": 0.5,
        }
    ],
    "filterChain": {
        "filters": [
            {
                "filterId": "spent",
                "filterType": "QUALITY",
                "order": 1,
                "reasonCode": "SPENT_NOTHING",
                "reason": "nothing was spent",
                "parameters": {"expression": "spent > 0"},
            }
        ]
    },
    "dedupe": {"windowHours": 24},
    "capacity": {"perCustomer": 2, "score": "worth"},
    "lateData": {"lookbackDays": 2},
    "channels": [{"channelId": "email", "channelType": "EMAIL"}],
}


class Shop:
    """A folder with a DuckDB warehouse, a program and an environment."""

    def __init__(self, muster: Any) -> None:
        self.muster, self.folder = muster, muster.folder
        self.program: dict[str, Any] = yaml.safe_load(yaml.safe_dump(PROGRAM))
        self.environment: dict[str, Any] = {
            "name": "shop",
            "warehouse": {"url": f"duckdb:///{self.folder}/shop.duckdb"},
            "lake": {"root": "{out}/lake", "syncKey": "00" * 32},
            "store": {"url": "sqlite:///{out}/candidates.sqlite"},
        }
        self.sql(
            "CREATE TABLE visits (n INTEGER, visitor TEXT, page TEXT, seen TIMESTAMP, spent DOUBLE)"
        )
        for number, day in enumerate(DAYS):
            self.sql(
                "INSERT INTO visits SELECT i + ?, 'v' || i % 9, 'p' || (i * 3 + ? * 5) % 11, "
                "CAST(? AS TIMESTAMP) + INTERVAL (i) MINUTE, i % 5 FROM range(40) AS r(i)",
                [100 * number, number, f"{day} 08:00:00"],
            )

    def sql(self, statement: str, values: Any = None) -> None:
        with duckdb.connect(str(self.folder / "shop.duckdb")) as connection:
            connection.execute(statement, values)

    def late(self, day: str, page: str = "late") -> None:
        """A row of a day that comes when the day has been made."""
        self.sql("INSERT INTO visits VALUES (999, 'v1', ?, ?, 4)", [page, f"{day} 07:00:00"])

    def write(self) -> None:
        for name, settings in (("program", self.program), ("environment", self.environment)):
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))

    def asked(self, first: str, last: str, *more: str, out: str = "out") -> tuple[str, ...]:
        self.write()
        where = ("--program", "program.yaml", "--env", "environment.yaml", "--out", out)
        return ("solicit", *where, "--from", first, "--to", last, *more)

    def run(self, first: str, last: str, *more: str, out: str = "out", code: int = 0) -> Any:
        return self.muster("run", *self.asked(first, last, *more, out=out), code=code)

    def plan(self, first: str, last: str, *more: str) -> dict[str, str]:
        """Return the reason of each day that is planned."""
        (part,) = self.muster.document("plan", *self.asked(first, last, *more))["programs"]
        return {unit["day"]: unit["why"] for unit in part["units"]}

    def items(self, out: str = "out") -> list[tuple[Any, ...]]:
        """What the store shows of every candidate, and who proposed it."""
        with open_store(f"sqlite:///{self.folder}/{out}/candidates.sqlite", write=False) as store:
            items = [item for n in range(9) for item in store.by_customer(f"v{n}").items]
        return [
            (i["PK"], i["SK"], i["scores"], i["attributes"], i["ttl"], i["units"]) for i in items
        ]

    def status(self, out: str = "out") -> dict[str, dict[str, Any]]:
        said = self.muster.document("status", "--env", "environment.yaml", "--out", out)
        return {unit["unit"]: unit for part in said["programs"] for unit in part["units"]}


@pytest.fixture
def shop(muster: Any) -> Shop:
    return Shop(muster)


Tree = Callable[[Path], dict[str, str]]


def same(shop: Shop, tree: Tree, one: str, other: str) -> None:
    """Check that two folders hold the same output, byte for byte in the lake."""
    assert tree(shop.folder / one / "lake") == tree(shop.folder / other / "lake")
    assert shop.items(one) == shop.items(other)


def test_a_plan_writes_nothing_and_is_applied_exactly(shop: Shop, tree: Tree) -> None:
    shop.muster("plan", *shop.asked(DAYS[0], DAYS[-1]), "-o", "plan.json")
    assert not (shop.folder / "out").exists()
    told = shop.muster("apply", "plan.json").stdout
    assert "6 units" in told
    made = shop.status().values()
    assert {unit["event"] for unit in made} == {"succeeded"}
    # The data has something for every day to write and, from the second on, to recognise.
    assert all(unit["balance"]["written"] > 0 for unit in made)
    assert sum(unit["balance"]["deduplicated"] > 0 for unit in made) == len(DAYS) - 1
    assert shop.plan(DAYS[0], DAYS[-1]) == {}
    shop.run(DAYS[0], DAYS[-1], out="other")
    same(shop, tree, "out", "other")


def test_a_plan_applied_again_makes_nothing_twice(shop: Shop) -> None:
    shop.muster("plan", *shop.asked(DAYS[0], DAYS[-1], "--reprocess", "all"), "-o", "plan.json")
    shop.muster("apply", "plan.json")
    shop.muster("apply", "plan.json")
    assert {unit["attempt"] for unit in shop.status().values()} == {1}


@pytest.mark.parametrize(
    ("move", "told"),
    [
        (
            lambda shop: shop.late(DAYS[2]),
            "visits: input visits/2017-03-03: expected 40 rows, version",
        ),
        (
            lambda shop: shop.sql("UPDATE visits SET spent = 3 WHERE n = 110"),
            "visits: input visits/2017-03-02: expected 40 rows, version",
        ),
        (
            lambda shop: shop.program["dedupe"].update(windowHours=48),
            "visits: settings: program.dedupe.windowHours: expected 24, found 48",
        ),
    ],
)
def test_what_moved_since_the_plan_is_refused_and_named(
    shop: Shop, move: Callable[[Shop], object], told: str
) -> None:
    shop.muster("plan", *shop.asked(DAYS[0], DAYS[-1]), "-o", "plan.json")
    move(shop)
    shop.write()
    assert told in shop.muster("apply", "plan.json", code=1).stderr
    assert not (shop.folder / "out" / "lake").exists()
    accepted = shop.muster("apply", "plan.json", "--accept-moved")
    assert told in accepted.stderr
    assert len(shop.status()) == 6


def test_a_plan_that_was_edited_is_refused(shop: Shop) -> None:
    shop.muster("plan", *shop.asked(DAYS[0], DAYS[-1]), "-o", "plan.json")
    path = shop.folder / "plan.json"
    said = json.loads(path.read_text())
    del said["programs"][0]["units"][0]
    path.write_text(json.dumps(said))
    assert "was changed after it was made" in shop.muster("apply", "plan.json", code=2).stderr


def test_late_data_is_made_anew_within_the_look_back(shop: Shop, tree: Tree) -> None:
    """The day it is of, and the next: its duplicates are looked for a day back."""
    shop.run(DAYS[0], DAYS[4])
    shop.late(DAYS[4])
    assert shop.plan(DAYS[5], DAYS[5]) == {
        DAYS[5]: "never made",
        DAYS[4]: f"late data: visits/{DAYS[4]}: 40 rows, now 41 rows",
    }
    shop.run(DAYS[5], DAYS[5])
    assert {day: unit["attempt"] for day, unit in shop.status().items() if unit["attempt"] > 1} == {
        DAYS[4]: 2
    }
    shop.run(DAYS[0], DAYS[-1], out="fresh")
    same(shop, tree, "out", "fresh")


def test_data_later_than_the_look_back_waits_to_be_asked_for(shop: Shop, tree: Tree) -> None:
    shop.run(DAYS[0], DAYS[-1])
    shop.late(DAYS[1])
    assert shop.plan(DAYS[0], DAYS[-1]) == {}
    told = " ".join(shop.run(DAYS[0], DAYS[-1]).stdout.split())
    assert "2 units left (2017-03-02 to 2017-03-03): inputs changed: visits/2017-03-02" in told
    assert sorted(shop.plan(DAYS[0], DAYS[-1], "--reprocess", "stale")) == [DAYS[1], DAYS[2]]
    shop.run(DAYS[0], DAYS[-1], "--reprocess", "stale")
    attempts = {day: unit["attempt"] for day, unit in shop.status().items()}
    assert attempts == {**dict.fromkeys(DAYS, 1), DAYS[1]: 2, DAYS[2]: 2}
    shop.run(DAYS[0], DAYS[-1], out="fresh")
    same(shop, tree, "out", "fresh")


def test_changed_rows_and_rows_that_went_are_stale_too(shop: Shop, tree: Tree) -> None:
    shop.run(DAYS[0], DAYS[-1])
    shop.sql("DELETE FROM visits WHERE n = 402")
    shop.sql("UPDATE visits SET spent = 0 WHERE n = 3")
    stale = shop.plan(DAYS[0], DAYS[-1], "--reprocess", "stale")
    assert sorted(stale) == [DAYS[0], DAYS[1], DAYS[4], DAYS[5]]
    shop.run(DAYS[0], DAYS[-1], "--reprocess", "stale", "--order", "oldest", "--max-active", "1")
    shop.run(DAYS[0], DAYS[-1], out="fresh")
    same(shop, tree, "out", "fresh")


def test_reprocessing_everything_changes_no_byte(shop: Shop, tree: Tree) -> None:
    shop.run(DAYS[0], DAYS[-1])
    before = (tree(shop.folder / "out" / "lake"), shop.items())
    told = shop.run(DAYS[0], DAYS[-1], "--reprocess", "all").stdout
    assert told.count("unchanged") == 6
    assert (tree(shop.folder / "out" / "lake"), shop.items()) == before
    assert {unit["attempt"] for unit in shop.status().values()} == {2}


def test_a_lost_store_is_filled_again_without_reading_a_row(shop: Shop) -> None:
    shop.run(DAYS[0], DAYS[-1])
    before = shop.items()
    for path in shop.folder.glob("out/candidates.sqlite*"):
        path.unlink()
    assert set(shop.plan(DAYS[0], DAYS[-1]).values()) == {"the store does not hold it"}
    shop.run(DAYS[0], DAYS[-1])
    assert shop.items() == before
    records = [path.read_text() for path in shop.folder.glob("out/lake/_ledger/units/**/*.json")]
    assert sum('"event":"published"' in record for record in records) == len(DAYS)
    assert sum('"event":"succeeded"' in record for record in records) == 2 * len(DAYS)


def test_an_older_copy_of_the_store_is_noticed(shop: Shop) -> None:
    """Where it can be, it is brought up to date; where it cannot, it is said what to do."""
    shop.run(DAYS[0], DAYS[1])
    store, copy = shop.folder / "out/candidates.sqlite", shop.folder / "copy.sqlite"
    shutil.copy(store, copy)
    assert shop.plan(DAYS[0], DAYS[1]) == {}
    shop.sql("UPDATE visits SET spent = 3 WHERE n = 101")
    shop.run(DAYS[0], DAYS[1], "--reprocess", "stale")
    after = shop.items()
    shutil.copy(copy, store)
    assert shop.plan(DAYS[0], DAYS[1]) == {DAYS[1]: "the store does not hold it"}
    told = shop.run(DAYS[0], DAYS[1], code=1).stderr
    assert "remove the store and run again" in told
    store.unlink()
    shop.run(DAYS[0], DAYS[1])
    assert shop.items() == after


def test_one_programs_failure_leaves_the_others_alone(shop: Shop, tree: Tree) -> None:
    """A table that is missing, a disabled program, and one that is well."""
    shop.write()
    broken = yaml.safe_load(yaml.safe_dump(shop.program))
    broken["programId"] = "broken"
    broken["dataConnectors"][0]["query"] = "SELECT * FROM nowhere WHERE seen >= $1 AND seen < $2"
    disabled = {**shop.program, "programId": "asleep", "enabled": False}
    for name, settings in (("broken", broken), ("asleep", disabled)):
        (shop.folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    others = ("--program", "broken.yaml", "--program", "asleep.yaml")
    done = shop.run(DAYS[0], DAYS[-1], *others, code=1)
    assert "broken.yaml: warehouse" in done.stderr
    assert "nowhere" in done.stderr
    assert "program 'asleep' is disabled" in done.stdout
    assert "Traceback" not in done.stderr
    assert {unit["event"] for unit in shop.status().values()} == {"succeeded"}
    shop.run(DAYS[0], DAYS[-1], out="alone")
    same(shop, tree, "out", "alone")


def test_a_program_that_fails_in_its_work_leaves_the_others_alone(shop: Shop, tree: Tree) -> None:
    failing = yaml.safe_load(yaml.safe_dump(shop.program))
    failing["programId"] = "failing"
    failing["dataConnectors"][0]["query"] = (
        "SELECT * REPLACE (CAST(if(n = 205, 'x', '1') AS DOUBLE) AS spent) FROM visits "
        "WHERE seen >= $1 AND seen < $2 ORDER BY seen, n"
    )
    failing["dataConnectors"][0]["partition"]["digest"] = "count(*)"
    (shop.folder / "failing.yaml").write_text(yaml.safe_dump(failing))
    shop.run(DAYS[0], DAYS[-1], "--program", "failing.yaml", code=1)
    said = shop.muster.document("status", "--env", "environment.yaml")["programs"]
    counts = {part["program"]: part["counts"] for part in said}
    assert counts == {"failing": {"done": 4, "failed": 2}, "visits": {"done": 6}}
    assert said[0]["needPerson"] == [DAYS[2], DAYS[3]]
    shop.run(DAYS[0], DAYS[-1], out="alone")
    lake = tree(shop.folder / "out" / "lake")
    alone = tree(shop.folder / "alone" / "lake")
    assert {name: said for name, said in lake.items() if "/failing/" not in name} == alone


def test_money_is_told_before_and_kept_to(shop: Shop) -> None:
    prices = {
        "name": "dear",
        "date": "2026-11-25",
        "currency": "USD",
        "source": "made up for this test",
        "putsPerThousand": 1000.0,
        "getsPerThousand": 0.0,
        "writeUnitsPerMillion": 0.0,
        "workerHour": 0.0,
        "scannedPerTerabyte": 0.0,
    }
    (shop.folder / "dear.yaml").write_text(yaml.safe_dump(prices))
    asked = shop.asked(DAYS[0], DAYS[-1], "--prices", "dear.yaml")
    totals = shop.muster.document("plan", *asked)["totals"]
    assert (totals["units"], totals["puts"], totals["usd"]) == (6, 36, 36.0)
    refused = shop.muster("run", *asked, "--budget-usd", "35.99", code=1)
    assert "expected at most 35.9900 USD" in refused.stderr
    assert not (shop.folder / "out" / "lake").exists()
    shop.muster("run", *asked, "--budget-usd", "36")
    assert len(shop.status()) == 6


def test_waiting_systems_are_told_of_units_that_are_done(shop: Shop) -> None:
    shop.program["onCompletion"] = ["mailing"]
    shop.run(DAYS[0], DAYS[1])
    told = sorted((shop.folder / "out/lake/triggers/mailing").rglob("*.json"))
    assert [path.name[:10] for path in told] == list(DAYS[:2])
    assert json.loads(told[0].read_text())["unit"] == f"solicit/visits/{DAYS[0]}"
    shop.run(DAYS[0], DAYS[1], "--reprocess", "all")
    assert sorted((shop.folder / "out/lake/triggers/mailing").rglob("*.json")) == told
