"""``muster merge``: many small files of the lake to few, by day and by month."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.merges.asking import engine_option, lake_options, types_option
from jobs.options import Day, as_json_option, environment_option, out_option, with_options

if TYPE_CHECKING:
    from jobs.backfill.plan import Request


class Month(click.ParamType[date]):
    """A month as YYYY-MM; its value is its first day."""

    name = "YYYY-MM"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        """Return the month's first day, or say what was expected."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(f"{value}-01")
        except ValueError:
            self.fail(f"expected a month like 2017-03, found {value!r}", param, ctx)


@click.group()
def merge() -> None:
    """Merge the lake's fragments into few files, verified, and switch readers to them at once.

    Exits 1 when a source had to be left out: it stays where it is, and is named.

    \b
    Example:
      muster merge daily --type candidate --date 2017-03-01
      muster merge monthly --type candidate --month 2017-03
    """


def _merge_options(command: Any) -> Any:
    """Add the options that daily and monthly merges share."""
    options: tuple[Callable[[Any], Any], ...] = (
        types_option,
        click.option("--plan", "plan_only", is_flag=True, help="Show what would be merged, only."),
        click.option(
            "-o",
            "output",
            type=click.Path(dir_okay=False, path_type=Path),
            help="With --plan: write the plan here, for 'muster apply'.",
        ),
        engine_option("What writes the files: this process, or the tasks of a Spark application."),
        click.option(
            "--force", is_flag=True, help="Merge late files however few, and bad ones again."
        ),
        click.option("--dedupe", is_flag=True, help="Leave out rows whose dedupeHash came before."),
        click.option("--check-crc", is_flag=True, help="Unpack every block: checks its checksum."),
        click.option(
            "--codec",
            type=click.Choice(["snappy", "zstandard", "deflate", "null"]),
            help="Codec of merged files; the lake's if left out.",
        ),
        click.option("--max-bytes", type=click.IntRange(1), help="Read no more of fragments."),
        click.option("--max-files", type=click.IntRange(1), help="Take no more fragments."),
        click.option("--wait", is_flag=True, help="Wait for runs that hold months, else exit 3."),
        environment_option,
        out_option("Where a local run writes."),
        as_json_option,
    )
    return with_options(command, options)


@merge.command()
@click.option("--date", "day", type=Day(), help="The day.")
@click.option("--from", "first", type=Day(), help="First day, instead of --date.")
@click.option("--to", "last", type=Day(), help="Last day, included; the first if left out.")
@_merge_options
def daily(day: date | None, first: date | None, last: date | None, **asked: Any) -> None:
    """Merge the fragments of days, each day into a file of about 256 MB or several.

    Days that are merged are left as they are. Files that came since wait until they are
    merges.lateRatio of their day; a day whose unit was made anew is merged anew.

    \b
    Example:
      muster merge daily --type candidate --date 2017-03-01
      muster merge daily --from 2017-03-01 --to 2017-03-31 --plan
    """
    if (day is None) == (first is None):
        raise click.UsageError("expected --date, or --from and --to")
    begin = day or first
    assert begin is not None, "one of them is given"
    _run("daily", begin, last or begin, **asked)


@merge.command()
@click.option("--month", "first", type=Month(), required=True, help="The month.")
@click.option("--to", "last", type=Month(), help="Last month, included; the first if left out.")
@_merge_options
def monthly(first: date, last: date | None, **asked: Any) -> None:
    """Merge all files of a month, whether merged by day or not.

    \b
    Example:
      muster merge monthly --type candidate --month 2017-03
    """
    end = last or first
    next_month = (end.replace(day=28) + timedelta(days=4)).replace(day=1)
    _run("monthly", first, next_month - timedelta(days=1), **asked)


