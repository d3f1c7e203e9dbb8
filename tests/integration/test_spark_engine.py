"""Work maps the same by threads and by Spark, by the Spark of the tests and by that of Glue."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.merging.engines import LocalEngine
from tests.integration.spark_cluster import Cluster, Spark, installed, running_cluster, spark35

SCRIPT = Path(__file__).with_name("spark_script.py")
IMPORT_ALL = """
import importlib, pkgutil, pyspark.sql
for top in ("conf", "schemas", "transforms", "pipelines", "jobs"):
    for found in pkgutil.walk_packages(importlib.import_module(top).__path__, f"{top}."):
        importlib.import_module(found.name)
print(pyspark.__version__)
"""
Answer = dict[str, Any]


@pytest.fixture(scope="module", params=["4.3", "3.5"])
def spark(request: pytest.FixtureRequest) -> Spark:
    found = installed() if request.param == "4.3" else spark35()
    if found is None:
        pytest.skip("needs pyspark 3.5 in .spark35: make test puts it there")
    return found


@pytest.fixture(scope="module")
def lake(spark: Spark, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lake")


@pytest.fixture(scope="module")
def same(spark: Spark, lake: Path) -> Answer:
    return answer(spark.run("local[2]", SCRIPT, lake, "same"))


@pytest.fixture(scope="module")
def cluster(spark: Spark, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(spark, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def spread(cluster: Cluster, lake: Path) -> Answer:
    return answer(cluster.run(SCRIPT, lake, "spread"))


def answer(printed: str) -> Answer:
    found: Answer = json.loads(printed.splitlines()[-1])
    return found


def version(spark: Spark) -> str:
    """Return the version that a Spark's own files tell."""
    (jar,) = spark.home.glob("jars/spark-core_*.jar")
    return jar.stem.rpartition("-")[2]


@pytest.mark.integration
@pytest.mark.slow
class TestOneMachine:
    def test_it_is_the_spark_that_was_meant(self, spark: Spark, same: Answer) -> None:
        assert same["version"] == version(spark)

    def test_every_module_can_be_imported_beside_it(self, spark: Spark) -> None:
        done = subprocess.run(
            [sys.executable, "-c", IMPORT_ALL],
            env=spark.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == version(spark)

    def test_both_engines_give_the_same_in_the_same_order(self, same: Answer, lake: Path) -> None:
        assert same["spark"]["results"] == same["local"]["results"]
        assert [rows for _, rows, _ in same["local"]["results"]] == list(range(8))
        for key, _, size in same["local"]["results"]:
            written = [lake.joinpath(name, key).read_bytes() for name in ("spark", "local")]
            assert written[0] == written[1]
            assert len(written[0]) == size

    def test_no_items_give_no_results(self, same: Answer) -> None:
        assert same["spark"]["nothing"] == same["local"]["nothing"] == []

    def test_errors_keep_class_message_and_place(self, same: Answer) -> None:
        expected = [
            ("ObjectNotFound", "lake: expected an object 'a.avro', found none"),
            ("WarehouseFailed", "warehouse sqlite://: read: broken"),
            ("FileNotFoundError", "[Errno 2] No such file: 'a.avro'"),
            ("ValueError", "plain"),
        ]
        for name in ("spark", "local"):
            *known, stranger = same[name]["errors"]
            assert [(each["class"], each["message"]) for each in known] == expected
            assert known[1]["state"] == {"transient": True}
            assert "not to be sent" in stranger["message"]
            assert all(each["before"] == [0, 1] for each in [*known, stranger])
        assert same["spark"]["errors"][-1]["class"] == "EngineFailed"

    def test_an_error_tells_where_in_the_task_it_was(self, same: Answer) -> None:
        assert [each["is told"] for each in same["spark"]["errors"]] == [True] * 5

    def test_a_session_is_stopped_by_who_made_it(self, same: Answer) -> None:
        assert same["sessions"] == {
            "made": "stopped",
            "given": "alive",
            "found": "alive",
            "catalog": "hive",
        }


@pytest.mark.integration
@pytest.mark.slow
class TestCluster:
    def test_both_workers_work_and_the_driver_does_not(
        self, cluster: Cluster, spread: Answer, lake: Path
    ) -> None:
        who = read(lake / "alive")
        assert spread["version"] == version(cluster.spark)
        assert sorted(who) == list(range(8))
        workers = {Path(each["folder"]).relative_to(cluster.logs).parts[0] for each in who.values()}
        assert workers == {"worker0", "worker1"}
        assert len({each["pid"] for each in who.values()} - {spread["pid"]}) >= 2
        assert spread["pid"] not in {each["pid"] for each in who.values()}

    def test_a_task_that_dies_is_done_again(self, spread: Answer, lake: Path) -> None:
        assert spread["killed"] == spread["alive"]
        assert read(lake / "killed")[3]["attempt"] >= 1
        assert contents(lake / "killed") == contents(lake / "alive")

    def test_a_task_that_always_dies_is_told_in_a_line(self, spread: Answer) -> None:
        assert spread["hopeless"].startswith("expected 8 items to be done by Spark, found: Job")
        assert "Task 3 in stage" in spread["hopeless"]
        assert "Python worker exited unexpectedly" in spread["hopeless"]
        assert "\n" not in spread["hopeless"]


def read(root: Path) -> dict[int, Answer]:
    """Return who wrote the file of each item."""
    return {int(p.stem): json.loads(p.read_text()) for p in root.glob("who/*.json")}


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.avro")}


class TestThreads:
    def test_never_more_than_its_threads_work(self) -> None:
        at_work, most, lock = 0, 0, threading.Lock()

        def work(number: int) -> int:
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            time.sleep(0.01)
            with lock:
                at_work -= 1
            return number * number

        with LocalEngine(threads=3) as engine:
            both = zip(engine.map(work, range(30)), engine.map(work, range(30)), strict=True)
            assert list(both) == [(n * n, n * n) for n in range(30)]
        assert most == 3

    def test_a_long_item_keeps_no_thread_waiting(self) -> None:
        others_are_done = threading.Barrier(2, timeout=10)

        def work(number: int) -> int:
            if number in (0, 9):
                others_are_done.wait()
            return number

        with LocalEngine(threads=2) as engine:
            assert list(engine.map(work, range(10))) == list(range(10))

    def test_an_error_ends_it_at_its_place(self) -> None:
        done: list[int] = []

        def work(number: int) -> int:
            if number == 2:
                raise ValueError("two")
            done.append(number)
            return number

        with LocalEngine(threads=2) as engine:
            results = engine.map(work, range(1000))
            assert [next(results), next(results)] == [0, 1]
            with pytest.raises(ValueError, match="two"):
                next(results)
        assert len(done) < 100

    def test_nothing_is_done_until_it_is_asked_for(self) -> None:
        done: list[int] = []
        with LocalEngine() as engine:
            engine.map(done.append, range(3))
        assert done == []
