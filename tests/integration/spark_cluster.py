"""Two Sparks to run scripts on, and a standalone cluster of either, on loopback only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 90
_RUN_SECONDS = 180
_SHOWN = 6000
_SETTINGS = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    "spark.ui.enabled": "false",
    # Else the executor that is there first does all the work before the second has come.
    "spark.scheduler.minRegisteredResourcesRatio": "1",
    "spark.scheduler.maxRegisteredResourcesWaitingTime": "60s",
}


@dataclass(frozen=True)
class Spark:
    """A pyspark that is installed: ``home`` is its package, ``path`` goes before all others.

    ``python`` runs the driver and the workers.
    """

    home: Path
    path: Path | None = None
    python: str = sys.executable

    def run(
        self, master: str, script: Path, *arguments: object, conf: Mapping[str, str] | None = None
    ) -> str:
        """Run a script by spark-submit and return what it printed; an error shows what it said."""
        done = self.submit(master, script, *arguments, conf=conf)
        assert done.returncode == 0, f"{done.stderr[-_SHOWN:]}\n{done.stdout[-_SHOWN:]}"
        return done.stdout

    def submit(
        self, master: str, script: Path, *arguments: object, conf: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script by spark-submit, however it ends."""
        settings = {**_SETTINGS, **(conf or {})}
        command = [
            *(str(self.home / "bin" / "spark-submit"), "--master", master),
            *(each for name, value in settings.items() for each in ("--conf", f"{name}={value}")),
            *(str(script), *map(str, arguments)),
        ]
        return subprocess.run(
            command,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_RUN_SECONDS,
        )

    def environment(self) -> dict[str, str]:
        """Return the environment in which this Python and this Spark are used, and no other."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
        kept.pop("PYTHONPATH", None)
        added = {
            "SPARK_HOME": str(self.home),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "512m",
            # Its port would be the same for every cluster, and nobody submits by it.
            "SPARK_MASTER_OPTS": "-Dspark.master.rest.enabled=false",
            "PYSPARK_PYTHON": self.python,
            "PYSPARK_DRIVER_PYTHON": self.python,
        }
        if self.path:
            added["PYTHONPATH"] = str(self.path)
        return {**kept, **added}


def installed() -> Spark:
    """Return the Spark of this environment."""
    spec = find_spec("pyspark")
    assert spec is not None
    assert spec.origin is not None
    return Spark(Path(spec.origin).parent)


def spark35() -> Spark | None:
    """Return the Spark that Glue 5 and EMR 7 have; None where ``make test`` has not put it."""
    path = _ROOT / ".spark35"
    return Spark(path / "pyspark", path) if (path / "pyspark" / "bin").is_dir() else None


@dataclass(frozen=True)
class Cluster:
    """A running master with its workers, and the folder of all their logs."""

    spark: Spark
    master: str
    logs: Path

    def run(self, script: Path, *arguments: object, conf: Mapping[str, str] | None = None) -> str:
        """Run a script on the cluster as ``Spark.run`` does; an error shows the logs too."""
        try:
            return self.spark.run(self.master, script, *arguments, conf=conf)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{error}\n{shown(self.logs)}") from error


def shown(logs: Path) -> str:
    """Return the ends of all logs below a folder, those of executors too."""
    files = sorted(p for p in logs.rglob("*") if p.name in ("stdout", "stderr", "log"))
    return "\n".join(
        f"== {p.relative_to(logs)}\n{p.read_text(errors='replace')[-_SHOWN:]}" for p in files
    )


@contextmanager
def running_cluster(spark: Spark, logs: Path, workers: int = 2) -> Iterator[Cluster]:
    """Start a cluster whose workers have a core and a gigabyte each; kill it in the end."""
    port, page, *own = _free_ports(2 + 2 * workers)
    master = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        daemons = [
            stack.enter_context(
                _daemon(spark, logs / "master", "master.Master", *_ports(port, page))
            )
        ]
        _wait(lambda: _state(page) is not None, daemons, logs)
        for number in range(workers):
            home = logs / f"worker{number}"
            size = ("--cores", "1", "--memory", "1g", "--work-dir", str(home))
            ports = _ports(*own[2 * number : 2 * number + 2])
            daemons.append(
                stack.enter_context(_daemon(spark, home, "worker.Worker", *ports, *size, master))
            )
        _wait(lambda: (_state(page) or {}).get("aliveworkers") == workers, daemons, logs)
        yield Cluster(spark, master, logs)


def _ports(port: int, page: int) -> tuple[str, ...]:
    return "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextmanager
def _daemon(
    spark: Spark, home: Path, name: str, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    home.mkdir(parents=True)
    command = [str(spark.home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=home,
            env=spark.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            # The whole group: a worker's executors would outlive it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def _state(page: int) -> dict[str, Any] | None:
    """Return what the master says of itself; None while it says nothing."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
            state: dict[str, Any] = json.load(answer)
    except OSError:
        return None
    return state


def _wait(is_ready: Any, daemons: Sequence[subprocess.Popen[bytes]], logs: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not is_ready():
        ended = any(each.poll() is not None for each in daemons)
        assert not ended, f"a daemon ended\n{shown(logs)}"
        assert time.monotonic() < deadline, f"not ready\n{shown(logs)}"
        time.sleep(0.1)
