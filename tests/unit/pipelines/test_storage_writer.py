from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import storage_writer
from pipelines.errors import ObjectChanged, ObjectNotFound, StorageFailed
from pipelines.storage import Storage
from pipelines.storage_writer import PART

SOURCE = bytes(range(256)) * 8


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    made = Storage(str(tmp_path / "lake"))
    made.write("source", [SOURCE])
    return made


def names(storage: Storage) -> list[str]:
    """Every file there is, staged ones too."""
    return sorted(p.name for p in Path(storage.root).rglob("*") if p.is_file())


def etag(storage: Storage, key: str) -> str | None:
    found = storage.look(key)
    assert found is not None
    return found.etag


piece = st.one_of(
    st.binary(max_size=300),
    st.tuples(st.integers(0, len(SOURCE)), st.integers(0, len(SOURCE))).map(
        lambda pair: (min(pair), max(pair))
    ),
)


@settings(max_examples=50, deadline=None)
@given(pieces=st.lists(piece, max_size=6), pinned=st.booleans())
def test_an_object_is_what_was_written_and_copied(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[bytes | tuple[int, int]],
    pinned: bool,
) -> None:
    storage = Storage(str(tmp_path_factory.mktemp("lake")))
    storage.write("source", [SOURCE])
    version = etag(storage, "source") if pinned else None
    expected, sent = b"", 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(storage_writer, "PART", 100)
        with storage.writer("a/made") as writer:
            for each in pieces:
                if isinstance(each, bytes):
                    writer.write(memoryview(each))
                    expected += each
                    sent += len(each)
                else:
                    writer.copy("source", *each, version)
                    expected += SOURCE[slice(*each)]
            written = writer.close()
    assert storage.read("a/made") == expected
    assert (written.key, written.size, written.moved) == ("a/made", len(expected), sent)
    assert written.etag == etag(storage, "a/made")
    assert not written.verified


def test_bytes_may_change_after_they_were_written(storage: Storage) -> None:
    data = bytearray(b"first")
    with storage.writer("k") as writer:
        writer.write(data)
        data[:] = b"other"
        data.extend(b"longer")
    assert storage.read("k") == b"first"


def test_nothing_is_visible_before_the_end(storage: Storage) -> None:
    storage.write("k", [b"old"])
    with storage.writer("k") as writer:
        for _ in range(5):
            writer.write(bytes(PART))
        assert storage.read("k") == b"old"
        assert [each.key for each in storage.list("")] == ["k", "source"]
        assert names(storage) == ["k", f"k#{os.getpid()}", "source"]
        first = writer.close()
        assert writer.close() is first
        with pytest.raises(ValueError, match="'k' is not being written any more"):
            writer.write(b"more")
    assert len(storage.read("k")) == 5 * PART


@pytest.mark.parametrize("size", [0, 1, 3 * PART])
def test_what_was_given_up_leaves_nothing(storage: Storage, size: int) -> None:
    writer = storage.writer("k")
    with pytest.raises(RuntimeError, match="stop"), writer:  # noqa: PT012
        writer.write(bytes(size))
        raise RuntimeError("stop")
    assert names(storage) == ["source"]
    writer.abort()
    for call in (lambda: writer.write(b"x"), writer.close):
        with pytest.raises(ValueError, match="'k' is not being written any more"):
            call()


def test_giving_up_after_the_end_changes_nothing(storage: Storage) -> None:
    with pytest.raises(RuntimeError), storage.writer("k") as writer:  # noqa: PT012
        writer.write(b"x")
        writer.close()
        raise RuntimeError
    writer.abort()
    assert storage.read("k") == b"x"


def test_an_aborted_block_is_not_closed(storage: Storage) -> None:
    with storage.writer("k") as writer:
        writer.write(b"x")
        writer.abort()
    assert names(storage) == ["source"]


