"""A server of AWS's own interfaces on loopback: Athena and Glue over its own S3."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

_START_SECONDS = 60
_QUERY_SECONDS = 60
_STARTS = 3
#: The server's engine asks for an older DuckDB and an older boto3 than ours, so they lie apart.
_PACKAGES = Path(__file__).parents[2] / ".ministack"
#: Athena's engine there reads Avro by an extension that is looked for below the home folder.
_IMPORT = "from duckdb_extensions import import_extension; import_extension('avro')"
_RUN = "from ministack.app import main; main()"


@dataclass(frozen=True)
class Ministack:
    """A running server; its S3 is the only one that its Athena reads."""

    url: str

    def client(self, service: str) -> Any:
        """Return a client of one of its services."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def athena(self, query: str, database: str, results: str) -> list[list[str | None]]:
        """Run a query by Athena and return its rows; an error says why it failed."""
        client = self.client("athena")
        started = client.start_query_execution(
            QueryString=query,
            QueryExecutionContext={"Database": database},
            ResultConfiguration={"OutputLocation": results},
        )
        asked = {"QueryExecutionId": started["QueryExecutionId"]}
        deadline = time.monotonic() + _QUERY_SECONDS
        while True:
            status = client.get_query_execution(**asked)["QueryExecution"]["Status"]
            if status["State"] not in ("QUEUED", "RUNNING"):
                break
            assert time.monotonic() < deadline, f"still {status['State']}: {query}"
            time.sleep(0.02)
        assert status["State"] == "SUCCEEDED", f"{status.get('StateChangeReason')}: {query}"
        rows = client.get_query_results(**asked)["ResultSet"]["Rows"]
        values = [[cell.get("VarCharValue") for cell in row.get("Data", [])] for row in rows]
        return values[1:]  # the first one is of the columns' names


@contextmanager
def running_ministack(folder: Path) -> Iterator[Ministack]:
    """Start a server that keeps everything below ``folder``; kill it in the end."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "MINISTACK_"))}
    environment = {
        **kept,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "BIND_HOST": "127.0.0.1",
        "ATHENA_ENGINE": "duckdb",
        "S3_DATA_DIR": str(folder / "s3"),
        "PYTHONPATH": str(_PACKAGES),
    }
    assert _PACKAGES.is_dir(), "ministack has an environment of its own: make test makes it"
    subprocess.run([sys.executable, "-c", _IMPORT], env=environment, check=True, timeout=60)
    for attempt in range(1, _STARTS + 1):
        port = _free_port()
        log = folder / f"log{attempt}"
        with _server({**environment, "GATEWAY_PORT": str(port)}, log) as process:
            # Another server may have taken the port meanwhile.
            if not _answers(process, f"http://127.0.0.1:{port}/_ministack/health", log):
                continue
            yield Ministack(f"http://127.0.0.1:{port}")
            return
    raise AssertionError(f"the server ended {_STARTS} times\n{log.read_text(errors='replace')}")


@contextmanager
def _server(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN],
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    """Wait until the server answers; False if it ended before."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None:
        try:
            direct.open(url, timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.05)
        else:
            return process.poll() is None
    return False
