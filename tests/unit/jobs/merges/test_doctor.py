from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from jobs.cli import main
from jobs.merges.doctor import counts, doctor, document, print_reports
from jobs.merges.restore import restore
from pipelines.ledger.ledger import now
from pipelines.ledger.runs import Run
from pipelines.merging.doctor import Report
from pipelines.merging.engines import LocalEngine
from pipelines.merging.finding import Finding
from pipelines.merging.headers import _HEAD, odd_headers
from pipelines.merging.parts import Fragment
from schemas.registry import record_type
from tests.properties.merges import File, MergedLake, day
from tests.unit.jobs.merges.lakes import (
    MERGE,
    MONTH,
    TYPE,
    append,
    cleaned,
    examined,
    ledger_of,
    merge,
    published,
    some,
)

DAILY = f"muster merge daily --type {TYPE} --from {MONTH}-01 --to {MONTH}-31"
MONTHLY = f"muster merge monthly --type {TYPE} --month {MONTH}"
CLEAN = f"muster merge clean --type {TYPE}"


@pytest.fixture
def lake(tmp_path: Path) -> MergedLake:
    return MergedLake(tmp_path)


@pytest.fixture
def merged(lake: MergedLake) -> MergedLake:
    """A lake of three days, merged as a month."""
    published(lake)
    merge(lake, "monthly")
    return lake


def keys(lake: MergedLake, top: str) -> list[str]:
    return [*lake.under(top)]


def only(lake: MergedLake, days: float = 0) -> Finding:
    (finding,) = examined(lake, days)
    return finding


# --- well -----------------------------------------------------------------------------------------


def test_of_a_healthy_lake_nothing_is_said(merged: MergedLake) -> None:
    assert examined(merged) == ()


def test_a_lake_that_is_nowhere_is_not_made(tmp_path: Path) -> None:
    lake = MergedLake(tmp_path / "a")
    empty = lake.environment.with_out(tmp_path / "b")
    empty = empty.model_copy(
        update={"lake": empty.lake.model_copy(update={"root": str(tmp_path / "b" / "lake")})}
    )
    with LocalEngine(1) as engine:
        assert doctor(empty, [TYPE], engine) == (Report(TYPE, (), 0, 0, 0),)
    assert not (tmp_path / "b").exists()


# --- what would count twice -----------------------------------------------------------------------


def test_a_file_that_no_receipt_names_in_the_partitions_location(merged: MergedLake) -> None:
    pointer = merged.pointer(TYPE)
    assert pointer is not None
    merged.storage.copy(pointer.files[0], f"{pointer.location}/copy.avro")
    merged.storage.write(f"{pointer.location}/_SUCCESS", [b""])  # Athena does not read it
    found = only(merged)
    assert (found.severity, found.month, found.files) == ("error", MONTH, 1)
    assert found.examples == (f"{pointer.location}/copy.avro",)
    assert "Athena and Hive read every file there, so rows count twice" in found.what


def test_several_generations_below_a_table(lake: MergedLake) -> None:
    published(lake)
    merge(lake, "daily", "monthly")
    found = only(lake)
    assert (found.severity, found.files, found.rows) == ("note", 3, 15)
    assert "1 superseded generation with 3 files" in found.what
    assert "would count 15 rows again" in found.what
    assert found.command == CLEAN
    assert only(lake, 8).severity == "warning"
    cleaned(lake)
    assert examined(lake) == ()


def test_a_pointer_that_is_not_at_the_ledgers_generation(lake: MergedLake) -> None:
    published(lake)
    merge(lake, "daily", "monthly")
    lake.storage.delete([f"pointers/{TYPE}/{MONTH}/000002.json"])
    found, _ = examined(lake)
    assert found.severity == "error"
    assert f"sends readers to merged/{TYPE}/{MONTH}/g000001-" in found.what
    assert f"the current generation is merged/{TYPE}/{MONTH}/g000002-" in found.what
    lake.storage.delete([f"pointers/{TYPE}/{MONTH}/000001.json"])
    assert "sends readers to nothing" in examined(lake)[0].what


