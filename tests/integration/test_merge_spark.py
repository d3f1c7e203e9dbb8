"""The scripts that EMR and Glue are given merge as ``muster merge`` does, by tasks of Spark."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

from conf.load import load_environment
from jobs.athena import define_table
from jobs.backfill.claims import Wanted, claim
from jobs.cli import main
from pipelines.lake import Lake, LakeSettings
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.runs import Run
from pipelines.merging.engines import LocalEngine
from pipelines.merging.survey import unit_name
from pipelines.storage import Storage
from schemas.registry import record_type
from tests.integration.spark_cluster import Cluster, Spark, installed, running_cluster, spark35

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
DAILY, MONTHLY = (ROOT / "jobs" / f"merge_{kind}.py" for kind in ("daily", "monthly"))
TYPES = ("codeAssignment", "rejection")
DAYS = ("2017-02-28", "2017-03-01", "2017-03-02")
FILES, ROWS = 4, 50
BAD = "fragments/rejection/p/2017-03-02/bad.avro"
#: Of every type and day.
OUTPUTS = len(TYPES) * len(DAYS)
ALL_DAYS = ("--from", DAYS[0], "--to", DAYS[-1])


def write_lake(out: Path) -> None:
    """Write fragments of two types and three days, and one that ends too early."""
    settings = load_environment("local").with_out(out).lake
    lake = Lake(LakeSettings(settings.root, settings.codec, settings.sync_key))
    for name in TYPES:
        record = record_type(name)
        for day in DAYS:
            for number in range(FILES):
                rows = table(record.arrow, number * ROWS)
                blocks = [lake.encoder(record).encode(rows)]
                lake.write_fragment(record, f"p/{day}", f"{number:05}", blocks, len(rows))


def spoil(out: Path) -> None:
    """Add a fragment that ends too early."""
    good = next(out.joinpath("lake", BAD).parent.iterdir()).read_bytes()
    out.joinpath("lake", BAD).write_bytes(good[:-20])


def table(schema: pa.Schema, first: int) -> pa.Table:
    """Return rows with their numbers in every column."""
    numbers = pa.array(range(first, first + ROWS), pa.int64())

    def column(kind: pa.DataType) -> pa.Array:
        if pa.types.is_struct(kind):
            return pa.StructArray.from_arrays([column(f.type) for f in kind], fields=list(kind))
        return numbers.cast(kind)

    return pa.table([column(field.type) for field in schema], schema=schema)


def merge_locally(out: Path, *arguments: str) -> int:
    return CliRunner().invoke(main, ["merge", *arguments, "--out", str(out)]).exit_code


def files(out: Path) -> dict[str, bytes]:
    """Return all Avro files of a lake, wherever they are."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*.avro")}


def merged(out: Path) -> list[str]:
    return [name for name in files(out) if name.startswith("lake/merged/")]


