"""Times one merge in its own process, checks what it made and prints one line of JSON."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.measure import Stopwatch, avro_files, checksum, count_rows, folders

#: What rates and sizes of merges are in.
MEGABYTE = 1_000_000


def megabytes(paths: Iterable[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / MEGABYTE


def checked(sources: list[Path], merged: list[Path]) -> dict[str, float]:
    """Return what a line says of merged Avro files; end the contender if rows are not theirs."""
    if not merged:
        raise SystemExit("expected merged files, found none")
    rows, found = count_rows(sources), count_rows(merged)
    if found != rows:
        raise SystemExit(f"expected {rows} rows in the merged files, found {found}")
    total, of_merged = checksum(sources), checksum(merged)
    if of_merged != total:
        raise SystemExit(f"expected rows of the checksum {total}, found {of_merged}")
    return {"rows_out": found, "checksum": of_merged}


def concatenated(sources: Iterable[Path], target: Path) -> dict[str, float]:
    """Return nothing for a line; end the contender if ``target`` is not its sources' bytes."""
    expected = hashlib.sha256()
    for path in sources:
        expected.update(path.read_bytes())
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256")
    if found.digest() != expected.digest():
        raise SystemExit("expected the bytes of all files one after the other, found others")
    return {}


def tell(watch: Stopwatch, sources: list[Path], said: dict[str, float], **more: float) -> None:
    """Print the line of a contender that has ended; ``said`` is what was checked of its output."""
    line = {
        "mb_in": round(megabytes(sources), 3),
        "seconds": round(watch.seconds, 6),
        "peak_rss_mb": round(watch.peak_mb, 1),
        **said,
        **more,
    }
    print(json.dumps(line))


def run(merge: Callable[[list[Path], Path], None], *, avro: bool = True) -> None:
    """Time ``merge(files, target)``, which makes one file of many, and print its line."""
    source, out = folders(sys.argv[1:])
    sources, target = avro_files(source), out / "merged.avro"
    with Stopwatch() as watch:
        merge(sources, target)
    tell(watch, sources, checked(sources, [target]) if avro else concatenated(sources, target))
