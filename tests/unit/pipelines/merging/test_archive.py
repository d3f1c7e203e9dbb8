from __future__ import annotations

import pytest

from pipelines.errors import StorageFailed
from pipelines.merging.archive import Archived, archive
from pipelines.merging.errors import NotVerified
from pipelines.merging.parts import Fragment, SourceSaid
from pipelines.storage import Storage
from tests.unit.pipelines.merging.lakes import SmallLake

NOTHING = Archived((), ())


def source(fragment: Fragment) -> SourceSaid:
    return SourceSaid(fragment.key, fragment.size, fragment.etag, 1, "f", "0", "whole")


def put(small: SmallLake, count: int) -> list[Fragment]:
    return [small.put(f"{n:03d}", b"file %d" % n) for n in range(count)]


def moved(key: str) -> str:
    return key.replace("fragments", "archive", 1)


@pytest.mark.parametrize("count", [0, 1, 8, 30])
def test_fragments_move_to_the_archive(small: SmallLake, count: int) -> None:
    some = put(small, count)
    other = small.put("other", b"x")
    assert archive(small.lake.storage, map(source, some)) == NOTHING
    assert [f.key for f in small.lake.storage.list("fragments")] == [other.key]
    found = {o.key: small.lake.storage.read(o.key) for o in small.lake.storage.list("archive")}
    assert found == {moved(f.key): b"file %d" % n for n, f in enumerate(some)}


def test_merged_files_of_a_former_generation_stay(small: SmallLake) -> None:
    small.lake.storage.write("merged/t/2017-03/g000001-ab/x.avro", [b"x"])
    said = SourceSaid("merged/t/2017-03/g000001-ab/x.avro", 1, None, 1, "f", "0", "whole")
    assert archive(small.lake.storage, [said]) == NOTHING
    assert small.lake.storage.read(said.key) == b"x"
    assert list(small.lake.storage.list("archive")) == []


def test_doing_it_again_changes_nothing(small: SmallLake) -> None:
    """It may have died before, between, or behind each of its steps."""
    copied, done, fresh = put(small, 3)
    storage = small.lake.storage
    storage.copy(copied.key, moved(copied.key))
    storage.copy(done.key, moved(done.key))
    storage.delete([done.key])
    for _ in range(2):
        assert archive(storage, map(source, (copied, done, fresh))) == NOTHING
        assert list(storage.list("fragments")) == []
        assert [o.key for o in storage.list("archive")] == [
            moved(f.key) for f in (copied, done, fresh)
        ]


def test_another_file_by_now_is_left(small: SmallLake) -> None:
    longer, same_size, good = put(small, 3)
    storage = small.lake.storage
    storage.write(longer.key, [b"another file"])
    storage.write(same_size.key, [b"file X"])
    found = archive(storage, map(source, (same_size, longer, good)))
    assert found == Archived((longer.key, same_size.key), ())
    assert storage.read(longer.key) == b"another file"
    assert [o.key for o in storage.list("archive")] == [moved(good.key)]


def test_what_is_nowhere_is_told(small: SmallLake) -> None:
    one, two = put(small, 2)
    small.lake.storage.delete([one.key])
    assert archive(small.lake.storage, map(source, (two, one))) == Archived((), (one.key,))


class Losing(Storage):
    """A storage whose copies have a byte less."""

    def copy(self, source: str, target: str) -> None:
        self.write(target, [self.read(source)[:-1]])


class Failing(Storage):
    """A storage that refuses to copy."""

    def copy(self, source: str, target: str) -> None:
        raise StorageFailed(self.root, source, "refused")


@pytest.mark.parametrize(("storage", "error"), [(Losing, NotVerified), (Failing, StorageFailed)])
def test_nothing_is_removed_without_its_copy(
    small: SmallLake, storage: type[Storage], error: type[Exception]
) -> None:
    some = put(small, 20)
    with pytest.raises(error):
        archive(storage(small.settings.root), map(source, some))
    assert [o.key for o in small.lake.storage.list("fragments")] == [f.key for f in some]
