"""Merged files as they are now, against what their receipts say of them."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pipelines.errors import ObjectNotFound
from pipelines.lake import Lake, LakeSettings
from pipelines.merging.errors import NotVerified
from pipelines.merging.parts import MergedFile
from pipelines.merging.verify import verify
from pipelines.storage import Storage
from schemas.registry import record_type

_AT_ONCE = 16


def confirm(
    storage: Storage, lake: LakeSettings, record: str, files: Sequence[MergedFile]
) -> tuple[MergedFile, ...]:
    """Return files with the ETags that they have now.

    Where an ETag is not the receipt's, the lake was copied or moved, or somebody wrote over a file:
    all of its blocks are compared with the receipt then, before any of them is trusted again.

    Raises:
        ObjectNotFound: a file is gone.
        NotVerified: a file is not what its receipt says.
        StorageFailed: the storage refused or broke.
    """

    def one(file: MergedFile) -> MergedFile:
        found = storage.look(file.key)
        if found is None:
            raise ObjectNotFound(storage.root, file.key)
        if found.size != file.size:
            raise NotVerified(file.key, f"wrote {file.size:,} bytes, found {found.size:,}")
        if found.etag != file.etag:
            of = record_type(record, file.version)
            encoder = Lake(replace(lake, codec=file.codec)).encoder(of)
            verify(storage, file, encoder.header, encoder.sync)
        return replace(file, etag=found.etag)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return tuple(pool.map(one, files))
