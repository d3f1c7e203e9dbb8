"""Bad input is normal input: a clear line, the right exit code, nothing half-visible or lost."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest
import yaml

from schemas.codec import decode_file

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

DAYS = ("2017-03-01", "2017-03-02", "2017-03-03")
SCHEMA = {
    "type": "record",
    "name": "visit",
    "fields": [
        {"name": "visitor", "type": ["null", "string"]},
        {"name": "page", "type": "string"},
        {"name": "at", "type": "string"},
        {"name": "spent", "type": ["double", "null"]},
    ],
}
PROGRAM: dict[str, Any] = {
    "programId": "visits",
    "programName": "Visits",
    "enabled": True,
    "marketplaces": ["US"],
    "candidateTTLDays": 10,
    "dataConnectors": [
        {
            "sourceId": "visits",
            "connectorType": "avro",
            "subjectType": "content",
            "marketplace": "US",
            "path": "visits/{date}/*.avro",
            "fieldMappings": {
                "customerId": "visitor",
                "subjectId": "page",
                "eventDate": "at",
                "orderValue": "spent",
            },
            "quarantineThreshold": 0.5,
        }
    ],
    "scoringModels": [
        {
            "modelId": "value",
            "type": "linear",
            "coefficients": {"orderValue": 0.01},
            "fallbackScore": 0.25,
        }
    ],
    "filterChain": {
        "filters": [
            {
                "filterId": "home-page",
                "filterType": "BUSINESS_RULE",
                "order": 1,
                "reasonCode": "HOME_PAGE",
                "reason": "the home page says nothing",
                "parameters": {"expression": "page <> 'home'"},
            }
        ]
    },
    "channels": [{"channelId": "email", "channelType": "EMAIL"}],
}


class Site:
    """A folder with a program, an environment and Avro files of visits."""

    def __init__(self, muster: Any) -> None:
        self.muster, self.folder = muster, muster.folder
        self.program: dict[str, Any] = yaml.safe_load(yaml.safe_dump(PROGRAM))
        self.environment: dict[str, Any] = {
            "name": "site",
            "warehouse": {"url": "duckdb://"},
            "sourceRoot": str(self.folder / "source"),
            "lake": {"root": "{out}/lake", "syncKey": "00" * 32},
            "store": {"url": "sqlite:///{out}/candidates.sqlite"},
        }
        for day in DAYS:
            self.write(day, [self.visit(n, day) for n in range(200)])

    @staticmethod
    def visit(n: int, day: str) -> dict[str, Any]:
        return {"visitor": f"v{n}", "page": f"p{n}", "at": f"{day}T12:00:00Z", "spent": float(n)}

    def file(self, day: str) -> Path:
        return self.folder / "source" / "visits" / day / "part-0.avro"

    def write(self, day: str, rows: list[dict[str, Any]]) -> None:
        self.file(day).parent.mkdir(parents=True, exist_ok=True)
        with self.file(day).open("wb") as file:
            # Small blocks, so that damage to one leaves others to be read.
            fastavro.writer(file, SCHEMA, rows, codec="deflate", sync_interval=400)

    def arguments(self, out: str = "out") -> list[str]:
        for name, settings in (("program", self.program), ("environment", self.environment)):
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
        return [
            *("run", "solicit", "--program", "program.yaml", "--env", "environment.yaml"),
            *("--from", DAYS[0], "--to", DAYS[-1], "--out", out),
        ]

    def document(self, code: int = 0) -> dict[str, Any]:
        units = self.muster.document(*self.arguments(), code=code)["units"]
        return {unit["partition"]: unit for unit in units}

    def refused(self, code: int) -> str:
        """Return the one line that is printed when nothing may run."""
        done = self.muster(*self.arguments(), code=code)
        assert "Traceback" not in done.stderr
        assert not (self.folder / "out" / "lake").exists()
        return str(done.stderr)

    def published(self) -> list[str]:
        """Return the days whose output is visible, as the status says."""
        self.arguments()
        told = self.muster.document("status", "--env", "environment.yaml")
        return [u["unit"] for part in told["programs"] for u in part["units"] if u["output"]]

    def records(self, record_type: str, day: str) -> list[dict[str, Any]]:
        folder = self.folder / "out/lake/fragments" / record_type / "visits" / day
        return [
            row
            for path in sorted(folder.glob("*"))
            for row in decode_file(path.read_bytes()).to_dicts()
        ]


@pytest.fixture
def site(muster: Any) -> Site:
    return Site(muster)


def test_good_input_is_published(site: Site) -> None:
    units = site.document()
    assert [units[day]["written"] for day in DAYS] == [200, 200, 200]
    assert site.published() == list(DAYS)


def test_a_truncated_file_keeps_its_good_blocks(site: Site) -> None:
    path = site.file(DAYS[1])
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    unit = site.document()[DAYS[1]]
    assert unit["read"] == unit["written"] + unit["quarantined"] == 200
    (damage,) = site.records("quarantine", DAYS[1])
    start, length = damage["byteOffset"], damage["byteLength"]
    assert damage["source"].endswith("visits/2017-03-02/part-0.avro")
    assert start + length == len(data) - 20
    assert damage["content"] == data[start : start + length]
    assert damage["rows"] == unit["quarantined"] > 0


def test_a_flipped_byte_costs_one_block(site: Site) -> None:
    path = site.file(DAYS[1])
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    unit = site.document()[DAYS[1]]
    assert unit["read"] == unit["written"] + unit["quarantined"] == 200
    assert 0 < unit["quarantined"] < 50
    assert len(site.records("quarantine", DAYS[1])) == 1


def test_too_much_damage_fails_the_day_and_no_other(site: Site) -> None:
    site.program["dataConnectors"][0]["quarantineThreshold"] = 0.001
    path = site.file(DAYS[1])
    path.write_bytes(path.read_bytes()[:-20])
    unit = site.document(code=1)[DAYS[1]]
    assert "quarantineThreshold" in unit["error"]
    assert site.published() == [DAYS[0], DAYS[2]]


def test_a_file_that_is_not_avro_fails_its_day_and_is_kept(site: Site) -> None:
    site.file(DAYS[1]).write_bytes(b"PAR1 this is no Avro file")
    units = site.document(code=1)
    assert "100.00%" in units[DAYS[1]]["error"]
    assert site.published() == [DAYS[0], DAYS[2]]
    assert site.records("quarantine", DAYS[1])[0]["content"] == b"PAR1 this is no Avro file"


def test_a_day_without_a_file_fails_alone(site: Site) -> None:
    shutil.rmtree(site.file(DAYS[1]).parent)
    unit = site.document(code=1)[DAYS[1]]
    assert "expected files like" in unit["error"]
    assert "visits/2017-03-02/*.avro" in unit["error"]
    assert site.published() == [DAYS[0], DAYS[2]]


def test_a_day_that_cannot_be_read_fails_those_that_look_back_at_it(site: Site) -> None:
    site.program["dedupe"] = {"windowHours": 24}
    shutil.rmtree(site.file(DAYS[1]).parent)
    units = site.document(code=1)
    assert units[DAYS[2]]["error"].startswith(f"read: its look-back needs {DAYS[1]}, which failed")
    assert site.published() == [DAYS[0]]


def test_an_empty_day_is_published_as_empty(site: Site) -> None:
    site.write(DAYS[1], [])
    assert site.document()[DAYS[1]]["read"] == 0
    assert site.published() == list(DAYS)


def test_rows_without_what_they_need_are_rejected_by_name(site: Site) -> None:
    day = DAYS[1]
    rows = [site.visit(n, day) for n in range(6)]
    rows[0]["visitor"] = None
    rows[1]["at"] = "yesterday"
    rows[2]["at"] = "1907-03-02T12:00:00Z"
    rows[3]["at"] = "2031-03-02T12:00:00Z"
    rows[4]["page"] = "home"
    site.write(day, rows)
    unit = site.document()[day]
    assert unit["rejected"] == {
        "DATE_INVALID": 1,
        "DATE_OUT_OF_RANGE": 2,
        "HOME_PAGE": 1,
        "REQUIRED_FIELD_MISSING": 1,
    }
    told = {record["sourceRow"]: record["reason"] for record in site.records("rejection", day)}
    assert "customerId" in told[0]


def test_values_that_cannot_be_scored_get_the_fallback(site: Site) -> None:
    day = DAYS[1]
    rows = [site.visit(n, day) for n in range(3)]
    rows[1]["spent"] = None
    site.write(day, rows)
    assert site.document()[day]["written"] == 3
    scores = [dict(record["scores"])["value"] for record in site.records("candidate", day)]
    assert [score["value"] for score in scores] == [0.0, 0.25, 0.02]
    assert [dict(score["metadata"])["source"] for score in scores] == ["model", "fallback", "model"]


def test_an_unknown_column_is_named_before_anything_runs(site: Site) -> None:
    site.program["filterChain"]["filters"][0]["parameters"]["expression"] = "pages <> 'home'"
    told = site.refused(code=1)
    assert "home-page" in told
    assert "'pages'" in told
    assert "page" in told


def test_a_missing_table_is_named_before_anything_runs(site: Site) -> None:
    site.program["filterChain"]["filters"][0]["parameters"] = {
        "column": "visitor",
        "table": "members",
        "key": "id",
    }
    told = site.refused(code=1)
    assert "members" in told


def test_a_table_without_its_file_is_named(site: Site) -> None:
    site.environment["warehouse"]["tables"] = {"members": "nowhere/members.parquet"}
    told = site.refused(code=1)
    assert "table 'members'" in told
    assert "nowhere/members.parquet" in told


def test_a_model_that_does_not_load_is_named_before_anything_runs(site: Site) -> None:
    (site.folder / "broken.onnx").write_bytes(b"no model")
    site.program["scoringModels"].append(
        {
            "modelId": "response",
            "type": "onnx",
            "path": "broken.onnx",
            "features": ["orderValue"],
            "fallbackScore": 0.5,
        }
    )
    told = site.refused(code=1)
    assert "response" in told
    assert "broken.onnx" in told


def test_every_problem_of_a_bad_program_is_listed(site: Site) -> None:
    site.program["candidateTTLDays"] = -1
    site.program["chanels"] = []
    site.program["filterChain"]["filters"][0]["filterType"] = "WHIM"
    told = site.refused(code=2)
    for path in ("candidateTTLDays", "chanels", "filterChain.filters[0].filterType"):
        assert path in told


def test_changed_settings_change_nothing_until_that_is_asked_for(site: Site) -> None:
    site.document()
    site.program["candidateTTLDays"] = 20
    before = {p: p.read_bytes() for p in site.folder.glob("out/lake/**/*") if p.is_file()}
    told = site.muster(*site.arguments()).stdout
    assert "candidateTTLDays: expected 10, found 20" in " ".join(told.split())
    assert "--reprocess stale" in told
    assert {p: p.read_bytes() for p in before} == before
    site.muster(*site.arguments(), "--reprocess", "stale")
    assert site.published() == list(DAYS)
    (expires,) = {
        r["metadata"]["expiresAt"].isoformat() for r in site.records("candidate", DAYS[0])
    }
    assert expires.startswith("2017-03-21")


def test_a_disabled_program_is_skipped_and_says_so(site: Site) -> None:
    site.program["enabled"] = False
    unit = site.document()[DAYS[0]]
    assert unit["status"] == "skipped"
    assert "disabled" in unit["error"]
    assert site.published() == []


@contextlib.contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk to fill")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size", ["1m", "3m"])
def test_a_full_disk_fails_days_and_loses_nothing(site: Site, size: str) -> None:
    """The same command finishes what a full disk stopped, in lake, ledger or store, given room."""
    site.environment["runs"] = {"retries": 1}
    for day in DAYS:
        site.write(day, [site.visit(n, day) for n in range(30_000)])
    with _small_disk(site.folder / "disk", size):
        site.environment["lake"]["root"] = str(site.folder / "disk" / "lake")
        site.environment["store"]["url"] = f"sqlite:///{site.folder}/disk/candidates.sqlite"
        done = site.muster(*site.arguments("out"), code=1)
        assert re.search("No space left on device|database or disk is full", done.stderr)
        assert "Traceback" not in done.stderr
        assert len(site.published()) < len(DAYS)
        subprocess.run(["mount", "-o", "remount,size=200m", str(site.folder / "disk")], check=True)
        site.muster(*site.arguments("out"))
        assert site.published() == list(DAYS)
