from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from pipelines.catalogs.catalog import Pointer
from pipelines.catalogs.files import FileCatalog
from pipelines.errors import CatalogFailed, StorageFailed
from pipelines.storage import Storage, StoredObject

MARCH, APRIL = "2017-03", "2017-04"


def pointer(generation: int, month: str = MARCH, digest: str = "a", files: int = 1) -> Pointer:
    location = f"merged/candidate/{month}/g{generation:06d}-{digest}"
    keys = tuple(f"{location}/{i}.avro" for i in range(files))
    return Pointer("candidate", month, generation, location, keys)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "lake"))


@pytest.fixture
def catalog(storage: Storage) -> FileCatalog:
    return FileCatalog(storage)


def test_a_lake_without_pointers_is_left_alone(tmp_path: Path, catalog: FileCatalog) -> None:
    assert catalog.current("candidate", MARCH) is None
    assert catalog.pointer("candidate", MARCH) is None
    assert catalog.months("candidate") == ()
    assert list(tmp_path.iterdir()) == []


def test_the_highest_number_is_current(catalog: FileCatalog) -> None:
    for each in (pointer(9), pointer(10, files=3), pointer(1, APRIL)):
        catalog.switch(each)
    assert catalog.pointer("candidate", MARCH) == pointer(10, files=3)
    assert catalog.current("candidate", MARCH) == pointer(10).location
    assert catalog.current("candidate", APRIL) == pointer(1, APRIL).location
    assert catalog.months("candidate") == (MARCH, APRIL)
    assert catalog.months("rejection") == ()
    assert catalog.current("candidat", MARCH) is None


def test_the_file_says_what_readers_need(storage: Storage, catalog: FileCatalog) -> None:
    catalog.switch(pointer(3, files=2))
    assert json.loads(storage.read("pointers/candidate/2017-03/000003.json")) == {
        "recordType": "candidate",
        "month": "2017-03",
        "generation": 3,
        "location": "merged/candidate/2017-03/g000003-a",
        "files": [
            "merged/candidate/2017-03/g000003-a/0.avro",
            "merged/candidate/2017-03/g000003-a/1.avro",
        ],
    }


def test_a_switch_can_be_done_again_and_never_goes_back(
    storage: Storage, catalog: FileCatalog
) -> None:
    catalog.switch(pointer(3))
    catalog.switch(pointer(3))
    catalog.switch(pointer(2))
    assert [each.key for each in storage.list("pointers")] == [
        "pointers/candidate/2017-03/000003.json"
    ]
    assert catalog.pointer("candidate", MARCH) == pointer(3)


def test_two_generations_of_one_number_are_refused(catalog: FileCatalog) -> None:
    catalog.switch(pointer(3))
    with pytest.raises(CatalogFailed, match=r"000003.json.*g000003-b.*g000003-a") as caught:
        catalog.switch(pointer(3, digest="b"))
    assert not caught.value.transient
    assert catalog.pointer("candidate", MARCH) == pointer(3)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b'{"recordType":"candidate"}',
        b'{"recordType":"candidate","month":"2017-04","generation":3,"location":"l","files":[]}',
    ],
)
def test_what_is_no_pointer_is_refused(storage: Storage, catalog: FileCatalog, data: bytes) -> None:
    storage.write("pointers/candidate/2017-03/000003.json", [data])
    with pytest.raises(CatalogFailed, match=r"000003\.json"):
        catalog.current("candidate", MARCH)


def test_other_objects_among_pointers_are_passed_over(
    storage: Storage, catalog: FileCatalog
) -> None:
    catalog.switch(pointer(3))
    for name in ("000009.json.tmp", "x/000009.json", "latest.json"):
        storage.write(f"pointers/candidate/2017-03/{name}", [b"{}"])
    assert catalog.pointer("candidate", MARCH) == pointer(3)
    assert catalog.months("candidate") == (MARCH,)


class Moving(Storage):
    """A lake whose pointer is replaced, and removed, between each listing and the next read."""

    def __init__(self, root: str, moves: int) -> None:
        super().__init__(root)
        self.moves = moves

    def list(self, prefix: str) -> Iterator[StoredObject]:
        found = list(super().list(prefix))
        if self.moves:
            self.moves -= 1
            latest = max(int(each.key[-11:-5]) for each in found)
            FileCatalog(Storage(self.root)).switch(pointer(latest + 1))
            self.delete([found[-1].key])
        return iter(found)


def test_a_pointer_that_is_gone_when_it_is_read_is_looked_for_again(tmp_path: Path) -> None:
    FileCatalog(Storage(str(tmp_path))).switch(pointer(1))
    assert FileCatalog(Moving(str(tmp_path), 3)).pointer("candidate", MARCH) == pointer(4)
    with pytest.raises(CatalogFailed, match="gone each of the 5 times") as caught:
        FileCatalog(Moving(str(tmp_path), 99)).pointer("candidate", MARCH)
    assert caught.value.transient


def test_readers_see_whole_generations_that_only_go_forward(storage: Storage) -> None:
    last = 200
    done = threading.Event()

    def read() -> int:
        catalog = FileCatalog(storage)
        seen = 0
        while True:
            at_end = done.is_set()
            found = catalog.pointer("candidate", MARCH)
            number = found.generation if found else 0
            assert number >= seen
            assert found in (None, pointer(number, files=number % 7))
            seen = number
            if at_end:
                return seen

    def write() -> None:
        catalog = FileCatalog(storage)
        for number in range(1, last + 1):
            catalog.switch(pointer(number, files=number % 7))

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write) for _ in range(2)]
        wait(writers)
        done.set()
    assert [each.result() for each in writers] == [None, None]
    assert [each.result() for each in readers] == [last, last]


class Broken(Storage):
    def list(self, prefix: str) -> Iterator[StoredObject]:
        raise StorageFailed(self.root, prefix, "out of reach")


def test_a_storage_that_fails_is_a_catalog_that_may_be_asked_again(tmp_path: Path) -> None:
    catalog = FileCatalog(Broken(str(tmp_path)))
    for ask in (
        lambda: catalog.switch(pointer(1)),
        lambda: catalog.current("candidate", MARCH),
        lambda: catalog.months("candidate"),
    ):
        with pytest.raises(CatalogFailed, match="out of reach") as caught:
            ask()
        assert caught.value.transient
