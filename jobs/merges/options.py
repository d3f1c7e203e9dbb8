"""What a merge is asked to do beyond the environment's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from conf.environment import Environment
from pipelines.merging.parts import Kind
from pipelines.merging.plan import Rules


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

    def rules(self, environment: Environment, version: int) -> Rules:
        """Return the rules of a merge in an environment; ``version`` is the current schema's."""
        merges = environment.merges
        return Rules(
            kind=self.kind,
            version=version,
            codec=self.codec or environment.lake.codec,
            target_bytes=merges.target_bytes,
            limit_bytes=merges.limit_bytes,
            oversize=merges.oversize,
            schema_policy=merges.schema_policy,
            late_ratio=merges.late_ratio,
            force=self.force,
            dedupe=self.dedupe,
            check_crc=self.check_crc,
            most_bytes=self.max_bytes,
            most_files=self.max_files,
        )
