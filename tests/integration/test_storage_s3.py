"""Storage on a real S3 server, and what its writer lets the server do."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pipelines import storage_s3, storage_writer
from pipelines.errors import ObjectChanged, ObjectNotFound, PipelineError, StorageFailed
from pipelines.storage import Storage
from pipelines.storage_s3 import LEAST, Bucket, S3Writer
from pipelines.storage_writer import PART, Writer
from tests.integration.servers import SeaweedFS

pytestmark = pytest.mark.integration

SIZES = (0, 1, LEAST - 1, LEAST, 12 << 20)
SOURCE = random.Random(1).randbytes(13 << 20)
#: A key of which nothing may be lost on the way to a header and back.
KEY = "month=1/a source+%"
#: Bytes that are written, or a range of the source that is copied.
Step = bytes | tuple[int, int]


@pytest.fixture
def storage(seaweedfs: SeaweedFS) -> Storage:
    made = Storage(seaweedfs.root())
    made.write(KEY, [SOURCE])
    return made


def etag(storage: Storage, key: str = KEY) -> str:
    found = storage.look(key)
    assert found is not None
    assert found.etag
    return found.etag


def unfinished(seaweedfs: SeaweedFS, storage: Storage) -> list[Any]:
    """The multipart uploads that the bucket holds."""
    bucket, folder = storage.root.removeprefix("s3://").split("/", 1)
    found = seaweedfs.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [each for each in found if each["Key"].startswith(f"{folder}/")]


def keys(storage: Storage) -> list[str]:
    return [each.key for each in storage.list("")]


def make(storage: Storage, steps: list[Step]) -> tuple[bytes, storage_writer.Written]:
    """Write an object of steps; returns the bytes that it has to have."""
    version, expected = etag(storage), b""
    with storage.writer("made") as writer:
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                expected += step
            else:
                writer.copy(KEY, *step, version)
                expected += SOURCE[slice(*step)]
        return expected, writer.close()


def steps_of(kinds: tuple[str, ...], sizes: tuple[int, ...]) -> list[Step]:
    return [
        SOURCE[n : n + size] if kind == "write" else (n, n + size)
        for n, (kind, size) in enumerate(zip(kinds, sizes, strict=True))
    ]


def mixes() -> Iterator[tuple[tuple[str, ...], tuple[int, ...]]]:
    """All pairs of sizes and kinds, and a sample of longer ones."""
    kinds = ("write", "copy")
    yield from itertools.product(
        itertools.product(kinds, repeat=2), itertools.product(SIZES, repeat=2)
    )
    chance = random.Random(2)
    for _ in range(20):
        count = chance.randint(3, 6)
        yield tuple(chance.choices(kinds, k=count)), tuple(chance.choices(SIZES, k=count))


@pytest.mark.slow
def test_an_object_is_what_was_written_and_copied(storage: Storage) -> None:
    for kinds, sizes in mixes():
        expected, written = make(storage, steps_of(kinds, sizes))
        assert storage.read("made") == expected, (kinds, sizes)
        assert (written.key, written.size) == ("made", len(expected))
        assert written.etag == etag(storage, "made")
        sent = sum(size for kind, size in zip(kinds, sizes, strict=True) if kind == "write")
        assert sent <= written.moved <= len(expected), (kinds, sizes)
        assert written.verified or "copy" in kinds, (kinds, sizes)


@pytest.mark.parametrize(
    ("steps", "moved"),
    [
        pytest.param([(0, 12 << 20), (0, LEAST), (7, 13 << 20)], 0, id="large"),
        pytest.param([(0, 100)], 0, id="the only one"),
        pytest.param([(0, LEAST), (0, 100)], 0, id="the last one"),
        pytest.param([b"", (9, 9), (0, LEAST), (0, 1), b""], 0, id="nothing before and after"),
        pytest.param([(0, 100), (0, LEAST)], LEAST, id="a small one first"),
        pytest.param([b"head", (0, 13 << 20)], LEAST, id="after a header"),
        pytest.param([b"head", (0, LEAST)], LEAST, id="what is left is last"),
        pytest.param([b"head", (0, LEAST), (0, LEAST)], LEAST + 4, id="what is left is not"),
        pytest.param([b"head", (0, 2 * LEAST - 5), (0, LEAST)], 2 * LEAST - 1, id="much is left"),
        pytest.param(
            [b"head", (0, LEAST), (0, LEAST), b"."], LEAST + 5, id="not last, and a trailer"
        ),
        pytest.param([(0, LEAST), b"tail"], 4, id="before a trailer"),
        pytest.param([(0, LEAST), (0, 100), b"tail"], 104, id="before a small one"),
        pytest.param([bytes(6 << 20), (0, 100)], 6 << 20, id="after enough"),
    ],
)
def test_only_what_s3_cannot_copy_moves(storage: Storage, steps: list[Step], moved: int) -> None:
    expected, written = make(storage, steps)
    assert storage.read("made") == expected
    assert written.moved == moved


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, 3 * PART + 1])
def test_what_was_written_is_verified(seaweedfs: SeaweedFS, storage: Storage, size: int) -> None:
    data = random.Random(size).randbytes(size)
    with storage.writer("made") as writer:
        for start in range(0, size, 600_000):
            writer.write(memoryview(data)[start : start + 600_000])
    written = writer.close()
    assert storage.read("made") == data
    assert (written.size, written.moved, written.verified) == (size, size, True)
    if size < PART:
        assert written.etag == f'"{hashlib.md5(data).hexdigest()}"'
    assert unfinished(seaweedfs, storage) == []


def test_a_large_range_is_copied_in_several_parts(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_s3, "_MOST_COPIED", 12 << 20)
    expected, written = make(storage, [(1, 13 << 20)])
    assert storage.read("made") == expected
    assert written.moved == 0
    assert written.etag is not None
    assert written.etag.endswith('-2"')


def test_nothing_is_visible_before_the_end(storage: Storage) -> None:
    storage.write("made", [b"old"])
    with storage.writer("made") as writer:
        writer.write(bytes(2 * PART))
        assert storage.read("made") == b"old"
        first = writer.close()
        assert writer.close() is first
    assert len(storage.read("made")) == 2 * PART


@pytest.mark.parametrize("size", [1, 4 * PART])
def test_what_was_given_up_leaves_nothing(
    seaweedfs: SeaweedFS, storage: Storage, size: int
) -> None:
    writer = storage.writer("made")
    with pytest.raises(RuntimeError, match="stop"), writer:  # noqa: PT012
        writer.write(bytes(size))
        writer.copy(KEY, 0, 12 << 20, etag(storage))
        assert len(unfinished(seaweedfs, storage)) == 1
        raise RuntimeError("stop")
    assert unfinished(seaweedfs, storage) == []
    assert keys(storage) == [KEY]


def _copy_large(writer: Writer, key: str, version: str | None) -> None:
    writer.copy(key, 0, LEAST, version)
    writer.close()


def _copy_small(writer: Writer, key: str, version: str | None) -> None:
    writer.copy(key, 0, 10, version)
    writer.close()


def _read(writer: Writer, key: str, version: str | None) -> None:
    writer.write(b"head")
    writer.copy(key, 0, 10, version)


@pytest.mark.parametrize("fail", [_copy_large, _copy_small, _read])
def test_a_source_that_is_another_or_none_is_named(
    seaweedfs: SeaweedFS, storage: Storage, fail: Callable[[Writer, str, str | None], None]
) -> None:
    old = etag(storage)
    storage.write(KEY, [SOURCE[1:]])
    with pytest.raises(ObjectChanged) as changed:
        fail(storage.writer("made"), KEY, old)
    told = f"expected version {old} of the object '{KEY}', found {etag(storage)}"
    assert str(changed.value) == f"{storage.root}: {told}"
    with pytest.raises(ObjectNotFound, match="expected an object 'none'"):
        fail(storage.writer("made"), "none", None)
    assert unfinished(seaweedfs, storage) == []
    assert keys(storage) == [KEY]


def test_a_range_beyond_the_end_is_refused(seaweedfs: SeaweedFS, storage: Storage) -> None:
    end = len(SOURCE)
    for start in (end - 5, end - LEAST):
        with pytest.raises(StorageFailed, match=f"cannot reach '{KEY[:9]}"):
            _copy(storage.writer("made"), start, end + 5)
    assert unfinished(seaweedfs, storage) == []


def _copy(writer: Writer, start: int, end: int) -> None:
    with writer:
        writer.copy(KEY, start, end, None)


def test_a_part_that_failed_stops_the_writer(seaweedfs: SeaweedFS, storage: Storage) -> None:
    writer = storage.writer("made")
    writer.copy("none", 0, LEAST, None)
    with pytest.raises(ObjectNotFound, match="'none'"):  # noqa: PT012
        for _ in range(50):
            writer.write(bytes(PART))
    with pytest.raises(ValueError, match="not being written"):
        writer.close()
    assert unfinished(seaweedfs, storage) == []


class Lying:
    """A client whose answers to some operations are changed."""

    def __init__(self, client: Any, **changes: Callable[[Any], Any]) -> None:
        self._client, self._changes = client, changes

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        change = self._changes.get(name)
        return (lambda **given: change(real(**given))) if change else real


def lying(storage: Storage, key: str = "made", **changes: Callable[[Any], Any]) -> S3Writer:
    bucket = storage._reached()
    client = Lying(bucket.client, **changes)
    return S3Writer(storage, key, Bucket(bucket.root, bucket.name, bucket.prefix, client))


OTHER = '"0123456789abcdef0123456789abcdef"'


@pytest.mark.parametrize(("operation", "size"), [("put_object", 5), ("upload_part", 2 * PART)])
def test_bytes_that_the_store_took_for_others_are_noticed(
    seaweedfs: SeaweedFS, storage: Storage, operation: str, size: int
) -> None:
    writer = lying(storage, **{operation: lambda answer: {**answer, "ETag": OTHER}})
    told = f"'made': {operation}: expected the ETag [0-9a-f]{{32}} of what was sent, found {OTHER}"
    with pytest.raises(StorageFailed, match=told), writer:
        writer.write(bytes(size))
    assert unfinished(seaweedfs, storage) == []


@pytest.mark.parametrize(
    "change",
    [{"ETag": '"opaque"'}, {"ETag": OTHER, "ServerSideEncryption": "aws:kms"}],
    ids=["another form", "KMS"],
)
def test_where_etags_are_no_sums_nothing_is_verified(
    storage: Storage, change: dict[str, str]
) -> None:
    # The server wants its own ETags back.
    with lying(storage, put_object=lambda answer: {**answer, **change}) as writer:
        writer.write(b"x")
    assert not writer.close().verified


def test_an_object_that_is_not_the_one_of_its_parts_is_noticed(storage: Storage) -> None:
    def replaced(answer: Any) -> Any:
        storage.write("made", [bytes(2 * PART)])
        return answer

    writer = lying(storage, complete_multipart_upload=replaced)
    writer.write(b"\1" * (2 * PART))
    with pytest.raises(StorageFailed, match=r"'made': expected the ETag [0-9a-f]{32}-2 of what"):
        writer.close()
    writer = lying(storage, complete_multipart_upload=lambda _: storage.write("made", [b"x"]))
    writer.write(bytes(2 * PART))
    with pytest.raises(StorageFailed, match="expected 20971520 bytes as written, found 1"):
        writer.close()


def test_an_upload_whose_completion_was_not_answered_is_found_complete(storage: Storage) -> None:
    from botocore.exceptions import ClientError

    def lost(_: Any) -> Any:
        raise ClientError({"Error": {"Code": "NoSuchUpload"}}, "CompleteMultipartUpload")

    with lying(storage, complete_multipart_upload=lost) as writer:
        writer.write(bytes(2 * PART))
    assert writer.close().verified
    assert storage.look("made") is not None


def test_an_upload_that_is_gone_is_no_object(seaweedfs: SeaweedFS, storage: Storage) -> None:
    writer = storage.writer("made")
    writer.write(bytes(2 * PART))
    upload = unfinished(seaweedfs, storage)[0]
    seaweedfs.client().abort_multipart_upload(
        Bucket=storage.root.split("/")[2], Key=upload["Key"], UploadId=upload["UploadId"]
    )
    with pytest.raises(PipelineError, match="'made'"):
        writer.close()
    assert keys(storage) == [KEY]


@pytest.mark.parametrize("size", [1, PART])
def test_a_user_who_is_not_let_in_is_told(
    storage: Storage, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    writer = Storage(storage.root).writer("k")
    with pytest.raises(StorageFailed, match=r"cannot reach 'k': .*SignatureDoesNotMatch"), writer:
        writer.write(bytes(size))


def test_settings_that_make_no_sense_are_named(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no endpoint")
    with pytest.raises(StorageFailed, match=r"s3://bucket/lake: .*no endpoint"):
        Storage("s3://bucket/lake").writer("k")


def test_a_root_without_a_folder_is_one(seaweedfs: SeaweedFS) -> None:
    storage = Storage(f"s3://{seaweedfs.bucket()}")
    # The server would forgive a slash at the start, which S3 does not.
    assert storage._reached().key("a/b") == "a/b"
    with storage.writer("a/b") as writer:
        writer.write(b"x")
    with storage.writer("c") as writer:
        writer.copy("a/b", 0, 1, None)
    assert keys(storage) == ["a/b", "c"]
    assert storage.read("c") == b"x"


def test_a_copy_takes_the_place_of_what_was_there(storage: Storage) -> None:
    storage.write("a/b", [b"old"])
    for _ in range(2):
        storage.copy(KEY, "a/b")
    assert storage.read("a/b") == SOURCE
    with pytest.raises(ObjectNotFound, match="expected an object 'none'"):
        storage.copy("none", "a/b")
    assert storage.read("a/b") == SOURCE


def test_a_range_of_another_version_is_refused(storage: Storage) -> None:
    old = etag(storage)
    assert storage.read_range(KEY, 3, 9, etag=old) == SOURCE[3:9]
    storage.write(KEY, [b"new"])
    with pytest.raises(ObjectChanged, match=f"expected version {old} of the object"):
        storage.read_range(KEY, 0, 1, etag=old)
    with pytest.raises(ObjectNotFound, match="expected an object 'none'"):
        storage.read_range("none", 0, 1, etag=old)


def test_one_of_many_creates_the_object(storage: Storage) -> None:
    for key in map(str, range(10)):
        with ThreadPoolExecutor(8) as pool:
            made = [pool.submit(storage.create, key, b"%d" % n) for n in range(8)]
        won = [each.result() for each in made]
        assert won.count(True) == 1
        assert storage.read(key) == b"%d" % won.index(True)


def test_storage_pickles_after_it_was_used(storage: Storage) -> None:
    storage.writer("k").abort()
    again = pickle.loads(pickle.dumps(storage))
    assert again.root == storage.root
    with again.writer("k") as writer:
        writer.write(b"x")
    assert storage.read("k") == b"x"


def test_many_writers_share_a_storage(storage: Storage) -> None:
    def write(n: int) -> None:
        with storage.writer(f"out/{n}") as writer:
            writer.write(bytes([n]) * PART)
            writer.copy(KEY, n, n + LEAST, None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    for n in range(8):
        assert storage.read(f"out/{n}") == bytes([n]) * PART + SOURCE[n : n + LEAST]


MEASURED = """
import psutil, sys
from pipelines.storage import Storage

def held():
    return psutil.Process().memory_info().rss >> 20

storage = Storage(sys.argv[1])
block = bytes(600_000)
with storage.writer("warm") as writer:
    writer.write(block)
before = most = held()
with storage.writer("large") as writer:
    for _ in range(525):
        writer.write(block)
        most = max(most, held())
print(most - before)
"""


@pytest.mark.slow
def test_memory_is_bounded(seaweedfs: SeaweedFS, storage: Storage) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, storage.root],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = storage.look("large")
    assert found is not None
    assert found.size == 525 * 600_000
    assert int(done.stdout) < 150
