"""Times one contender in its own process and prints one line of JSON.

Nothing heavy is imported before the clock stops, so that a contender is charged for its own
libraries' memory only.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MEBIBYTE = 2**20


def avro_files(folder: Path) -> list[Path]:
    """Return the data files below ``folder`` in the order of their names."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if not path.name.startswith((".", "_")))


def _high_water(status: Path) -> int:
    """Return VmHWM in bytes, 0 for a process that has just gone."""
    try:
        lines = status.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1_024 for line in lines if line.startswith("VmHWM"))


def peak_rss_mb() -> float:
    """Return the sum of the peaks of this process and its live children, in MiB.

    The kernel keeps the peak, so nothing is missed between samples. Where there is no /proc,
    the peak is this process's alone.
    """
    if not Path("/proc/self/status").exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEBIBYTE
    import psutil  # type: ignore[import-untyped]

    me = psutil.Process()
    pids = [me.pid, *(child.pid for child in me.children(recursive=True))]
    return sum(_high_water(Path(f"/proc/{pid}/status")) for pid in pids) / MEBIBYTE


def count_rows(paths: Iterable[Path]) -> int:
    """Return how many rows the blocks of ``paths`` declare."""
    import fastavro

    total = 0
    for path in paths:
        with path.open("rb") as file:
            total += sum(block.num_records for block in fastavro.block_reader(file))
    return total


def checksum(paths: Iterable[Path]) -> int:
    """Return a sum of row hashes over all columns: the same for the same rows in any order."""
    import polars as pl
    import polars_hash as plh
    from polars_avro import read_avro

    text = plh.concat_str(
        pl.col("customerId", "subjectId", "marketplace"),
        pl.col("eventDate").dt.epoch("ms"),
        (pl.col("orderValue") * 100).round().cast(pl.Int64),
        pl.col("quantity"),
        pl.col("email", "phone").fill_null(""),
        pl.col("city", "country", "optIn"),
        (pl.col("score") * 10_000).round().cast(pl.Int64),
        pl.col("band"),
        separator="|",
    )
    hashed = (text.nchash.xxhash64() % 2**31).cast(pl.Int64).sum()
    total = 0
    for path in paths:
        frame = read_avro(path)
        unbanded = {} if "band" in frame.columns else {"band": pl.lit("")}
        total += int(frame.with_columns(**unbanded).select(hashed).item())
    return total


@dataclass
class Stopwatch:
    """Times a ``with`` block and takes the peak of memory at its end."""

    seconds: float = 0.0
    peak_mb: float = 0.0

    def __enter__(self) -> Self:
        self.seconds = -time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter()
        self.peak_mb = peak_rss_mb()


def report(
    watch: Stopwatch, source: Path, out: Path, *, checked: bool = True, **more: float
) -> None:
    """Print the line of a contender that has ended, with ``more`` figures of its own.

    The checksum is 0 unless ``checked``: it reads registrations, and no other record type.
    """
    written = avro_files(out)
    line = {
        "rows_in": count_rows(avro_files(source)),
        "rows_out": count_rows(written),
        "seconds": round(watch.seconds, 3),
        "peak_rss_mb": round(watch.peak_mb, 1),
        "checksum": checksum(written) if checked else 0,
        **more,
    }
    print(json.dumps(line))


def folders(argv: Sequence[str]) -> tuple[Path, Path]:
    """Return IN_DIR and OUT_DIR; OUT_DIR must be new, so that nothing old is counted."""
    if len(argv) != 2:
        raise SystemExit(f"expected IN_DIR OUT_DIR, found {list(argv)}")
    source, out = Path(argv[0]), Path(argv[1])
    if not avro_files(source):
        raise SystemExit(f"IN_DIR: expected Avro files, found none: {source}")
    out.mkdir(parents=True)
    return source, out


def run(contender: Callable[[Path, Path], None]) -> None:
    """Time ``contender(IN_DIR, OUT_DIR)`` and print its line."""
    source, out = folders(sys.argv[1:])
    with Stopwatch() as watch:
        contender(source, out)
    report(watch, source, out)
