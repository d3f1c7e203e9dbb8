"""Maps writing files to a lake, by an engine: ``spark_script.py <root> <what>``; prints JSON.

It runs as a job does: as the main module of spark-submit, whose own names go to the workers by
value and whose imports are those of the package that is installed there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import ObjectNotFound, WarehouseFailed
from pipelines.lake import Lake, LakeSettings
from pipelines.merging.engines import Engine, EngineFailed, LocalEngine, SparkEngine
from schemas.registry import record_type

ITEMS = range(8)


@dataclass(frozen=True)
class Write:
    """Write the file of an item, as large as its number; where and by whom is written beside."""

    root: str
    seconds: float = 0.0
    deaths: int = 0

    def __call__(self, number: int) -> tuple[str, int, int]:
        time.sleep(self.seconds)
        if number == 3 and attempt() < self.deaths:
            os._exit(1)
        lake = Lake(LakeSettings(self.root, "deflate", "00" * 16))
        record = record_type("rejection")
        rows = record.arrow.empty_table() if number == 0 else _rows(number)
        blocks = [lake.encoder(record).encode(rows)]
        receipt = lake.write_fragment(record, "p/2017-03-01", f"{number:05}", blocks, len(rows))
        who = json.dumps({"pid": os.getpid(), "folder": str(Path.cwd()), "attempt": attempt()})
        lake.storage.write(f"who/{number}.json", [who.encode()])
        return receipt.key, receipt.rows, receipt.size


def attempt() -> int:
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else context.attemptNumber()


def _rows(count: int) -> Any:
    import pyarrow as pa

    numbers = range(count)
    columns = {
        "sourceSplit": pa.array([0] * count, pa.int32()),
        "sourceRow": pa.array(numbers, pa.int64()),
        "timestamp": pa.array([0] * count, pa.timestamp("ms", "UTC")),
    }
    record = record_type("rejection")
    texts = pa.array([str(n) for n in numbers], pa.string())
    return pa.table({f.name: columns.get(f.name, texts) for f in record.arrow})


class Stranger(Exception):
    """An error that cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("not to be sent")
        self.file = sys.stderr


ERRORS: list[Callable[[], Exception]] = [
    lambda: ObjectNotFound("lake", "a.avro"),
    lambda: WarehouseFailed("sqlite://", "read", "broken", transient=True),
    lambda: FileNotFoundError(2, "No such file", "a.avro"),
    lambda: ValueError("plain"),
    Stranger,
]


@dataclass(frozen=True)
class Fail:
    """Raise one of the errors at item 2."""

    which: int

    def __call__(self, number: int) -> int:
        if number == 2:
            raise ERRORS[self.which]()
        return number


def failures(engine: Engine) -> Iterator[dict[str, Any]]:
    for which in range(len(ERRORS)):
        results = []
        try:
            for each in engine.map(Fail(which), range(4)):
                results.append(each)  # noqa: PERF402 (what came before the error counts)
        except Exception as error:  # noqa: BLE001
            state = {k: v for k, v in vars(error).items() if k != "__notes__"}
            told = "".join(getattr(error, "__notes__", ()))
            yield {
                "class": type(error).__qualname__,
                "message": str(error),
                "state": state if isinstance(error, WarehouseFailed) else {},
                "is told": "in __call__" in told,
                "before": results,
            }


def same(root: str) -> dict[str, Any]:
    """Give what both engines give, and what of errors comes through each."""
    found: dict[str, Any] = {"version": _version()}
    makers: dict[str, Callable[[], Engine]] = {"local": LocalEngine, "spark": SparkEngine}
    for name, made in makers.items():
        with made() as engine:
            found[name] = {
                "results": list(engine.map(Write(f"{root}/{name}"), ITEMS)),
                "nothing": list(engine.map(Write(f"{root}/{name}"), [])),
                "errors": list(failures(engine)),
            }
    return {**found, "sessions": sessions()}


def sessions() -> dict[str, str | None]:
    """Say what becomes of sessions when an engine that used them is left."""

    def state(session: Any) -> str:
        return "alive" if session.sparkContext._jsc is not None else "stopped"

    with SparkEngine() as made:
        own = made.session
    with SparkEngine(hive=True) as outer:
        given = outer.session
        with SparkEngine(given) as engine:
            list(engine.map(abs, [1]))
        after_given = state(given)
        with SparkEngine() as engine:
            list(engine.map(abs, [1]))
        return {
            "made": state(own),
            "given": after_given,
            "found": state(given),
            "catalog": given.sparkContext.getConf().get("spark.sql.catalogImplementation"),
        }


def spread(root: str) -> dict[str, Any]:
    """Give the results of a cluster some of whose tasks die, and the driver's own number."""
    with SparkEngine() as engine:
        first = list(engine.map(Write(f"{root}/alive", 0.2), ITEMS))
        second = list(engine.map(Write(f"{root}/killed", 0.0, deaths=1), ITEMS))
        try:
            hopeless = str(list(engine.map(Write(f"{root}/hopeless", 0.0, deaths=9), ITEMS)))
        except EngineFailed as error:
            hopeless = str(error)
    return {
        "pid": os.getpid(),
        "version": _version(),
        "alive": first,
        "killed": second,
        "hopeless": hopeless,
    }


def _version() -> str:
    import pyspark

    return str(pyspark.__version__)


if __name__ == "__main__":
    root, what = sys.argv[1:]
    print(json.dumps({"same": same, "spread": spread}[what](root)))  # noqa: T201
