"""A large fragment's SHA-256, before it is cut: whoever reads a part of it cannot know it."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass

from pipelines.errors import ObjectChanged, ObjectNotFound
from pipelines.merging.ahead import Stretch, read_ahead
from pipelines.merging.bad import problem_of
from pipelines.merging.errors import Unmergeable
from pipelines.merging.parts import Fragment, Piece, Problem
from pipelines.storage import Storage


@dataclass(frozen=True, slots=True)
class CheckWhole:
    """Reads a fragment whole and compares it with what the ledger says of it."""

    root: str

    def __call__(self, fragment: Fragment) -> Problem | None:
        """Return what is wrong with it; None where nothing is, or nobody knows.

        Raises:
            NotVerified: it was merged meanwhile.
            StorageFailed: it cannot be read.
        """
        if fragment.sha256 is None:
            return None
        storage = Storage(self.root)
        digest = hashlib.sha256()
        windows = Stretch(fragment.key, 0, fragment.size, fragment.etag).windows()
        try:
            with closing(read_ahead(storage, windows)) as read:
                for window in read:
                    digest.update(window.data)
            if digest.hexdigest() != fragment.sha256:
                raise Unmergeable(
                    f"expected bytes of SHA-256 {fragment.sha256}, found {digest.hexdigest()}"
                )
        except (Unmergeable, ObjectNotFound, ObjectChanged) as error:
            return problem_of(storage, Piece(fragment=fragment), error)
        return None
