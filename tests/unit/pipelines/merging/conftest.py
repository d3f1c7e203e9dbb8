from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.lake import LakeSettings
from pipelines.merging import fragment
from schemas import registry
from schemas.registry import RecordType
from tests.unit.pipelines.merging.lakes import SmallLake

KEY = "5a" * 32


@pytest.fixture
def small(tmp_path: Path) -> SmallLake:
    """A lake of uncompressed files, whose bytes say what they are."""
    return SmallLake(LakeSettings(str(tmp_path / "lake"), "null", KEY))


@pytest.fixture
def snappy(tmp_path: Path) -> SmallLake:
    return SmallLake(LakeSettings(str(tmp_path / "snappy"), "snappy", KEY))


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that registers record types for one test."""
    known = registry.record_types()

    def registered(*more: RecordType) -> None:
        for module in (registry, fragment):
            monkeypatch.setattr(module, "record_types", lambda: (*known, *more))
        fragment._written.cache_clear()

    yield registered
    fragment._written.cache_clear()
