"""A lake is merged, examined and cleaned by the command; cleaning is killed at any write."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.merges.clean import clean
from pipelines.ledger.ledger import Ledger
from pipelines.merging.engines import LocalEngine
from tests.end_to_end.dying import AT_ONCE, ROOT, Doom, Fault, doom_storage, log_to, run_child
from tests.properties.merges import MONTH, File, MergedLake, day

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

TYPE = "candidate"
OUT = ("--out", "out")
PLACE = f"merged/{TYPE}/{MONTH}/g000003-00000000dead"


def _lake(out: Path) -> MergedLake:
    """Return a lake with something of everything that goes: two generations, an orphan, a stray."""
    lake = MergedLake(out)
    for n in range(3):
        lake.publish("reviews", day(n), [File(TYPE, day(n), "part", tuple(range(n, n + 4)))])
    for kind in ("daily", "monthly"):
        assert lake.merge(kind, TYPE).exit_code == 0
    _fail(lake, f"merge/{TYPE}/{MONTH}", location=PLACE)
    lake.storage.write(f"{PLACE}/x.avro", [b"x"])
    _fail(lake, f"solicit/reviews/{day(7)}")
    lake.storage.write(f"fragments/{TYPE}/reviews/{day(7)}/x.avro", [b"x"])
    return lake


def _fail(lake: MergedLake, unit: str, **details: Any) -> None:
    ledger = Ledger(lake.storage)
    record = ledger.append(
        ledger.last(unit), "planned", unit=unit, run="r", fingerprint="f", plan="p"
    )
    for event in ("leased", "progressed", "failed"):
        record = ledger.go_on(record, event, {"error": "disk full", **details})  # type: ignore[arg-type]


def _counting(lake: MergedLake) -> dict[str, bytes]:
    """Return what is left where something may go, and what readers follow."""
    tops = ("merged", "archive", "fragments", "receipts", "pointers")
    return {key: data for top in tops for key, data in lake.under(top).items()}


# --- by the command -------------------------------------------------------------------------------


def test_a_lake_is_cleaned_by_the_command(muster: Any) -> None:
    lake = _lake(muster.folder / "out")
    before, rows = _counting(lake), lake.rows(TYPE)
    assert muster("merge", "clean", *OUT).stdout.endswith("nothing to remove\n")  # all is new
    age = ("--older-than", "0d")
    shown = muster("merge", "clean", *OUT, *age, "--dry-run").stdout
    assert "to remove: 8 files, " in shown
    assert _counting(lake) == before
    said = muster.document("merge", "clean", *OUT, *age)
    assert [(n["what"], n["fate"], n["files"]) for n in said["lines"]] == [
        ("superseded", "removed", 3),
        ("orphan", "removed", 1),
        ("archived", "removed", 3),
        ("orphan", "removed", 1),
    ]
    gone = {key for line in said["lines"] for key in line["keys"]}
    assert _counting(lake) == {k: data for k, data in before.items() if k not in gone}
    assert len(gone) == 8
    assert lake.rows(TYPE) == rows
    assert muster("merge", "clean", *OUT, *age).stdout == "nothing to remove\n"


def test_wrong_use_of_the_command(muster: Any) -> None:
    _lake(muster.folder / "out")
    told = muster("merge", "clean", *OUT, "--older-than", "7 days", code=2).stderr
    assert told == "muster: --older-than: expected an age like 12h, 7d or 4w, found '7 days'\n"
    told = muster("merge", "clean", *OUT, "--type", "nothing", code=1).stderr
    assert "record type 'nothing' is not registered" in told
    told = muster("merge", "clean", "--out", "nowhere", code=1).stderr
    assert "expected fragments of" in told
    assert not (muster.folder / "nowhere").exists()


def test_the_doctor_sends_to_clean_and_then_the_lake_is_healthy(muster: Any) -> None:
    _lake(muster.folder / "out")
    said = muster.document("athena", "doctor", *OUT)
    commands = {finding["command"] for finding in said["findings"]}
    assert commands == {"muster merge clean --type candidate"}
    muster(*commands.pop().split()[1:], *OUT, "--older-than", "0d")
    told = muster("athena", "doctor", *OUT).stdout
    assert told == "healthy: 1 record type, 1 month, 1 merged file, 12 rows\n"


# --- killed ---------------------------------------------------------------------------------------


def _clean(lake: MergedLake) -> None:
    with LocalEngine(1) as engine:
        clean(lake.environment, (TYPE,), engine, older_than=timedelta(0))


def _child(out: Path, fault: Fault | None) -> None:
    gc.disable()  # a child is short, and there are many
    log_to(out)
    doom = Doom(fault)
    doom_storage(doom)
    _clean(MergedLake(out))
    (out / "writes.json").write_text(json.dumps(doom.writes))
    sys.exit(0)


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(ROOT))  # where a child finds this module
    return _lake(tmp_path / "before").out


def _copied(before: Path, name: str) -> Path:
    out = before.with_name(name)
    shutil.copytree(before, out, copy_function=os.link)
    return out


def _ends(lake: MergedLake) -> dict[str, tuple[str, str | None]]:
    latest = Ledger(lake.storage).latest().items()
    return {unit: (last.event, last.details.get("error")) for unit, last in latest}


def test_cleaning_that_is_killed_anywhere_is_completed_by_the_next(before: Path) -> None:
    whole = _copied(before, "whole")
    assert run_child(_child, whole, None) == 0, (whole / "child.log").read_text()
    writes = json.loads((whole / "writes.json").read_text())
    assert sum(what.startswith("delete ") for what in writes) == 8
    expected, ends = _counting(MergedLake(whole)), _ends(MergedLake(whole))
    rows = MergedLake(whole).rows(TYPE)

    def disturbed(at: int) -> list[str]:
        lake = MergedLake(_copied(before, f"at-{at}"))
        told: list[str] = []
        if run_child(_child, lake.out, Fault(at)) != -signal.SIGKILL:
            told.append("expected it to be killed")
        if lake.rows(TYPE) != rows:
            told.append("killed, readers see other rows")
        _clean(lake)
        if _counting(lake) != expected:
            told.append("found other files")
        if _ends(lake) != ends:
            told.append(f"found {_ends(lake)}")
        return told

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(writes, pool.map(disturbed, range(1, len(writes) + 1)), strict=True))
    assert {what: told for what, told in found.items() if told} == {}
