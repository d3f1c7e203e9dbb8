"""Merges of a lake on a real S3 server, run as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from jobs.backfill.apply import Options
from jobs.backfill.plan import Request
from jobs.backfill.planning import make_plan
from jobs.cli import main
from jobs.merges.application import MergeOutcome, carry_out
from jobs.merges.loading import merge_loader
from jobs.merges.options import MergeOptions
from pipelines.catalogs.files import FileCatalog
from pipelines.errors import StorageFailed
from pipelines.lake import Lake, LakeSettings, Receipt
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Record
from pipelines.merging.layout import archived
from pipelines.merging.parts import Kind
from pipelines.merging.publisher import MergePublisher
from pipelines.storage import Storage, StoredObject
from schemas.codec import encode_file
from tests.integration.code_assignments import CODES, FOREIGN, numbers_of, once, table
from tests.integration.servers import SeaweedFS
from tests.integration.tcp_proxy import relaying

pytestmark = pytest.mark.integration

MIB = 1 << 20
MONTH, UNIT = "2017-03", "merge/codeAssignment/2017-03"
KEY = "6d75737465722d6c6f63616c2d6c616b652d73796e632d6b65792d3030303031"
_ENVIRONMENT = """
name: test
warehouse: {{url: "duckdb://"}}
lake: {{root: "{root}", syncKey: {key}, codec: snappy}}
store: null
catalog: {{kind: files}}
runs: {{retries: 3, leaseSeconds: 5}}
"""


def day(number: int) -> str:
    return f"2017-03-{number:02}"


class Merging:
    """A lake of code assignments, and the environment that names it."""

    def __init__(self, root: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.yaml = str(folder / "out"), str(folder / "environment.yaml")
        Path(self.yaml).write_text(_ENVIRONMENT.format(root=root, key=KEY))
        self.lake = Lake(LakeSettings(root, "snappy", KEY))
        self.storage = self.lake.storage
        self.ledger = Ledger(self.storage)

    def publish(self, number: int, *fragments: Sequence[int], wide: int = 0) -> list[str]:
        """Publish a day of these rows, as a run does; returns the fragments' keys."""
        encoder = self.lake.encoder(CODES)

        def write(each: tuple[int, Sequence[int]]) -> Receipt:
            at, rows = each
            blocks = [encoder.encode(table(rows, wide))]
            folder, name = f"site/{day(number)}", f"{at:05}"
            return self.lake.write_fragment(CODES, folder, name, blocks, len(rows))

        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(write, enumerate(fragments)))
        said = {"fragments": [asdict(receipt) for receipt in receipts]}
        unit = f"solicit/site/{day(number)}"
        record = self.ledger.append(None, "planned", unit=unit, run="r", fingerprint="f", plan="p")
        for event, details in (("leased", {}), ("published", said), ("succeeded", said)):
            record = self.ledger.go_on(record, event, details)  # type: ignore[arg-type]
        return [receipt.key for receipt in receipts]

    def land(self, number: int, name: str, data: bytes) -> str:
        """Put a file where another program would."""
        key = f"fragments/codeAssignment/landed/{day(number)}/{name}.avro"
        self.storage.write(key, [data])
        return key

    def arguments(self, kind: Kind, *more: str) -> list[str]:
        days = {"daily": ("--from", day(1), "--to", day(31)), "monthly": ("--month", MONTH)}[kind]
        place = ("--env", self.yaml, "--out", self.out)
        return ["merge", kind, "--type", "codeAssignment", *days, *place, *more]

    def merge(self, kind: Kind, *more: str, code: int = 0) -> Result:
        done = CliRunner().invoke(main, self.arguments(kind, *more))
        assert done.exit_code == code, (done.output, done.exception)
        return done

    def begin(self, kind: Kind, endpoint: str) -> subprocess.Popen[bytes]:
        """Start a merge in a process of its own."""
        command = [sys.executable, "-c", "from jobs.cli import main; main()", *self.arguments(kind)]
        return subprocess.Popen(command, env={**os.environ, "AWS_ENDPOINT_URL": endpoint})

    def files(self) -> dict[str, bytes]:
        """Return what readers find, by name."""
        found = FileCatalog(self.storage).pointer("codeAssignment", MONTH)
        return {k.rpartition("/")[2]: self.storage.read(k) for k in found.files} if found else {}

    def under(self, top: str) -> list[StoredObject]:
        return list(self.storage.list(top))

    def keys(self, top: str) -> list[str]:
        return [each.key for each in self.under(top)]

    def published(self) -> Record:
        last = self.ledger.last(UNIT)
        record = self.ledger.publication(last) if last else None
        assert record is not None
        return record

    def receipts(self) -> list[dict[str, Any]]:
        """Return those of the current generation."""
        return [json.loads(self.storage.read(key)) for key in self.published().details["receipts"]]

    def problems(self) -> dict[str, str]:
        """Return what was left out of the last generation, by key, and why."""
        return {each["key"]: each["what"] for each in self.published().details["problems"]}


