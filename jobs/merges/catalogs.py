"""The catalog that an environment names."""

from __future__ import annotations

from conf.environment import Environment, FileCatalog, GlueCatalog
from jobs.errors import WrongUse
from pipelines.catalogs.catalog import Catalog
from pipelines.merging.engines import Engine, SparkEngine
from pipelines.storage import Storage


def open_catalog(environment: Environment, storage: Storage, engine: Engine) -> Catalog:
    """Return the catalog whose readers a merge switches.

    Raises:
        WrongUse: a Hive catalog is asked for without Spark.
    """
    said, root = environment.catalog, environment.lake.root
    if isinstance(said, FileCatalog):
        from pipelines.catalogs.files import FileCatalog as Files

        return Files(storage)
    if isinstance(said, GlueCatalog):
        from pipelines.catalogs import glue

        kind = glue.GlueProjection if said.projection else glue.GlueCatalog
        return kind(root, said.database, said.table_prefix)
    if not isinstance(engine, SparkEngine):
        raise WrongUse(
            f"environment '{environment.name}': catalog.kind hive: expected --engine spark"
        )
    from pipelines.catalogs.hive import HiveCatalog

    return HiveCatalog(engine.session, root, said.database, said.table_prefix)
