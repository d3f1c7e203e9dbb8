"""Options and types that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from jobs.backfill.apply import Options
    from jobs.backfill.plan import Request

Command = TypeVar("Command", bound=Callable[..., Any])


class Day(click.ParamType[date]):
    """A day as YYYY-MM-DD."""

    name = "YYYY-MM-DD"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        """Return the day, or say what was expected."""
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date()
        except ValueError:
            self.fail(f"expected a day like 2017-03-01, found {value!r}", param, ctx)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

environment_option = click.option(
    "--env", "environment", default="local", show_default=True, help="An environment, or its YAML."
)


def out_option(what: str) -> Callable[[Any], Any]:
    """Return the option ``--out``, which means the same folder everywhere."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("out"),
        show_default=True,
        help=what,
    )


def with_options(command: Command, options: Sequence[Callable[[Any], Any]]) -> Command:
    """Add options to a command, shown in their order."""
    for option in reversed(options):
        command = option(command)
    return command


def backfill_options(command: Command) -> Command:
    """Add the options that say which units are asked for, and in which order."""
    options = (
        click.option(
            "--program",
            "programs",
            multiple=True,
            help="A program's name, or the path of its YAML; may be repeated. All without it.",
        ),
        click.option("--from", "first", type=Day(), required=True, help="First day."),
        click.option(
            "--to", "last", type=Day(), help="Last day, included; the first day if left out."
        ),
        click.option(
            "--reprocess",
            type=click.Choice(["missing", "failed", "stale", "all"]),
            default="missing",
            show_default=True,
            help="Days without output; days whose latest attempt failed; days whose inputs, "
            "settings or code changed; or every day.",
        ),
        click.option(
            "--order",
            type=click.Choice(["newest", "oldest"]),
            default="newest",
            show_default=True,
            help="Which days come first.",
        ),
        click.option("--prices", help="A price table, or its YAML, instead of the environment's."),
        environment_option,
        out_option("Where a local run writes."),
    )
    return with_options(command, options)


def apply_options(command: Command) -> Command:
    """Add the options that say how a plan is applied."""
    options = (
        click.option(
            "--max-active",
            type=click.IntRange(1),
            help="Most units at once; the environment's unitsPerRun if left out.",
        ),
        click.option(
            "--budget-usd",
            type=click.FloatRange(0),
            help="Do nothing if the plan is taken to cost more, and stop before it is spent.",
        ),
        click.option("--wait", is_flag=True, help="Wait for runs that hold units, else exit 3."),
    )
    return with_options(command, options)


def request_of(
    job: str,
    programs: tuple[str, ...],
    first: date,
    last: date | None,
    reprocess: Any,
    order: Any,
    prices: str | None,
    environment: str,
    out: Path,
) -> Request:
    """Return what the options ask for.

    Raises:
        WrongUse: the last day is before the first.
    """
    from jobs.backfill.loading import programs_asked
    from jobs.backfill.plan import Request
    from jobs.days import DateRange

    days = DateRange(first, last or first)
    return Request(
        job,
        programs_asked(programs),
        environment,
        str(out),
        days.first.isoformat(),
        days.last.isoformat(),
        reprocess,
        order,
        prices,
    )


def options_of(max_active: int | None, budget_usd: float | None, wait: bool) -> Options:
    """Return how a plan is to be applied."""
    from jobs.backfill.apply import Options

    return Options(max_active, budget_usd, wait)
