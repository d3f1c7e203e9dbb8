"""The peers of merges make one file of many, with the same rows; who loses one is found out."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.container import read_header, sync_marker
from schemas.registry import record_type
from tests.integration.servers import SeaweedFS

pytestmark = [pytest.mark.slow, pytest.mark.integration]

REPOSITORY = Path(__file__).parents[2]
FILES, ROWS = 6, 700
AVRO_PEERS = ("fastavro_blocks", "polars_rewrite", "spark_rewrite")
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _benchmarks_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY))


def started(module: str, *arguments: object, **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


def run(module: str, *arguments: object, **environment: str) -> str:
    code, told, wrong = started(module, *arguments, **environment)
    assert code == 0, wrong
    return told.splitlines()[-1]


def generated(root: Path, *arguments: object) -> Path:
    return Path(run("fragments", "--root", root, *arguments))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("data"), "--files", FILES, "--rows", ROWS)


def fragments(lake: Path) -> list[Path]:
    return sorted((lake / "fragments").rglob("*.avro"))


def rows_of(*paths: Path) -> list[Row]:
    rows: list[Row] = []
    for path in paths:
        with path.open("rb") as file:
            rows += [dict(row) for row in fastavro.reader(file) if isinstance(row, dict)]
    return rows


def in_order(rows: list[Row]) -> list[str]:
    return sorted(json.dumps(row, default=str, sort_keys=True) for row in rows)


def write(path: Path, rows: list[Row]) -> Path:
    with path.open("wb") as file:
        fastavro.writer(file, dict(record_type("registration").schema), rows, codec="snappy")
    return path


# --- the data ------------------------------------------------------------------------------------


def test_fragments_are_those_of_a_lake(lake: Path) -> None:
    key = json.loads((lake / "_lake.json").read_text())["syncKey"]
    marker = sync_marker(bytes.fromhex(key), record_type("registration").fingerprint)
    found = fragments(lake)
    assert len(found) == FILES
    for number, path in enumerate(found):
        data = path.read_bytes()
        name = f"{number:05d}-000-{hashlib.sha256(data).hexdigest()[:16]}.avro"
        day = lake / "fragments" / "registration" / "bench" / "2017-03-01"
        assert path == day / name
        header = read_header(data)
        assert (header.sync, header.codec) == (marker, "snappy")
        assert header.schema_text == record_type("registration").text
        assert len(rows_of(path)) == ROWS


def test_the_same_arguments_write_the_same_fragments(lake: Path, tmp_path: Path) -> None:
    arguments = "--files", FILES, "--rows", ROWS
    again = generated(tmp_path / "again", *arguments)
    other = generated(tmp_path / "other", *arguments, "--seed", 2)
    assert [p.name for p in fragments(again)] == [p.name for p in fragments(lake)]
    assert {p.name for p in fragments(other)}.isdisjoint(p.name for p in fragments(lake))


def test_fragments_lie_in_the_folder_of_their_day(tmp_path: Path) -> None:
    spread = generated(tmp_path, "--files", 6, "--rows", 100, "--days", 3)
    found = fragments(spread)
    assert [p.parent.name for p in found] == [f"2017-03-0{day}" for day in (1, 1, 2, 2, 3, 3)]
    for path in found:
        assert {row["eventDate"].date().isoformat() for row in rows_of(path)} == {path.parent.name}


def test_days_of_unlike_sizes_are_refused(tmp_path: Path) -> None:
    code, _, wrong = started("fragments", "--root", tmp_path, "--files", 7, "--days", 2)
    assert code != 0
    assert "as many files for every day" in wrong


# --- the peers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AVRO_PEERS)
def test_merges_all_rows_into_one_file(name: str, lake: Path, tmp_path: Path) -> None:
    line = json.loads(run(f"peers.{name}", lake, tmp_path / "out"))
    (merged,) = (p for p in (tmp_path / "out").rglob("*") if p.is_file() and p.name[0] not in "._")
    expected = rows_of(*fragments(lake))
    assert line["rows_out"] == len(expected) == FILES * ROWS
    assert in_order(rows_of(merged)) == in_order(expected)
    assert line["mb_in"] == pytest.approx(sum(p.stat().st_size for p in fragments(lake)) / 1e6, 0.1)
    assert line["seconds"] > 0
    assert read_header(merged.read_bytes()).codec == "snappy"


def test_peers_have_one_checksum(lake: Path, tmp_path: Path) -> None:
    from benchmarks.harness import agree

    names = ("cat", "fastavro_blocks", "polars_rewrite")
    lines = {n: [json.loads(run(f"peers.{n}", lake, tmp_path / n))] for n in names}
    assert "checksum" not in lines["cat"][0]
    agree(lines)


def test_cat_copies_all_bytes(lake: Path, tmp_path: Path) -> None:
    run("peers.cat", lake, tmp_path / "out")
    expected = b"".join(path.read_bytes() for path in fragments(lake))
    assert (tmp_path / "out" / "merged.avro").read_bytes() == expected


def test_plain_s3_copies_all_bytes(lake: Path, tmp_path: Path, seaweedfs: SeaweedFS) -> None:
    root, out = seaweedfs.root(), tmp_path / "out"
    line = json.loads(run("peers.plain_s3", root, lake, out))
    assert line["seconds"] > 0
    expected = b"".join(path.read_bytes() for path in fragments(lake))
    assert (out / "00000.avro").read_bytes() == expected


# --- what is found out ---------------------------------------------------------------------------


def less(rows: list[Row]) -> list[Row]:
    return rows[:-1]


def twice(rows: list[Row]) -> list[Row]:
    return [*rows, rows[0]]


def replaced(rows: list[Row]) -> list[Row]:
    return [*rows[:-1], rows[0]]


def changed(rows: list[Row]) -> list[Row]:
    return [rows[0] | {"phone": "+0"}, *rows[1:]]


@pytest.mark.parametrize(
    ("spoil", "wrong"),
    [
        (less, r"expected 4200 rows in the merged files, found 4199"),
        (twice, r"expected 4200 rows in the merged files, found 4201"),
        (replaced, r"expected rows of the checksum \d+, found \d+"),
        (changed, r"expected rows of the checksum \d+, found \d+"),
    ],
)
def test_other_rows_are_found_out(
    spoil: Callable[[list[Row]], list[Row]], wrong: str, lake: Path, tmp_path: Path
) -> None:
    from benchmarks.merge_measure import checked

    rows = rows_of(*fragments(lake))
    assert checked(fragments(lake), [write(tmp_path / "right", rows[::-1])])["rows_out"] == 4200
    with pytest.raises(SystemExit, match=wrong):
        checked(fragments(lake), [write(tmp_path / "wrong", spoil(rows))])


def test_a_peer_that_drops_a_row_ends_the_comparison(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own process, as the harness starts it."""
    from benchmarks import harness

    (tmp_path / "dropper.py").write_text(
        "from benchmarks.merge_measure import run\n"
        "from benchmarks.peers import polars_rewrite as peer\n"
        "whole = peer.read_avro\n"
        "def read_avro(path):\n"
        "    return whole(path)[path.name.startswith('00003-') :]\n"
        "peer.read_avro = read_avro\n"
        "run(peer.merge)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(harness.ContenderError, match=r"expected 4200 rows .*, found 4199"):
        harness.run_once(harness.Contender("dropper", "dropper"), lake, tmp_path)


def test_other_bytes_are_found_out(lake: Path, tmp_path: Path) -> None:
    from benchmarks.merge_measure import concatenated

    merged = tmp_path / "merged"
    data = b"".join(path.read_bytes() for path in fragments(lake))
    merged.write_bytes(data)
    assert concatenated(fragments(lake), merged) == {}
    for spoilt in (data[:-1], data + b"x", b"x" + data[1:]):
        merged.write_bytes(spoilt)
        with pytest.raises(SystemExit, match="expected the bytes of all files"):
            concatenated(fragments(lake), merged)


# --- the relay -----------------------------------------------------------------------------------


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that answers what it was told twice over, and ends."""

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            told = b""
            while data := peer.recv(1 << 16):
                told += data
            peer.sendall(told * 2)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_the_relay_counts_both_ways(echo: int) -> None:
    from benchmarks.relay import relay

    said = bytes(range(256)) * 1_000
    with relay(echo) as counting:
        port = int(counting.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(said)
            client.shutdown(socket.SHUT_WR)
            heard = b""
            while data := client.recv(1 << 16):
                heard += data
    assert heard == said * 2
    assert counting.moved == 3 * len(said)
