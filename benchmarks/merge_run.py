"""Muster's side of the merges: ``python -m benchmarks.merge_run MODE [S3...] IN_DIR OUT_DIR``.

IN_DIR is the root of a lake (see ``benchmarks.fragments``); what is merged is a copy of it, made
before the clock starts. ``muster`` merges a local lake by day. ``s3_daily S3_ROOT`` does so on S3.
``s3_monthly S3_ROOT ENDPOINT`` merges by day first, and then times the merge of the month, during
which S3 is reached by ENDPOINT. ``plan`` plans and merges nothing.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.measure import Stopwatch, avro_files, folders, peak_rss_mb
from benchmarks.merge_measure import checked, megabytes, tell

if TYPE_CHECKING:
    from jobs.backfill.plan import Request

Kind = Literal["daily", "monthly"]


def _request(kind: Kind, root: str, scratch: Path) -> Request:
    from jobs.backfill.plan import Request
    from jobs.merges.options import MergeOptions

    environment = scratch / "environment.yaml"
    environment.write_text(
        f"name: bench\nwarehouse: {{url: 'duckdb://'}}\nstore: null\nlake: {{root: '{root}'}}\n"
    )
    return Request(
        "merge",
        ("registration",),
        str(environment),
        str(scratch),
        *("2017-03-01", "2017-03-31"),
        options=MergeOptions(kind).document(),
    )


def merge(kind: Kind, root: str, scratch: Path) -> Sequence[str]:
    """Merge all of the lake at ``root`` and return the keys of the files that readers find.

    That is what ``muster merge`` does: it plans, claims, writes, verifies, publishes and archives.
    """
    from jobs.backfill.apply import Options, apply
    from jobs.backfill.planning import make_plan
    from jobs.merges.loading import merge_loader
    from pipelines.catalogs.files import FileCatalog
    from pipelines.storage import Storage

    request = _request(kind, root, scratch)
    jobs = merge_loader(request)
    apply(make_plan(request, jobs), jobs, Options())
    pointer = FileCatalog(Storage(root)).pointer("registration", "2017-03")
    if pointer is None:
        raise SystemExit(f"{root}: expected a merged month, found none")
    return pointer.files


def finish_seconds(root: str) -> float:
    """Return how long the last merge took after its generation was published.

    That is what no reader waits for: the archiving of its sources, above all.
    """
    from pipelines.ledger.ledger import Ledger
    from pipelines.storage import Storage

    last = Ledger(Storage(root)).last("merge/registration/2017-03")
    if last is None:
        raise SystemExit(f"{root}: expected a merge in the ledger, found none")
    return float(last.details["publishSeconds"])


def plan(root: str, scratch: Path) -> int:
    """Plan a daily merge of all of the lake at ``root`` and return of how many fragments."""
    from jobs.backfill.planning import make_plan
    from jobs.merges.loading import merge_loader

    request = _request("daily", root, scratch)
    made = make_plan(request, merge_loader(request))
    return sum(len(unit.inputs["reads"]) for _, unit in made.units)


def load() -> None:
    """Import what merging needs: no contender is charged for its imports."""
    for library in ("boto3", "jobs.cli"):
        importlib.import_module(library)
    for name in ("jobs.merges", "pipelines.merging", "pipelines.catalogs"):
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{name}.{module.name}")


def linked(lake: Path, target: Path) -> Path:
    """Return a copy of a lake that costs no time: its files are links, which nobody writes into."""
    return Path(shutil.copytree(lake, target, copy_function=os.link))


def local(source: Path, out: Path) -> None:
    root, scratch = linked(source, out.parent / "lake"), out.parent
    with Stopwatch() as watch:
        keys = merge("daily", str(root), scratch)
    said = checked(avro_files(source), [root / key for key in keys])
    until = round(watch.seconds - finish_seconds(str(root)), 4)
    tell(watch, avro_files(source), said, published_seconds=until)


def on_s3(kind: Kind, s3_root: str, endpoint: str | None, source: Path, out: Path) -> None:
    from benchmarks.s3 import ENDPOINT, download, through, upload

    root, scratch = upload(source, s3_root), out.parent
    if kind == "monthly":
        merge("daily", root, scratch)
    with through(endpoint or os.environ[ENDPOINT]), Stopwatch() as watch:
        keys = merge(kind, root, scratch)
    sources, merged = avro_files(source), download(root, keys, out)
    mb_out = round(megabytes(merged), 3)
    until = round(watch.seconds - finish_seconds(root), 4)
    tell(watch, sources, checked(sources, merged), mb_out=mb_out, published_seconds=until)


def planning(source: Path, out: Path) -> None:
    """Plan a lake of one fragment first: what that takes is of no lake's size."""
    sources, scratch = avro_files(source), out.parent
    small = scratch / "small"
    first = small / sources[0].relative_to(source)
    first.parent.mkdir(parents=True)
    os.link(sources[0], first)
    os.link(source / "_lake.json", small / "_lake.json")
    root = linked(source, scratch / "lake")
    plan(str(small), scratch)
    before = peak_rss_mb()
    with Stopwatch() as watch:
        planned = plan(str(root), scratch)
    if planned != len(sources):
        raise SystemExit(f"expected a plan of {len(sources)} fragments, found {planned}")
    tell(watch, sources, {"fragments": planned, "more_mb": round(watch.peak_mb - before, 1)})


def main() -> None:
    mode, *s3 = sys.argv[1:-2]
    source, out = folders(sys.argv[-2:])
    load()
    match mode:
        case "muster":
            local(source, out)
        case "s3_daily":
            on_s3("daily", s3[0], None, source, out)
        case "s3_monthly":
            on_s3("monthly", s3[0], s3[1], source, out)
        case "plan":
            planning(source, out)
        case _:
            raise SystemExit(f"MODE: expected muster, s3_daily, s3_monthly or plan, found {mode}")


if __name__ == "__main__":
    main()