def _run(
    kind: Any,
    first: date,
    last: date,
    types: tuple[str, ...],
    plan_only: bool,
    output: Path | None,
    wait: bool,
    environment: str,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    from jobs.backfill.apply import Options
    from jobs.backfill.planning import make_plan
    from jobs.merges.application import carry_out, show, show_plan
    from jobs.merges.loading import merge_loader

    if output is not None and not plan_only:
        raise click.UsageError("-o: expected --plan beside it")
    request = _request(kind, first, last, types, environment, out, options)
    load = merge_loader(request)
    if plan_only:
        show_plan(request, load, output=output, as_json=as_json)
        return
    outcome = carry_out(make_plan(request, load), load, Options(wait=wait))
    show(outcome, as_json=as_json)


def _request(
    kind: Any,
    first: date,
    last: date,
    types: tuple[str, ...],
    environment: str,
    out: Path,
    options: dict[str, Any],
) -> Request:
    from jobs.backfill.plan import Request
    from jobs.days import DateRange
    from jobs.merges.loading import types_asked
    from jobs.merges.options import MergeOptions
    from pipelines.merging.survey import JOB

    days = DateRange(first, last)
    return Request(
        JOB,
        types_asked(types, environment, str(out)),
        environment,
        str(out),
        days.first.isoformat(),
        days.last.isoformat(),
        options=MergeOptions(kind, **options).document(),
    )


@merge.command()
@click.option(
    "--receipt",
    "receipts",
    required=True,
    multiple=True,
    help="Key of a receipt, below the lake's root; repeat it for sources in several files.",
)
@engine_option("A Hive catalog is asked through Spark.")
@environment_option
@out_option("Where a local run writes.")
@as_json_option
def restore(
    receipts: tuple[str, ...], engine: str, environment: str, out: Path, as_json: bool
) -> None:
    """Put the sources of a merge back, as if it had not been made.

    Its merged file leaves the table. Fragments lie where they were before, and the next merge takes
    them again; merged files of an earlier generation come back into the table.

    \b
    Example:
      muster merge restore --receipt receipts/candidate/2017-03/g000001-0a1b2c3d4e5f/<name>.json
    """
    import json

    from conf.load import load_environment
    from jobs.merges.loading import engine_for
    from jobs.merges.restore import restore as put_back

    settings = load_environment(environment).with_out(out)
    with engine_for(settings, engine) as opened:
        record = put_back(settings, receipts, opened)
    said = record.details
    if as_json:
        click.echo(json.dumps({"unit": record.unit, **said}, indent=1))
        return
    click.echo(
        f"{record.unit}: generation {said['generation']}, {said['files']} files and "
        f"{said['records']:,} rows, without {', '.join(receipts)}"
    )
    click.echo("fragments that were put back count again with the next merge of their day")


@merge.command()
@click.option(
    "--older-than", help="An age like 12h, 7d or 4w; merges.archiveDays of the environment without."
)
@click.option("--dry-run", is_flag=True, help="Show what would be removed, only.")
@lake_options
def clean(
    older_than: str | None,
    dry_run: bool,
    types: tuple[str, ...],
    engine: str,
    environment: str,
    out: Path,
    as_json: bool,
) -> None:
    """Remove archived sources, superseded generations and what attempts left that died.

    Ages are those of the ledger's records. Receipts stay, and every file of which no record tells
    whether it counts; a month that a run is at work on is left alone.

    \b
    Example:
      muster merge clean --older-than 7d --dry-run
      muster merge clean --type candidate --older-than 4w
    """
    import json

    from rich.console import Console

    from jobs.merges.asking import lake_asked
    from jobs.merges.clean import age, document, print_found
    from jobs.merges.clean import clean as remove
    from jobs.merges.loading import engine_for

    settings, names = lake_asked(types, environment, out)
    kept = None if older_than is None else age(older_than)
    with engine_for(settings, engine) as at_work:
        found = remove(settings, names, at_work, older_than=kept, dry_run=dry_run)
    if as_json:
        click.echo(json.dumps({"dryRun": dry_run, **document(found)}, indent=1))
        return
    print_found(found, Console(), dry_run=dry_run)
