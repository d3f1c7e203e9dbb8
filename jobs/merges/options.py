"""What a merge is asked to do beyond the environment's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from conf.environment import Environment
from pipelines.merging.parts import Kind
from pipelines.merging.plan import Rules
from schemas.container import SYNC_SIZE, header_bytes
from schemas.registry import RecordType


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """The options of ``muster merge daily`` and ``monthly``, as a plan keeps them."""

    kind: Kind
    engine: Literal["local", "spark"] = "local"
    force: bool = False
    dedupe: bool = False
    check_crc: bool = False
    codec: str | None = None
    max_bytes: int | None = None
    max_files: int | None = None

    def document(self) -> dict[str, Any]:
        """Return the options as JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> MergeOptions:
        """Return the options that a plan kept."""
        return cls(**document)

    def rules(self, environment: Environment, record: RecordType) -> Rules:
        """Return the rules of a merge in an environment; ``record`` is the current schema."""
        merges, codec = environment.merges, self.codec or environment.lake.codec
        return Rules(
            kind=self.kind,
            version=record.version,
            codec=codec,
            target_bytes=merges.target_bytes,
            limit_bytes=merges.limit_bytes,
            oversize=merges.oversize,
            schema_policy=merges.schema_policy,
            late_ratio=merges.late_ratio,
            force=self.force,
            recodec=self.codec is not None,
            dedupe=self.dedupe,
            check_crc=self.check_crc,
            most_bytes=self.max_bytes,
            most_files=self.max_files,
            header_bytes=len(header_bytes(record.text, codec, bytes(SYNC_SIZE))),
        )
