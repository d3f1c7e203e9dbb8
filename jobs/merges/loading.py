"""From what a request for merges names to the job that it means."""

from __future__ import annotations

from functools import cache

from conf.environment import Environment, HiveCatalog
from conf.load import load_environment
from jobs.backfill.plan import Request
from jobs.backfill.planning import Loader
from jobs.backfill.work import Work
from jobs.errors import NothingFound
from jobs.merges.job import MergeJob
from jobs.merges.options import MergeOptions
from pipelines.merging.engines import Engine, LocalEngine, SparkEngine
from pipelines.merging.layout import FRAGMENTS, MERGED
from pipelines.storage import Storage
from schemas.registry import record_types


def merge_loader(request: Request) -> Loader:
    """Return what loads a record type's job; all of them share one engine."""

    @cache
    def engine() -> Engine:
        settings = load_environment(request.environment)
        return engine_for(settings, MergeOptions.of(request.options).engine)

    @cache
    def load(record_type: str) -> Work:
        return MergeJob.load(record_type, request, engine())

    return load


def engine_for(settings: Environment, name: str) -> Engine:
    """Return the engine of this name, by which a Hive catalog is asked too."""
    if name == "spark":
        return SparkEngine(hive=isinstance(settings.catalog, HiveCatalog))
    return LocalEngine(settings.merges.threads)


def types_asked(named: tuple[str, ...], environment: str, out: str) -> tuple[str, ...]:
    """Return the record types that were named, each once; without any, those of the lake.

    Raises:
        NothingFound: the lake has no record of any known type.
    """
    if named:
        return tuple(dict.fromkeys(named))
    storage = Storage(load_environment(environment).with_out(out).lake.root)
    known = sorted({record.name for record in record_types()})
    found = tuple(
        name
        for name in known
        if any(next(storage.list(f"{top}/{name}"), None) for top in (FRAGMENTS, MERGED))
    )
    if not found:
        raise NothingFound(f"{storage.root}: expected fragments of {', '.join(known)}, found none")
    return found