def test_another_version_is_refused_and_named(storage: Storage) -> None:
    version = etag(storage, "source")
    storage.write("source", [SOURCE[1:]])
    told = f"expected version {version} of the object 'source', found {etag(storage, 'source')}"
    for call in (
        lambda: storage.writer("k").copy("source", 0, 9, version),
        lambda: storage.read_range("source", 0, 9, etag=version),
    ):
        with pytest.raises(ObjectChanged) as raised:
            call()
        assert str(raised.value) == f"{storage.root}: {told}"
    assert names(storage) == ["source"]


def test_a_copy_that_fails_gives_up_the_object(storage: Storage) -> None:
    writer = storage.writer("k")
    writer.write(b"x")
    with pytest.raises(ObjectNotFound, match="expected an object 'none'"):
        writer.copy("none", 0, 1, None)
    with pytest.raises(ValueError, match="not being written"):
        writer.close()
    assert names(storage) == ["source"]


def test_a_source_that_ends_too_early_is_named(storage: Storage) -> None:
    with pytest.raises(StorageFailed, match="'source': expected bytes 2000 to 2100, found 48"):
        storage.writer("k").copy("source", 2000, 2100, None)
    writer = storage.writer("k")
    with pytest.raises(ValueError, match="expected a range, found 5 to 4"):
        writer.copy("source", 5, 4, None)
    writer.abort()


def test_an_object_that_changed_behind_the_writer_is_noticed(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = storage.writer("k")
    writer.write(b"long")
    look = storage.look
    monkeypatch.setattr(storage, "look", lambda key: storage.write(key, [b"x"]) or look(key))
    with pytest.raises(StorageFailed, match="'k': expected 4 bytes as written, found 1"):
        writer.close()


def test_a_place_that_cannot_be_written_is_named(storage: Storage) -> None:
    with pytest.raises(StorageFailed, match="cannot reach 'source/k'"):
        storage.writer("source/k")


def test_a_killed_process_leaves_no_object(storage: Storage) -> None:
    script = (
        "import os, sys\nfrom pipelines.storage import Storage\n"
        f"writer = Storage(sys.argv[1]).writer('k')\nwriter.write(bytes({4 * PART}))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, storage.root], check=False, timeout=60)
    assert done.returncode == -9
    assert [each.key for each in storage.list("")] == ["source"]
    assert len(storage.staged("")) == 1


def test_a_copy_takes_the_place_of_what_was_there(storage: Storage) -> None:
    storage.write("a/b", [b"old"])
    for _ in range(3):
        storage.copy("source", "a/b")
    assert storage.read("a/b") == SOURCE
    storage.copy("a/b", "c/d/e")
    assert storage.read("c/d/e") == SOURCE
    assert names(storage) == ["b", "e", "source"]


def test_a_copy_stays_when_its_source_goes_or_is_written_anew(storage: Storage) -> None:
    storage.copy("source", "copy")
    storage.write("source", [b"new"])
    assert storage.read("copy") == SOURCE
    storage.copy("source", "copy")
    storage.delete(["source"])
    assert storage.read("copy") == b"new"


def test_a_copy_of_nothing_is_refused(storage: Storage) -> None:
    with pytest.raises(ObjectNotFound, match="expected an object 'none'"):
        storage.copy("none", "k")
    with pytest.raises(ObjectNotFound, match="expected an object 'none'"):
        Storage(f"{storage.root}/nowhere").copy("none", "k")
    assert not Path(storage.root, "nowhere").exists()


def test_storage_pickles_by_its_root(storage: Storage) -> None:
    storage.writer("k").abort()
    pickled = pickle.dumps(storage)
    assert pickle.loads(pickled).read("source") == SOURCE
    assert len(pickled) < len(storage.root) + 100
    assert pickle.loads(pickle.dumps(Storage("s3://bucket/lake"))).root == "s3://bucket/lake"


@pytest.mark.parametrize(
    ("root", "expected"), [("a/lake", False), ("s3://b/lake", True), ("memory:///lake", False)]
)
def test_a_bucket_of_s3_is_told_by_its_root(root: str, expected: bool) -> None:
    assert Storage(root).is_s3 is expected