@pytest.fixture
def merging(seaweedfs: SeaweedFS, tmp_path: Path) -> Merging:
    return Merging(seaweedfs.root(), tmp_path / "s3")


def unfinished(seaweedfs: SeaweedFS, merging: Merging) -> list[str]:
    """The keys of multipart uploads that the bucket holds."""
    bucket, folder = merging.storage.root.removeprefix("s3://").split("/", 1)
    found = seaweedfs.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [each["Key"] for each in found if each["Key"].startswith(f"{folder}/")]


def fill(merging: Merging) -> tuple[list[str], dict[str, StoredObject]]:
    """Put fragments of all kinds into a lake; returns the published keys, and all by key."""
    keys = merging.publish(1, range(10), range(10, 15))
    keys += merging.publish(2, range(20, 50))
    merging.land(2, "other", encode_file(table(range(60, 70)), CODES, "null", sync=FOREIGN))
    merging.land(3, "same", encode_file(table(range(80, 90)), CODES, "snappy", sync=FOREIGN))
    return keys, {each.key: each for each in merging.under("fragments")}


ALL = once(range(15), range(20, 50), range(60, 70), range(80, 90))


def test_days_and_then_their_month(seaweedfs: SeaweedFS, merging: Merging) -> None:
    _, before = fill(merging)
    for kind, count in (("daily", 3), ("monthly", 1)):
        merging.merge(kind)  # type: ignore[arg-type]
        assert numbers_of(merging.files().values()) == ALL
        assert len(merging.files()) == count
        assert merging.keys("fragments") == []
        assert merging.keys("archive") == sorted(map(archived, before))
        check_receipts(seaweedfs, merging)
        again = merging.under("")
        assert "nothing to merge" in merging.merge(kind).output  # type: ignore[arg-type]
        assert merging.under("") == again
    assert merging.keys(f"pointers/codeAssignment/{MONTH}") == [
        f"pointers/codeAssignment/{MONTH}/{number:06}.json" for number in (1, 2)
    ]
    assert unfinished(seaweedfs, merging) == []


def check_receipts(seaweedfs: SeaweedFS, merging: Merging) -> None:
    """Each names its file and the file's sources by the ETags that S3 gives them."""
    client = seaweedfs.client()
    bucket, folder = merging.storage.root.removeprefix("s3://").split("/", 1)

    def etag(key: str) -> str:
        return str(client.head_object(Bucket=bucket, Key=f"{folder}/{key}")["ETag"])

    for receipt in merging.receipts():
        assert receipt["output"]["etag"] == etag(receipt["output"]["key"])
        for source in receipt["sources"]:
            key = source["key"]
            there = archived(key) if key.startswith("fragments/") else key
            assert source["etag"] == etag(there)


