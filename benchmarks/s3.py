"""An S3 server of the benchmark's own; what contenders do before and after the clock."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import obstore
from obstore.store import from_url

from benchmarks.harness import ContenderError

THREADS = 8
ENDPOINT = "AWS_ENDPOINT_URL"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is running: an empty folder of a bucket, and a port."""

    root: str
    port: int


@contextmanager
def server() -> Iterator[Server]:
    """Run SeaweedFS; for as long as the block takes it is where every root of S3 is.

    Raises ContenderError where its binary is not installed.
    """
    from tests.integration.servers import running_seaweedfs, weed

    binary = weed()
    if binary is None:
        raise ContenderError("needs SeaweedFS: weed is neither next to Python nor on the PATH")
    with running_seaweedfs(binary) as started, patch.dict(os.environ):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(started.environment)
        yield Server(started.root(), int(started.endpoint.rpartition(":")[2]))


@contextmanager
def through(endpoint: str) -> Iterator[None]:
    """Reach S3 by another endpoint for as long as the block takes."""
    with patch.dict(os.environ, {ENDPOINT: endpoint}):
        yield


def upload(lake: Path, root: str) -> str:
    """Copy a lake to a new folder below ``root`` and return the root that it has there."""
    target = f"{root}/{uuid.uuid4().hex}"
    store = from_url(target)
    paths = sorted(path for path in lake.rglob("*") if path.is_file())

    def put(path: Path) -> None:
        key = path.relative_to(lake).as_posix()
        obstore.put(store, key, path.read_bytes(), use_multipart=False)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put, paths))
    return target


def download(root: str, keys: Sequence[str], out: Path) -> list[Path]:
    """Copy objects into the folder ``out`` and return their files in the same order."""
    store = from_url(root)
    paths = [out / f"{number:05d}.avro" for number in range(len(keys))]
    for key, path in zip(keys, paths, strict=True):
        with path.open("wb") as file:
            for chunk in obstore.get(store, key).stream():
                file.write(chunk)
    return paths


def keys(store: Any, prefix: str) -> list[str]:
    """Return the keys below ``prefix`` in order."""
    pages: Iterator[Sequence[Mapping[str, Any]]] = obstore.list(store, prefix)
    return sorted(str(each["path"]) for page in pages for each in page)
