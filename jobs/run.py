"""``muster run`` and ``muster apply``: making the units of a plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from jobs.options import (
    apply_options,
    as_json_option,
    backfill_options,
    options_of,
    request_of,
)

if TYPE_CHECKING:
    from jobs.backfill.application import Outcome


@click.group()
def run() -> None:
    """Run a job over a range of days, one unit a day.

    Days that have been made are left as they are: the same command finishes what is left.

    \b
    Example:
      muster run solicit --program product-reviews --from 2017-03-01
    """


@run.command()
@backfill_options
@apply_options
@as_json_option
def solicit(
    max_active: int | None, budget_usd: float | None, wait: bool, as_json: bool, **asked: Any
) -> None:
    """Decide, for each day, whom programs may ask: 'muster plan' and 'muster apply' in one.

    \b
    Example:
      muster run solicit --program product-reviews --from 2017-03-01 --to 2017-03-31 --env local
      muster run solicit --program product-reviews --from 2017-03-01 --reprocess stale
    """
    from jobs.backfill.application import carry_out
    from jobs.backfill.loading import loader
    from jobs.backfill.plan_table import print_plan
    from jobs.backfill.planning import make_plan

    request = request_of("solicit", **asked)
    load = loader(request)
    plan = make_plan(request, load)
    if not as_json:
        print_plan(plan, Console())
    _show(carry_out(plan, load, options_of(max_active, budget_usd, wait)), as_json=as_json)


@click.command("apply")
@click.argument("plan_file", metavar="PLAN", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--accept-moved", is_flag=True, help="Where inputs, settings or code moved, plan again first."
)
@apply_options
@as_json_option
def apply_command(
    plan_file: Path,
    accept_moved: bool,
    max_active: int | None,
    budget_usd: float | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Run exactly what a plan says, or refuse and name what has moved since.

    Applying it again makes what is left of it. --accept-moved shows the differences, plans the same
    request again and runs that.

    \b
    Example:
      muster plan solicit --program product-reviews --from 2017-03-01 -o plan.json
      muster apply plan.json --max-active 31 --budget-usd 5
    """
    from jobs.backfill.application import carry_out, current
    from jobs.backfill.loading import loader
    from jobs.backfill.plan import read_plan
    from jobs.backfill.plan_table import print_plan

    plan = read_plan(plan_file)
    load = loader(plan.request)
    fresh, moved = current(plan, load, accept_moved=accept_moved)
    if moved is not None:
        click.echo(f"muster: {moved}", err=True)
        if not as_json:
            print_plan(fresh, Console())
    if plan.request.job == "merge":
        from jobs.merges import application as merges

        merged = merges.carry_out(fresh, load, options_of(max_active, budget_usd, wait))
        merges.show(merged, as_json=as_json)
        return
    _show(carry_out(fresh, load, options_of(max_active, budget_usd, wait)), as_json=as_json)


def _show(outcome: Outcome, *, as_json: bool) -> None:
    """Print the documents of a run, or its balance sheets and where its reports are; then exit."""
    if as_json:
        click.echo(json.dumps(outcome.document(), indent=2))
    else:
        console = Console()
        for result, report in outcome.results:
            console.print(result.balance_table())
            console.out(f"report  {report}", highlight=False)
    for line in outcome.complaints():
        click.echo(f"muster: {line}", err=True)
    if outcome.exit_code:
        raise SystemExit(outcome.exit_code)