def test_a_catalog_that_cannot_be_read(merged: MergedLake) -> None:
    merged.storage.write(f"pointers/{TYPE}/{MONTH}/000001.json", [b"{"])
    assert only(merged).what.startswith("the catalog cannot be asked: ")


def test_a_merge_that_was_not_completed(merged: MergedLake) -> None:
    last = ledger_of(merged).last(MERGE)
    assert last is not None
    append(merged, "planned", "leased", "published", **last.details)
    found = only(merged)
    assert (found.severity, found.command) == ("warning", MONTHLY)
    assert "published and not completed" in found.what


def test_a_fragment_in_two_files_of_a_generation(lake: MergedLake) -> None:
    lake.put(some(2))
    merge(lake, "daily")
    receipts = keys(lake, "receipts")
    one, other = (json.loads(lake.storage.read(key)) for key in receipts)
    at = one["segmentFields"].index("fragment")
    other["segments"][0][at] = one["segments"][0][at]
    lake.storage.write(receipts[1], [json.dumps(other).encode()])
    found = examined(lake)[0]
    assert (found.severity, found.files) == ("error", 2)
    assert found.what == "1 fragment more than once in one generation: their rows count twice"
    assert found.command == "muster merge restore " + " ".join(f"--receipt {r}" for r in receipts)


def test_parts_of_a_large_fragment_are_not_the_same_rows(tmp_path: Path) -> None:
    lake = MergedLake(tmp_path, target_bytes=2_000, limit_bytes=9_000)
    lake.put([File(TYPE, day(0), "large", tuple(range(200)))])
    merge(lake, "monthly")
    assert len(lake.files(TYPE)) > 2
    assert examined(lake) == ()


def test_a_fragment_that_is_merged_and_was_put_back_by_hand(merged: MergedLake) -> None:
    key = keys(merged, "archive")[0]
    merged.storage.copy(key, key.replace("archive", "fragments", 1))
    found = only(merged)
    assert (found.severity, found.files) == ("warning", 1)
    assert "no row is counted twice" in found.what


# --- sizes and schemas ----------------------------------------------------------------------------


def test_more_files_than_are_needed(lake: MergedLake) -> None:
    lake.put(some(3))
    merge(lake, "daily")
    found = only(lake)
    assert (found.severity, found.what) == ("warning", "3 files where 1 would do")
    assert found.command == MONTHLY


def test_one_file_of_a_day_is_enough_for_a_month(lake: MergedLake) -> None:
    lake.put(some(1))
    merge(lake, "daily")
    assert examined(lake) == ()


def test_before_a_month_is_over_its_days_may_have_a_file_each(lake: MergedLake) -> None:
    lake.put(some(3))
    merge(lake, "daily")
    in_march = (date(2017, 3, 20) - now().date()).days
    found = only(lake, in_march)
    assert (found.severity, found.next) == ("note", "once the month is over")


def test_a_file_over_the_limit(tmp_path: Path) -> None:
    lake = MergedLake(tmp_path)
    lake.put(some(1))
    merge(lake, "monthly")
    small = MergedLake(tmp_path, target_bytes=100, limit_bytes=200)
    found = only(small)
    assert (found.severity, found.what) == ("warning", "1 file over the limit of 200 bytes")
    assert found.command == f"muster merge restore --receipt {keys(lake, 'receipts')[0]}"


