from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.errors import ObjectNotFound, StorageFailed
from pipelines.storage import Storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "lake"))


def test_an_object_is_the_bytes_of_its_parts(storage: Storage) -> None:
    storage.write("a/b.bin", [b"one", b"", b"two"])
    assert storage.read("a/b.bin") == b"onetwo"
    storage.write("a/b.bin", [b"x"])
    assert storage.read("a/b.bin") == b"x"
    storage.write("a/none", [])
    assert storage.read("a/none") == b""


def test_creating_never_replaces(storage: Storage) -> None:
    assert storage.create("k", b"first")
    assert not storage.create("k", b"second")
    assert storage.read("k") == b"first"


def test_one_of_many_creates_the_object(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: storage.create("k", b"%d" % n), range(40)))
    assert made.count(True) == 1
    assert storage.read("k") == b"%d" % made.index(True)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (2, 5), (0, 10), (9, 10)])
def test_ranges_exclude_their_end(storage: Storage, start: int, end: int) -> None:
    storage.write("k", [b"0123456789"])
    assert bytes(storage.read_range("k", start, end)) == b"0123456789"[start:end]


def test_a_listing_is_in_the_order_of_keys_and_of_one_folder(storage: Storage) -> None:
    for key in ("f/b", "f/a/z", "f/B", "f/a-b", "fg/x", "f/10", "f/9"):
        storage.write(key, [key.encode()])
    found = list(storage.list("f"))
    assert [each.key for each in found] == ["f/10", "f/9", "f/B", "f/a-b", "f/a/z", "f/b"]
    assert [each.size for each in found] == [len(each.key) for each in found]
    assert all(each.etag for each in found)
    assert [each.key for each in storage.list("")] == sorted(each.key for each in storage.list(""))
    assert list(storage.list("nowhere")) == []


def test_what_is_deleted_is_gone_and_may_be_deleted_again(storage: Storage) -> None:
    for key in "abc":
        storage.write(key, [b"x"])
    storage.delete(["a", "b"])
    storage.delete(["a", "never"])
    assert [each.key for each in storage.list("")] == ["c"]


def test_a_missing_object_is_named_with_its_root(storage: Storage) -> None:
    for read in (lambda: storage.read("a/b"), lambda: storage.read_range("a/b", 0, 1)):
        with pytest.raises(ObjectNotFound) as told:
            read()
        assert str(told.value) == f"{storage.root}: expected an object 'a/b', found none"


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageFailed, match="file/lake: cannot reach 'k'"):
        Storage(str(tmp_path / "file" / "lake")).write("k", [b"x"])


def test_looking_does_not_make_a_folder(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "lake"))
    assert list(storage.list("")) == []
    assert storage.look("k") is None
    for read in (lambda: storage.read("k"), lambda: storage.read_range("k", 0, 1)):
        with pytest.raises(ObjectNotFound):
            read()
    assert not (tmp_path / "lake").exists()
    storage.create("k", b"x")
    assert [each.key for each in storage.list("")] == ["k"]


def test_a_look_shows_size_and_version(storage: Storage) -> None:
    storage.write("k", [b"abc"])
    (listed,) = storage.list("")
    assert storage.look("k") == listed
    storage.write("k", [b"abcd"])
    now = storage.look("k")
    assert now is not None
    assert (now.size, now.etag != listed.etag) == (4, True)
    assert storage.look("other") is None


def test_a_range_behind_the_end_is_told(storage: Storage) -> None:
    storage.write("k", [b"abc"])
    with pytest.raises(StorageFailed, match="'k'"):
        storage.read_range("k", 5, 9)


def test_a_storage_that_refuses_is_told(storage: Storage) -> None:
    storage.write("k/in", [b"x"])
    with pytest.raises(StorageFailed, match="cannot reach 'k'"):
        storage.write("k", [b"x"])


def test_an_address_of_no_known_kind_is_told() -> None:
    with pytest.raises(StorageFailed, match="gopher://there"):
        Storage("gopher://there")


def test_half_written_files_are_told_from_others(storage: Storage) -> None:
    storage.write("f/whole.avro", [b"x"])
    folder = Path(storage.root, "f")
    for name in ("half.avro#1", "half.avro#23", "a#b.avro", "#x"):
        (folder / name).write_bytes(b"x")
    (folder.parent / "half.avro#1").write_bytes(b"of another folder")
    assert [path.name for path in storage.staged("f")] == ["half.avro#1", "half.avro#23"]
    assert storage.staged("nowhere") == ()
