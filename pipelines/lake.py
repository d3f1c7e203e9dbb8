"""The Avro lake: where its objects are, and the sync markers that its files share.

```
_lake.json                                             the key of the lake's sync markers
fragments/<record type>/<program>/<unit>/<name>.avro   what runs wrote
_ledger/                                               pipelines/ledger: what is published, and more
```

A fragment counts once the latest ``published`` record of its unit names it; nothing else in the
lake makes it visible.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipelines.storage import Storage
from schemas.codec import Encoder
from schemas.container import sync_marker
from schemas.registry import RecordType

_ABOUT = "_lake.json"
RECORD_TYPES = ("candidate", "rejection", "quarantine")


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """Where the lake is; ``sync_key`` (hex) fixes the key of a lake that is made anew."""

    root: str
    codec: str
    sync_key: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A fragment that was written."""

    record_type: str
    key: str
    rows: int
    size: int
    sha256: str


class Lake:
    """An open lake; opening one that is not there makes it."""

    def __init__(self, settings: LakeSettings) -> None:
        self.storage = Storage(settings.root)
        self.codec = settings.codec
        if self.storage.look(_ABOUT) is None:  # a lake is opened often and made once
            key = settings.sync_key or secrets.token_hex(32)
            self.storage.create(_ABOUT, json.dumps({"syncKey": key}).encode())
        self._key = bytes.fromhex(json.loads(self.storage.read(_ABOUT))["syncKey"])

    def encoder(self, record: RecordType) -> Encoder:
        """Return the encoder of one record type, with the lake's marker for it."""
        return Encoder(record, self.codec, sync=sync_marker(self._key, record.fingerprint))

    def write_fragment(
        self, record: RecordType, folder: str, name: str, blocks: Sequence[bytes], rows: int
    ) -> Receipt:
        """Write one fragment; its name is made of its content, so a retry overwrites itself."""
        parts = [self.encoder(record).header, *blocks]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        key = f"{fragments(record.name, folder)}/{name}-{digest.hexdigest()[:16]}.avro"
        self.storage.write(key, parts)
        return Receipt(record.name, key, rows, sum(map(len, parts)), digest.hexdigest())

    def tidy(self, folder: str, keep: set[str], check: Callable[[], None]) -> None:
        """Remove a unit's fragments that nothing names: those of former and of killed attempts.

        ``check`` raises when the unit is held by another by now. It is asked between looking and
        removing: whoever takes a unit over writes to it only afterwards, so what is removed is
        none of theirs.
        """
        places = [fragments(name, folder) for name in RECORD_TYPES]
        strays = [o.key for at in places for o in self.storage.list(at) if o.key not in keep]
        staged = [path for at in places for path in self.storage.staged(at)]
        if strays or staged:
            check()
            self.storage.delete(strays)
            for path in staged:
                path.unlink(missing_ok=True)


def fragments(record_type: str, folder: str) -> str:
    """Return where a unit's fragments of one record type are; ``folder`` is program/unit."""
    return f"fragments/{record_type}/{folder}"