def test_merged_files_of_an_outdated_schema(
    merged: MergedLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = replace(record_type(TYPE), version=2)
    monkeypatch.setattr("jobs.merges.doctor.record_type", lambda name: newer)
    found = only(merged)
    assert found.what == "1 merged file of schema v1, the current is v2"
    assert (found.severity, found.command) == ("warning", MONTHLY)


# --- fragments ------------------------------------------------------------------------------------


def test_fragments_that_are_not_merged(lake: MergedLake) -> None:
    lake.put([*some(3), *some(1, program="app")])
    found = only(lake)
    assert (found.severity, found.files, found.command) == ("note", 4, DAILY)
    assert "4 fragments of 3 days not merged yet" in found.what


def landed(lake: MergedLake, data: bytes) -> None:
    lake.storage.write(f"fragments/{TYPE}/site/{day(0)}/x.avro", [data])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "expected an Avro file, found no bytes"),
        (b"nothing of ours", "expected to begin with"),
        (b"Obj\x01", "4 bytes end within the header"),
        (File("rejection", day(0), "x", (1,)), f"expected record type '{TYPE}', found 'rejection'"),
        (File(TYPE, day(0), "x", (1,), schema="unlike"), "not written, and has no default"),
    ],
)
def test_an_unmerged_fragment_that_no_merge_takes(
    lake: MergedLake, data: bytes | File, what: str
) -> None:
    landed(lake, data if isinstance(data, bytes) else data.data(lake.lake))
    found = only(lake)
    assert (found.severity, found.files) == ("error", 1)
    assert what in found.what
    assert found.what.startswith("1 unmerged fragment: ")


def test_unmerged_fragments_of_an_older_schema(tmp_path: Path, lake: MergedLake) -> None:
    lake.put(some(2, schema="older"))
    found = only(lake)
    assert (found.severity, found.files) == ("warning", 2)
    assert "2 unmerged fragments: expected the current schema candidate v1" in found.what
    resolving = MergedLake(tmp_path, schema_policy="resolve")
    assert [f.severity for f in examined(resolving)] == ["note", "note"]


def test_unmerged_fragments_of_another_codec(lake: MergedLake) -> None:
    lake.put(some(2, codec="zstandard"))
    first, second = examined(lake)
    assert first.what == "2 unmerged fragments: expected the codec snappy, found zstandard"
    assert (first.severity, second.severity) == ("note", "note")


def test_a_header_that_is_longer_than_what_is_read_at_once(lake: MergedLake) -> None:
    record = record_type(TYPE)
    header = lake.lake.encoder(record).header
    assert len(header) < _HEAD
    # A file may say more of itself than we do: one entry of 9,000 bytes before all others.
    more = b"\x02\x04ab" + b"\xd0\x8c\x01" + b"x" * 9000
    key = f"fragments/{TYPE}/site/{day(0)}/x.avro"
    lake.storage.write(key, [header[:4] + more + header[4:]])
    found = lake.storage.look(key)
    assert found is not None
    fragment = Fragment(key, "site", day(0), found.size, found.etag)
    assert list(odd_headers(lake.storage, [fragment], record, "snappy")) == []


def test_a_fragment_that_vanishes_is_named(lake: MergedLake) -> None:
    fragment = Fragment(f"fragments/{TYPE}/site/{day(0)}/x.avro", "site", day(0), 9, None)
    (odd,) = odd_headers(lake.storage, [fragment], record_type(TYPE), "snappy")
    assert odd.kind == "unusable"
    assert "cannot be read" in odd.what


def test_fragments_that_a_merge_left_out(lake: MergedLake) -> None:
    lake.put(some(1))
    landed(lake, b"nothing of ours")
    assert lake.merge("monthly", TYPE).exit_code == 1
    found = only(lake)
    assert (found.severity, found.files) == ("warning", 1)
    assert found.what.startswith("1 fragment left out by an earlier merge: expected to begin with")
    assert found.command == f"{DAILY} --force"


def test_a_fragment_that_was_mended_since_waits_again(lake: MergedLake) -> None:
    lake.put(some(1))
    landed(lake, b"nothing of ours")
    assert lake.merge("monthly", TYPE).exit_code == 1
    landed(lake, File(TYPE, day(0), "x", (1, 2)).data(lake.lake))
    assert "1 fragment of 1 day not merged yet" in only(lake).what


