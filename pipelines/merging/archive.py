"""Sources after their merge: copied to the archive, then removed from where they were.

Source: campaign-workers, "Archive Before Replace".
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from pipelines.merging.errors import NotVerified
from pipelines.merging.layout import FRAGMENTS, archived
from pipelines.merging.parts import SourceSaid
from pipelines.storage import Storage

_AT_ONCE, _BATCH = 16, 8
What = Literal["archived", "left", "vanished"]


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

    One that is in the archive already is only removed. Doing it again changes nothing.

    Raises:
        NotVerified: a copy is not whole; its source was not removed.
        StorageFailed: the storage refused or broke.
    """
    fragments = [source for source in sources if source.key.startswith(f"{FRAGMENTS}/")]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # Some at a time: handing each one over costs more than moving a local file.
        batches = (fragments[n : n + _BATCH] for n in range(0, len(fragments), _BATCH))
        moved = pool.map(lambda batch: [_archive(storage, each) for each in batch], batches)
        found = [what for batch in moved for what in batch]
    told = sorted((what, s.key) for what, s in zip(found, fragments, strict=True))
    return Archived(
        tuple(key for what, key in told if what == "left"),
        tuple(key for what, key in told if what == "vanished"),
    )


def _archive(storage: Storage, source: SourceSaid) -> What:
    found, target = storage.look(source.key), archived(source.key)
    if found is None:
        return "vanished" if storage.look(target) is None else "archived"
    if found.size != source.size or found.etag != source.etag:
        return "left"
    storage.copy(source.key, target)
    copy = storage.look(target)
    if copy is None or copy.size != source.size:
        raise NotVerified(target, f"copied {source.size:,} bytes, found {copy and copy.size}")
    storage.delete([source.key])
    return "archived"
