"""Sources after their merge: copied to the archive, then removed from where they were.

Source: campaign-workers, "Archive Before Replace".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipelines.merging.errors import NotVerified
from pipelines.merging.layout import FRAGMENTS, archived
from pipelines.merging.parts import SourceSaid
from pipelines.storage import Storage, StoredObject

_AT_ONCE, _BATCH = 16, 8


@dataclass(frozen=True, slots=True)
class Archived:
    """What archiving could not do: ``left`` are other files by now, and stay where they are.

    ``vanished`` are neither where they were nor in the archive: their unit was made anew while they
    were merged, and removed them. Their rows are in the merged file, which was verified.
    """

    left: tuple[str, ...]
    vanished: tuple[str, ...]


def archive(storage: Storage, sources: Iterable[SourceSaid]) -> Archived:
    """Archive every fragment among the sources.

    One that is in the archive already is only removed. Doing it again changes nothing. Folders are
    listed before and after, so that a fragment takes one request of its own, the copy.

    Raises:
        NotVerified: a copy is not whole; no source was removed.
        StorageFailed: the storage refused or broke.
    """
    fragments = {each.key: each for each in sources if each.key.startswith(f"{FRAGMENTS}/")}
    found = _listed(storage, fragments)
    kept = _listed(storage, map(archived, fragments))
    same = [key for key, each in fragments.items() if _is_same(found.get(key), each)]
    todo = [key for key in same if not _is_whole(kept.get(archived(key)), fragments[key])]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # Some at a time: handing each one over costs more than moving a local file.
        batches = (todo[n : n + _BATCH] for n in range(0, len(todo), _BATCH))
        deque(pool.map(lambda batch: _copy(storage, batch), batches), maxlen=0)
    if todo:
        kept = _listed(storage, map(archived, fragments))
    for key in same:
        _check(kept.get(archived(key)), fragments[key])
    storage.delete(same)
    gone = [k for k in fragments if k not in found and archived(k) not in kept]
    return Archived(tuple(sorted(found.keys() & fragments.keys() - {*same})), tuple(sorted(gone)))


def _listed(storage: Storage, keys: Iterable[str]) -> dict[str, StoredObject]:
    """Return what lies in the folders of some keys, by key."""
    folders = sorted({key.rpartition("/")[0] for key in keys})
    return {each.key: each for folder in folders for each in storage.list(folder)}


def _is_same(found: StoredObject | None, source: SourceSaid) -> bool:
    return found is not None and (found.size, found.etag) == (source.size, source.etag)


def _is_whole(copy: StoredObject | None, source: SourceSaid) -> bool:
    return copy is not None and copy.size == source.size


def _copy(storage: Storage, batch: Iterable[str]) -> None:
    for key in batch:
        storage.copy(key, archived(key))


def _check(copy: StoredObject | None, source: SourceSaid) -> None:
    if not _is_whole(copy, source):
        told = f"copied {source.size:,} bytes, found {copy.size if copy else 0:,}"
        raise NotVerified(archived(source.key), told)