def test_files_that_no_merge_takes_by_their_names(lake: MergedLake) -> None:
    lake.storage.write(f"fragments/{TYPE}/site/{day(0)}/x.avro.tmp", [b"x"])
    lake.storage.write(f"fragments/{TYPE}/x.avro", [b"x"])
    outside, name = examined(lake)
    assert (outside.severity, outside.examples) == ("warning", (f"fragments/{TYPE}/x.avro",))
    assert (name.severity, name.files) == ("note", 1)
    assert "expected <name>.avro" in name.what


# --- what counts nowhere, and what is missing -----------------------------------------------------


def test_files_of_attempts_that_died(merged: MergedLake) -> None:
    merged.storage.write(f"fragments/{TYPE}/reviews/{day(0)}/stray.avro", [b"x"])
    found = only(merged)
    assert (found.severity, found.files, found.size) == ("warning", 1, 1)
    assert (found.month, found.command) == (MONTH, CLEAN)
    assert "attempts that died" in found.what


@pytest.mark.parametrize(
    "key",
    [
        f"merged/{TYPE}/{MONTH}/mine/x.avro",
        f"merged/{TYPE}/{MONTH}/x.avro",
        f"archive/{TYPE}/site/{day(0)}/x.avro",
    ],
)
def test_a_file_that_no_record_tells_of(merged: MergedLake, key: str) -> None:
    merged.storage.write(key, [b"x"])
    found = only(merged)
    assert (found.severity, found.examples, found.command) == ("warning", (key,), "")
    assert "no record of the ledger tells whether they count" in found.what


def test_a_half_written_file(merged: MergedLake) -> None:
    (Path(merged.root, keys(merged, "merged")[0]).parent / "x.avro#1").write_bytes(b"half")
    found = only(merged)
    assert (found.files, found.size, found.command) == (1, 4, CLEAN)
    assert found.what == "1 file half-written, by a process that died"


@pytest.mark.parametrize("cut", [False, True])
def test_a_merged_file_that_is_not_whole(merged: MergedLake, cut: bool) -> None:
    (key,) = keys(merged, "merged")
    data = merged.storage.read(key)
    merged.storage.delete([key])
    if cut:
        merged.storage.write(key, [data[:-1]])
    found = only(merged)
    assert (found.severity, found.rows, found.examples) == ("error", 15, (key,))
    was = f"{len(data) - 1:,}" if cut else "none"
    assert found.what.endswith(f"expected {len(data):,} bytes, found {was}")


def test_a_receipt_that_is_gone_is_of_its_month_alone(merged: MergedLake) -> None:
    april = File(TYPE, "2017-04-01", "april", (1,))
    merged.put([april])
    merged.storage.delete(keys(merged, "receipts"))
    first, second = examined(merged)
    assert (first.severity, first.month) == ("error", MONTH)
    assert "nobody knows what the current generation is made of" in first.what
    assert (second.severity, second.month) == ("note", "2017-04")


def test_fragments_that_are_nowhere(lake: MergedLake) -> None:
    one, other = published(lake, 2)
    lake.storage.copy(one, one.replace("fragments", "archive", 1))
    lake.storage.delete([one, other])
    found = next(each for each in examined(lake) if each.severity == "error")
    assert found.what == "2 fragments: expected by the ledger, found nowhere"
    assert found.examples == (one, other)
    assert found.next == "1 of them lie in archive/: copy those back"


def test_a_month_that_a_run_is_at_work_on(merged: MergedLake) -> None:
    with Run(ledger_of(merged), 60) as run:
        append(merged, "planned", run=run.token)
        found = only(merged)
    assert (found.severity, found.month) == ("note", MONTH)
    assert f"run {run.token}" in found.what


