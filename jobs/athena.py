"""``muster athena``: a record type's table as Athena and Hive are told of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from conf.environment import Environment
from conf.load import load_environment
from jobs.merges.asking import lake_options
from jobs.options import as_json_option, environment_option, out_option
from pipelines.catalogs.files import FileCatalog
from pipelines.ledger.ledger import Ledger
from pipelines.merging import layout
from pipelines.merging.survey import JOB as MERGE
from pipelines.storage import Storage
from schemas.athena import Projection, create_table, partition_statements
from schemas.registry import record_type


@dataclass(frozen=True, slots=True)
class Definition:
    """The statements that make a table, and what they are about."""

    database: str | None
    table: str
    location: str
    statements: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """Return the definition as ``--json`` prints it."""
        return {
            "database": self.database,
            "table": self.table,
            "location": self.location,
            "statements": list(self.statements),
        }


def define_table(
    environment: Environment,
    name: str,
    *,
    database: str | None = None,
    table: str | None = None,
    projection: bool = False,
    partitions: bool = False,
) -> Definition:
    """Return the table of a record type in an environment's lake.

    Database and table are those of the environment's catalog unless they are given. With
    ``partitions`` the months that were merged come with it.

    Raises:
        UnknownRecordType: no such record type is registered.
        CatalogFailed: the lake's pointers cannot be read.
    """
    record = record_type(name)
    catalog = environment.catalog
    database = database or getattr(catalog, "database", None)
    table = (table or f"{getattr(catalog, 'table_prefix', '')}{name}").lower()
    root = _url(environment.lake.root)
    current = _current(environment.lake.root, name) if partitions else {}
    projected = None
    if projection or getattr(catalog, "projection", False):
        below = f"{layout.table(name)}/"
        projected = Projection(tuple(key.removeprefix(below) for key in current.values()))
    location = f"{root}/{layout.table(name)}/"
    made = create_table(record, location, database=database, table=table, projection=projected)
    folders = (
        {month: f"{root}/{key}/" for month, key in current.items()} if projected is None else {}
    )
    switches = partition_statements(table, folders, database=database)
    return Definition(database, table, location, (made, *switches))


def _current(root: str, name: str) -> dict[str, str]:
    """Return where each month's rows are: by the ledger, which decides; by pointers without one."""
    storage = Storage(root)
    catalog, ledger = FileCatalog(storage), Ledger(storage)
    pointed = ((month, catalog.current(name, month)) for month in catalog.months(name))
    found = {month: location for month, location in pointed if location is not None}
    for unit, published in ledger.publications(ledger.latest(f"{MERGE}/{name}")).items():
        found[unit.rpartition("/")[2]] = published.details["location"]
    return dict(sorted(found.items()))


def _url(root: str) -> str:
    """Hive takes a path without a scheme for one of its own file system."""
    return root.rstrip("/") if "://" in root else f"file://{Path(root).absolute()}"


@click.group()
def athena() -> None:
    """Tables over merged files, for Athena, Hive and Spark.

    \b
    Example:
      muster athena ddl --type candidate --database muster
      muster athena doctor
    """


@athena.command()
@click.option("--type", "name", required=True, help="A record type, such as candidate.")
@click.option("--database", help="The database; that of the environment's catalog if left out.")
@click.option("--table", help="The table; named as the record type if left out.")
@click.option("--projection", is_flag=True, help="A table that projects its own partitions.")
@click.option("--partitions", is_flag=True, help="Also point months to what merges published last.")
@environment_option
@out_option("Where local runs write.")
@as_json_option
def ddl(
    name: str,
    database: str | None,
    table: str | None,
    projection: bool,
    partitions: bool,
    environment: str,
    out: Path,
    as_json: bool,
) -> None:
    """Print the statements that make a record type's table over the lake's merged files.

    \b
    Example:
      muster athena ddl --type candidate --database muster --out demo
      muster athena ddl --type rejection --projection --partitions --out demo --json
    """
    found = define_table(
        load_environment(environment).with_out(out),
        name,
        database=database,
        table=table,
        projection=projection,
        partitions=partitions,
    )
    if as_json:
        click.echo(json.dumps(found.document(), indent=1))
        return
    click.echo("\n\n".join(f"{statement};" for statement in found.statements))


@athena.command()
@lake_options
def doctor(types: tuple[str, ...], engine: str, environment: str, out: Path, as_json: bool) -> None:
    """Read a lake and say what is wrong with it: nothing is written.

    Which location would count rows twice, which partitions are of too many or too large files,
    which files have a foreign or outdated schema, what is missing, what is part of nothing, and
    what to do about each. Exits 1 when there are errors.

    \b
    Example:
      muster athena doctor --out demo
      muster athena doctor --type candidate --json
    """
    from rich.console import Console

    from jobs.merges.asking import lake_asked
    from jobs.merges.doctor import counts, document, print_reports
    from jobs.merges.doctor import doctor as examine
    from jobs.merges.loading import engine_for

    settings, names = lake_asked(types, environment, out)
    with engine_for(settings, engine) as at_work:
        reports = examine(settings, names, at_work)
    if as_json:
        click.echo(json.dumps(document(reports), indent=1))
    else:
        where = f" --env {environment}" if environment != "local" else ""
        where += f" --out {out}" if out != Path("out") else ""
        print_reports(reports, Console(), where)
    if counts(reports)["error"]:
        raise SystemExit(1)
