"""``muster candidates``: what the store holds, by customer, by channel, by date."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import click
from rich.console import Console

from jobs.candidate_table import candidate_table
from jobs.errors import NothingFound, WrongUse
from jobs.options import Day, as_json_option, out_option, with_options
from pipelines.errors import InvalidCursor, UnknownStore
from pipelines.sinks.store import CandidateStore, Item, Page
from pipelines.sinks.store_keys import CandidateKey
from pipelines.sinks.stores import open_store

Command = TypeVar("Command", bound=Callable[..., Any])


class _Moment(click.ParamType[datetime]):
    """A point in time as ISO 8601; without a zone it is UTC."""

    name = "ISO 8601"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the point in time, or say what was expected."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"expected a time like 2017-04-01T00:00:00Z, found {value!r}", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _where(command: Command) -> Command:
    """Add the options that say which store is read, and how it is shown."""
    options = (
        out_option("The folder of the run that wrote the store."),
        click.option("--store", help="A store's URL, instead of the one below --out."),
        click.option("--as-of", type=_Moment(), help="Hide what has expired by then."),
        as_json_option,
    )
    return with_options(command, options)


def _paged(command: Command) -> Command:
    """Add the options of pages."""
    limit = click.option(
        "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Most items."
    )
    return limit(click.option("--cursor", help="Go on after the page that named it.")(command))


@contextmanager
def _store(where: dict[str, Any]) -> Iterator[CandidateStore]:
    """Open the store for reading; what was asked wrongly of it is wrong use."""
    url = where["store"] or f"sqlite:///{where['out']}/candidates.sqlite"
    try:
        with open_store(url, write=False) as store:
            yield store
    except (InvalidCursor, UnknownStore) as error:
        raise WrongUse(str(error)) from error


def _show(page: Page, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"items": page.items, "cursor": page.cursor}, indent=2))
        return
    console = Console()
    console.print(candidate_table(page.items) if page.items else "no candidates")
    if page.cursor is not None:
        console.out(f"more: --cursor {page.cursor}", highlight=False)


@click.group()
def candidates() -> None:
    """Read candidates back from the store.

    \b
    Example:
      muster candidates by-channel --program product-reviews --channel email --out demo
    """


@candidates.command()
@click.option("--customer", required=True, help="Customer id.")
@click.option("--program", required=True, help="Program id.")
@click.option("--marketplace", required=True, help="Marketplace, like US.")
@click.option("--subject-type", required=True, help="Kind of subject, like product.")
@click.option("--subject", required=True, help="Subject id.")
@_where
def get(
    customer: str,
    program: str,
    marketplace: str,
    subject_type: str,
    subject: str,
    **where: Any,
) -> None:
    """Show one candidate.

    \b
    Example:
      muster candidates get --customer 1 --program product-reviews --marketplace US \\
          --subject-type product --subject 1000050 --out demo
    """
    key = CandidateKey(customer, program, marketplace, subject_type, subject)
    with _store(where) as store:
        item = store.get(key, as_of=where["as_of"])
    if item is None:
        raise NothingFound(f"expected a candidate {key.pk} {key.sk}, found none")
    _show_one(item, as_json=where["as_json"])


def _show_one(item: Item, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(item, indent=2))
        return
    console = Console()
    console.print(candidate_table([item]))
    console.print_json(json.dumps(item))


@candidates.command("by-customer")
@click.option("--customer", required=True, help="Customer id.")
@click.option("--program", help="Only this program.")
@click.option("--marketplace", help="Only this marketplace.")
@_paged
@_where
def by_customer(customer: str, program: str | None, marketplace: str | None, **where: Any) -> None:
    """Show a customer's candidates.

    \b
    Example:
      muster candidates by-customer --customer 1 --out demo
    """
    with _store(where) as store:
        page = store.by_customer(
            customer, program=program, marketplace=marketplace, **_range(where)
        )
    _show(page, as_json=where["as_json"])


@candidates.command("by-channel")
@click.option("--program", required=True, help="Program id.")
@click.option("--channel", required=True, help="Channel id, like email.")
@_paged
@_where
def by_channel(program: str, channel: str, **where: Any) -> None:
    """Show who may be reached over a channel, best score first.

    \b
    Example:
      muster candidates by-channel --program product-reviews --channel email --limit 5 --out demo
    """
    with _store(where) as store:
        page = store.by_channel(program, channel, **_range(where))
    _show(page, as_json=where["as_json"])


@candidates.command("by-date")
@click.option("--program", required=True, help="Program id.")
@click.option("--date", "day", type=Day(), required=True, help="Day of creation.")
@_paged
@_where
def by_date(program: str, day: date, **where: Any) -> None:
    """Show the candidates of a day.

    \b
    Example:
      muster candidates by-date --program product-reviews --date 2017-03-05 --out demo --json
    """
    with _store(where) as store:
        page = store.by_date(program, day, **_range(where))
    _show(page, as_json=where["as_json"])


def _range(where: dict[str, Any]) -> dict[str, Any]:
    return {name: where[name] for name in ("limit", "cursor", "as_of")}