def test_sources_that_were_put_back_wait_again(lake: MergedLake) -> None:
    lake.put(some(1))
    merge(lake, "daily")
    with LocalEngine(1) as engine:
        restore(lake.environment, keys(lake, "receipts"), engine)
    told = [finding.what for finding in examined(lake)]
    assert any("1 fragment of 1 day not merged yet" in what for what in told)
    assert not any("still in fragments" in what for what in told)


# --- the screen and the command -------------------------------------------------------------------


def shown(*findings: Finding, width: int = 80) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width)
    print_reports((Report(TYPE, findings, 2, 3, 4000),), console, " --out demo")
    return out.getvalue()


def test_a_healthy_lake_is_one_line() -> None:
    assert shown() == "healthy: 1 record type, 2 months, 3 merged files, 4,000 rows\n"
    assert shown(Finding("note", "something")).endswith("4,000 rows; 1 note\n")


def test_a_finding_says_what_where_and_what_next() -> None:
    finding = Finding(
        "error", "a long tale of woe " * 5, "do this", "muster do", MONTH, 9, 1500, None, ("a/b",)
    )
    assert shown(finding, finding) == (
        "candidate\n"
        + 2 * (
            "error    2017-03: a long tale of woe a long tale of woe a long tale of woe a\n"
            "         long tale of woe a long tale of woe  (1.5\N{NO-BREAK SPACE}kB)\n"
            "           a/b\n"
            "           and 8 more\n"
            "         -> do this\n"
            "         -> muster do --out demo\n"
            "\n"
        )
        + "2 errors\n"
    )  # fmt: skip


def test_keys_and_commands_are_never_broken() -> None:
    command, key = "muster " + "x" * 100, "y" * 120
    told = shown(Finding("warning", "w", "", command, examples=(key,), files=1), width=60)
    assert f"-> {command} --out demo\n" in told
    assert f"{key}\n" in told


def test_of_many_findings_a_screen_shows_some() -> None:
    told = shown(*(Finding("note", f"note {n}") for n in range(43)))
    assert "note 39\n" in told
    assert "note 40\n" not in told
    assert "and 3 more (--json has all)" in told


def test_json_has_everything() -> None:
    report = Report(TYPE, (Finding("warning", "w", size=7, examples=("a",)),), 1, 2, 3)
    told = json.loads(json.dumps(document((report,))))
    assert told["healthy"] is False
    assert told["counts"] == {"errors": 0, "warnings": 1, "notes": 0}
    assert told["findings"] == [
        {
            "recordType": TYPE,
            "severity": "warning",
            "what": "w",
            "next": "",
            "command": "",
            "month": None,
            "files": 0,
            "bytes": 7,
            "rows": None,
            "examples": ["a"],
        }
    ]
    assert counts((report,)) == {"warning": 1}


def muster(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["athena", "doctor", *arguments])


def _nothing(lake: MergedLake) -> None:
    published(lake)
    merge(lake, "monthly")


def _warned(lake: MergedLake) -> None:
    published(lake)
    merge(lake, "daily")


def _spoilt(lake: MergedLake) -> None:
    landed(lake, b"")


@pytest.mark.parametrize(
    ("make", "code", "last"),
    [(_nothing, 0, "healthy: "), (_warned, 0, "1 warning"), (_spoilt, 1, "1 error")],
)
def test_the_command_exits_1_on_errors_only(
    lake: MergedLake, make: Callable[[MergedLake], None], code: int, last: str
) -> None:
    make(lake)
    result = muster("--out", str(lake.out))
    assert result.exit_code == code
    assert result.output.splitlines()[-1].startswith(last)
    as_json = muster("--out", str(lake.out), "--json", "--type", TYPE)
    assert as_json.exit_code == code
    assert json.loads(as_json.output)["healthy"] is (make is _nothing)


def test_the_command_knows_record_types(lake: MergedLake) -> None:
    result = muster("--out", str(lake.out), "--type", "../other")
    assert result.exit_code == 1
    assert "is not registered" in result.output
    assert muster("--out", str(lake.out / "none")).exit_code == 1
    assert not (lake.out / "none").exists()