def test_the_bytes_are_those_of_a_local_lake(merging: Merging, tmp_path: Path) -> None:
    local = Merging(str(tmp_path / "lake"), tmp_path / "local")
    for kind in ("daily", "monthly"):
        for each in (merging, local):
            if kind == "daily":
                fill(each)
            each.merge(kind)  # type: ignore[arg-type]
        assert merging.files() == local.files()
        assert len(merging.files()) == {"daily": 3, "monthly": 1}[kind]


def test_a_month_of_large_days_is_copied_by_the_server(
    seaweedfs: SeaweedFS, merging: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1, 9):
        merging.publish(n, range(n * 10_000, n * 10_000 + 2_200), wide=1500)
    merging.merge("daily")
    sizes = [len(data) for data in merging.files().values()]
    assert min(sizes) > 6 * MIB
    assert sum(sizes) - 100_000 < merging.published().details["moved"] / 2 < sum(sizes) + 100_000
    with relaying(seaweedfs.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        merging.merge("monthly")
    share = (proxy.sent + proxy.received) / sum(sizes)
    assert merging.published().details["moved"] < sum(sizes) / 100
    assert share < 0.01
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweedfs.endpoint)
    rows = [range(n * 10_000, n * 10_000 + 2_200) for n in range(1, 9)]
    assert numbers_of(merging.files().values()) == once(*rows)


def test_a_carried_file_is_copied_by_the_server(
    seaweedfs: SeaweedFS, merging: Merging, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging.publish(1, range(2_200), wide=1500)
    merging.merge("daily")
    (name, data) = next(iter(merging.files().items()))
    merging.publish(2, range(5_000, 5_010))
    with relaying(seaweedfs.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        merging.merge("daily")
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweedfs.endpoint)
    assert proxy.sent + proxy.received < len(data) / 10
    assert merging.published().details["generation"] == 2
    assert merging.files()[name] == data
    assert numbers_of(merging.files().values()) == once(range(2_200), range(5_000, 5_010))


def test_a_day_of_many_small_fragments(merging: Merging) -> None:
    merging.publish(1, *(range(n * 10, n * 10 + 10) for n in range(400)))
    merging.merge("daily")
    assert numbers_of(merging.files().values()) == once(range(4000))
    assert merging.published().details["days"][0]["files"] == 400
    assert (len(merging.keys("fragments")), len(merging.keys("archive"))) == (0, 400)


def test_bad_objects_stay_and_are_named(merging: Merging, monkeypatch: pytest.MonkeyPatch) -> None:
    good = encode_file(table(range(100, 120)), CODES, "snappy", sync=FOREIGN)
    other = encode_file(table(range(200, 220)), CODES, "snappy", sync=FOREIGN)
    assert len(good) == len(other)
    first, named = merging.publish(1, range(10), range(10, 15))
    bad = {
        merging.land(1, "truncated", good[:-20]): "the file ends within the block",
        merging.land(1, "empty", b""): "found no bytes",
        merging.land(1, "vanishes", good): "it vanished since it was planned",
        merging.land(1, "replaced", good): "expected the version that was planned",
        named: "expected the version that was planned",
    }
    vanishes, replaced = list(bad)[2:4]
    merging.land(1, "good", encode_file(table(range(300, 310)), CODES, "null", sync=FOREIGN))

    def mischief() -> None:
        merging.storage.delete([vanishes])
        merging.storage.write(replaced, [other])
        merging.storage.write(named, [merging.storage.read(first)])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MergePublisher, "consolidate", after(mischief))
        told = merging.merge("daily", code=1).stderr
    assert merging.problems().keys() == bad.keys()
    for key, what in bad.items():
        assert what in merging.problems()[key]
        assert f"left out: {key}: " in told
        assert all(what in json.dumps(receipt["problems"]) for receipt in merging.receipts())
    assert merging.keys("fragments") == sorted(bad.keys() - {vanishes})
    assert merging.storage.read(replaced) == other
    assert numbers_of(merging.files().values()) == once(range(10), range(300, 310))
    merging.merge("daily", "--force", code=1)
    assert numbers_of(merging.files().values()) == once(range(10), range(300, 310), range(200, 220))