def run_script(
    script: Path, *arguments: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script as a program of its own, without spark-submit."""
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def without_muster(folder: Path) -> str:
    """Return a Python with all the libraries of this one, and no Muster."""
    venv.create(folder, with_pip=False)
    (own,) = folder.glob("lib/*/site-packages")
    # Files like this one are heeded in `own` only: what makes the checkout importable is not.
    own.joinpath("libraries.pth").write_text(os.path.dirname(os.path.dirname(yaml.__file__)))  # noqa: PTH120
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> str:
    python = without_muster(tmp_path_factory.mktemp("bare") / "venv")
    assert subprocess.run([python, "-c", "import obstore"], check=False).returncode == 0
    found = subprocess.run([python, "-P", "-c", "import jobs"], check=False, capture_output=True)
    assert found.returncode == 1, "expected a Python that Muster is not installed in"
    return python


@pytest.fixture(scope="module")
def spark_of_glue() -> Spark:
    found = spark35()
    if found is None:
        pytest.skip("needs pyspark 3.5 in .spark35: make test puts it there")
    return found


@pytest.fixture(scope="module")
def fragments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fragments")
    write_lake(out)
    return out


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers have the working folder on their path: from the checkout they would find Muster."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def out(fragments: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(fragments, tmp_path / "out"))


@pytest.fixture
def other(fragments: Path, tmp_path: Path) -> Path:
    """The same lake once more, to be merged without Spark."""
    return Path(shutil.copytree(fragments, tmp_path / "other"))


@pytest.fixture(scope="module")
def cluster(bare: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    spark = replace(installed(), python=bare)
    with running_cluster(spark, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def muster_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel under a name that Spark puts on the path of its workers."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for package in ("conf", "schemas", "transforms", "pipelines", "jobs"):
        shutil.copytree(ROOT / package, tree / package)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    how = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir")
    command = [sys.executable, "-m", "pip", "wheel", *how, str(dist), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = dist.glob("*.whl")
    return wheel.rename(dist / "muster.zip")


class TestCluster:
    def test_two_workers_write_what_this_process_writes(
        self, cluster: Cluster, muster_zip: Path, out: Path, other: Path, tmp_path: Path
    ) -> None:
        spoil(out)
        spoil(other)
        script = Path(shutil.copy(DAILY, tmp_path))
        conf = {"spark.submit.pyFiles": str(muster_zip), **logging_events(tmp_path)}
        arguments = (script, *ALL_DAYS, "--out", out)
        done = cluster.spark.submit(cluster.master, *arguments, conf=conf)
        assert done.returncode == 1, done.stdout
        assert f"muster: rejection 2017-03: left out: {BAD}: " in done.stdout
        assert merge_locally(other, "daily", *ALL_DAYS) == 1
        assert files(out) == files(other)
        assert len(merged(out)) == OUTPUTS
        assert f"lake/{BAD}" in files(out)
        tasks = executors(tmp_path)
        assert len(tasks) == OUTPUTS
        assert set(tasks) == {"0", "1"}


def logging_events(folder: Path) -> dict[str, str]:
    """Return the settings with which Spark says of each task where it was done."""
    folder.joinpath("events").mkdir()
    return {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": f"file://{folder}/events",
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
    }


def executors(folder: Path) -> list[str]:
    """Return the executor of every task; the driver would be ``driver``."""
    (log,) = folder.joinpath("events").iterdir()
    events = map(json.loads, log.read_text().splitlines())
    return [e["Task Info"]["Executor ID"] for e in events if e["Event"] == "SparkListenerTaskEnd"]


class TestOneMachine:
    def test_days_and_then_months_are_merged_on_spark_of_glue(
        self, spark_of_glue: Spark, bare: str, out: Path, other: Path
    ) -> None:
        glue = ("--JOB_NAME", "muster", "--enable-metrics", "--TempDir", "s3://b/t")
        done = spark_of_glue.submit("local[2]", DAILY, *glue, *ALL_DAYS, "--out", out)
        assert done.returncode == 0, done.stdout
        assert merge_locally(other, "daily", *ALL_DAYS) == 0
        assert files(out) == files(other)
        assert len(merged(out)) == OUTPUTS

        months = ("--month", "2017-02", "--to", "2017-03")
        env = not_submitted(spark_of_glue, bare)
        done = run_script(MONTHLY, *months, "--out", out, env=env)
        assert done.returncode == 0, done.stderr
        assert merge_locally(other, "monthly", *months) == 0
        assert files(out) == files(other)
        assert len(merged(out)) == OUTPUTS + 4

    def test_workers_without_muster_are_told_in_a_line(
        self, spark_of_glue: Spark, bare: str, out: Path
    ) -> None:
        env = {**not_submitted(spark_of_glue, bare), "PYSPARK_PYTHON": bare}
        done = run_script(DAILY, "--type", "rejection", "--date", DAYS[0], "--out", out, env=env)
        assert done.returncode == 1
        expected = "expected 1 items to be done by Spark, found: ModuleNotFoundError: No module"
        assert done.stderr.splitlines()[-1].startswith(
            f"muster: rejection 2017-02: failed: {expected}"
        )
        assert merged(out) == []


def not_submitted(spark: Spark, other_python: str) -> dict[str, str]:
    """Return the environment of a script that a person starts, with another Python on the path."""
    env = spark.environment()
    env["PATH"] = os.pathsep.join([str(Path(other_python).parent), env["PATH"]])
    return {name: env[name] for name in env.keys() - {"PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"}}


class TestLateTask:
    """Spark may run a task twice, and its driver hears of the first that ends."""

    def test_it_leaves_a_published_file_alone(
        self, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tasks: list[tuple[Any, Any]] = []
        run = LocalEngine.map

        def noted(engine: LocalEngine, work: Any, items: Any) -> Any:
            tasks.extend((work, item) for item in items)
            return run(engine, work, items)

        monkeypatch.setattr(LocalEngine, "map", noted)
        source = min(out.glob(f"lake/fragments/rejection/p/{DAYS[0]}/*"))
        kept = out / "kept"
        kept.hardlink_to(source)
        assert merge_locally(out, "daily", "--type", "rejection", "--date", DAYS[0]) == 0
        # As if this one's turn to be archived had not come yet: the same file, not a copy.
        source.parent.mkdir(parents=True, exist_ok=True)
        source.hardlink_to(kept)
        before = files(out)
        [(work, item)] = tasks
        assert "found it in the archive" in str(work(item).error)
        assert files(out) == before


class TestHive:
    def test_its_table_has_all_rows_after_days_and_after_months(
        self, spark_of_glue: Spark, out: Path
    ) -> None:
        environment = out / "hive.yaml"
        settings = yaml.safe_load((ROOT / "conf/environments/local.yaml").read_text())
        settings["catalog"] = {"kind": "hive", "database": "muster"}
        environment.write_text(yaml.safe_dump(settings))
        known = load_environment(environment).with_out(out)
        made = define_table(known, "rejection").statements
        statements = json.dumps(["CREATE DATABASE muster", *made])
        env = spark_of_glue.environment()
        env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], str(ROOT)])
        script = ROOT / "tests/integration/merge_hive_script.py"
        command = [sys.executable, str(script), str(out), str(environment), statements]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-6000:]
        rows, numbers = FILES * ROWS, sum(range(FILES * ROWS))
        february = ["2017-02", rows, numbers, 1]
        assert json.loads(done.stdout.splitlines()[-1]) == {
            "merge_daily": [february, ["2017-03", 2 * rows, 2 * numbers, 2]],
            "merge_monthly": [february, ["2017-03", 2 * rows, 2 * numbers, 1]],
        }
        assert len(merged(out)) == len(DAYS) + 2


class TestArguments:
    def test_a_month_that_another_run_holds_ends_it_with_3(self, out: Path) -> None:
        ledger = Ledger(Storage(str(out / "lake")))
        unit = unit_name("rejection", "2017-03")
        with Run(ledger, 60) as run:
            claim(ledger, run.token, "held", [Wanted(unit, "f", 0, "held")])
            done = run_script(DAILY, "--type", "rejection", "--date", DAYS[1], "--out", out)
        assert done.returncode == 3
        (line,) = done.stderr.splitlines()
        assert line.startswith("muster: ")
        assert unit in line
        assert merged(out) == []

    def test_what_glue_adds_is_passed_over(self, out: Path) -> None:
        glue = (
            *("--JOB_ID", "j_1", "--JOB_RUN_ID", "jr_1", "--TempDir", "s3://bucket/temp"),
            *("--conf", "spark.a=b --conf spark.c=d", "--enable-metrics", "--enable-spark-ui="),
            *("--python-modules-installer-option", "--upgrade", "--enable-job-insights", "true"),
            *("--job-bookmark-option", "job-bookmark-disable", "--JOB_NAME", "muster", "--debug"),
        )
        asked = ("--date", DAYS[0], "--plan", "--json", "--out", out)
        plain, given = run_script(DAILY, *asked), run_script(DAILY, *glue, *asked)
        assert given.returncode == 0, given.stderr
        assert given.stdout == plain.stdout
        assert len(json.loads(given.stdout)["merges"]) == len(TYPES)

    @pytest.mark.parametrize(
        "arguments",
        [("--conf", "spark.a=b"), ("--JOB_NAME", "muster", "--dat", "x")],
    )
    def test_what_nobody_knows_is_refused(self, out: Path, arguments: tuple[str, ...]) -> None:
        done = run_script(DAILY, "--date", DAYS[0], "--out", out, *arguments)
        assert done.returncode == 2
        option = next(a for a in arguments if a in ("--conf", "--dat"))
        assert f"No such option '{option}'" in done.stderr

    @pytest.mark.parametrize("script", [DAILY, MONTHLY])
    def test_help_shows_an_example_that_is_accepted(self, out: Path, script: Path) -> None:
        text = run_script(script, "--help").stdout
        assert "muster merge" not in text
        assert "[default: spark]" in " ".join(text.split())
        example = next(line for line in text.splitlines() if "spark-submit" in line).split()
        assert example[1] == script.name
        done = run_script(script, *example[2:], "--plan", "--out", out)
        assert done.returncode == 0, done.stderr