def after(mischief: Callable[[], None]) -> Any:
    """Return ``consolidate`` such that something happens between it and the reading of files."""
    consolidate = MergePublisher.consolidate

    def patched(*arguments: Any) -> Record:
        mischief()
        return consolidate(*arguments)

    return patched


def test_killed_during_an_upload(seaweedfs: SeaweedFS, merging: Merging) -> None:
    """A second merger finds it at work; after its end, the next one does all of it."""
    rows = [range(n * 2_000, n * 2_000 + 2_000) for n in range(12)]
    merging.publish(1, *rows, wide=1500)
    with relaying(seaweedfs.endpoint, hold_at=30 * MIB) as proxy:
        killed = merging.begin("daily", proxy.endpoint)
        try:
            assert proxy.held.wait(60)
            assert len(unfinished(seaweedfs, merging)) == 1
            assert "expected nobody at work on it" in merging.merge("daily", code=3).stderr
        finally:
            killed.kill()
            killed.wait(10)
    assert merging.keys("merged") == []
    assert len(merging.keys("fragments")) == 12
    merging.merge("daily", "--wait")
    assert numbers_of(merging.files().values()) == once(*rows)
    assert merging.keys("fragments") == []
    # No listing of objects shows it: a lifecycle rule of the bucket has to remove it.
    assert len(unfinished(seaweedfs, merging)) == 1


class Faults:
    """Makes the n-th call of storage operations fail once, as a store does that is throttled."""

    def __init__(self, number: int) -> None:
        self._left, self._lock = number, threading.Lock()
        self.failed = ""

    def __call__(self, name: str) -> Any:
        """Return an operation of ``Storage`` that may fail."""
        operation = getattr(Storage, name)

        def faulty(storage: Storage, key: str, *more: Any, **named: Any) -> Any:
            with self._lock:
                self._left -= 1
                fails = self._left == 0
            if fails:
                self.failed = f"{name} {key}"
                raise StorageFailed(storage.root, key, "503 Slow Down")
            return operation(storage, key, *more, **named)

        return faulty


def merge_with(merging: Merging, faults: Faults, operations: Sequence[str]) -> MergeOutcome:
    """Merge days while an operation fails, without waiting before it is tried again."""
    asked = ("codeAssignment",), merging.yaml, merging.out, day(1), day(31)
    request = Request("merge", *asked, options=MergeOptions("daily").document())
    load = merge_loader(request)
    plan = make_plan(request, load)
    with pytest.MonkeyPatch.context() as patched:
        for name in operations:
            patched.setattr(Storage, name, faults(name))
        return carry_out(plan, load, Options(sleep=lambda _: None))


@pytest.mark.parametrize(
    ("operation", "number"),
    [
        *((operation, n) for operation in ("read_range", "writer", "copy", "look") for n in (1, 3)),
        ("delete", 1),  # sources are removed in one go
    ],
)
def test_a_run_tries_again(merging: Merging, operation: str, number: int) -> None:
    fill(merging)
    faults = Faults(number)
    outcome = merge_with(merging, faults, [operation])
    assert faults.failed
    assert outcome.exit_code == 0
    assert numbers_of(merging.files().values()) == ALL
    assert merging.keys("fragments") == []


@pytest.mark.slow
def test_whatever_fails_a_run_after_it_ends_well(seaweedfs: SeaweedFS, tmp_path: Path) -> None:
    operations = ("read", "read_range", "look", "write", "create", "copy", "writer", "delete")
    for number in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233):
        merging, faults = Merging(seaweedfs.root(), tmp_path / str(number)), Faults(number)
        fill(merging)
        with suppress(StorageFailed):  # before any unit is taken, nothing is tried again
            merge_with(merging, faults, operations)
        if not faults.failed:
            break
        seen = numbers_of(merging.files().values())
        assert seen in (ALL, once())
        merging.merge("daily")
        assert numbers_of(merging.files().values()) == ALL, faults.failed
        assert merging.keys("fragments") == []
    assert number > 50
