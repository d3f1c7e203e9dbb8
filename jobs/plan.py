"""``muster plan``: what a run would make, of what, why, and what it is taken to cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from jobs.options import as_json_option, backfill_options, request_of


@click.group()
def plan() -> None:
    """Plan a job over a range of days, and write nothing but the plan.

    \b
    Example:
      muster plan solicit --program product-reviews --from 2017-03-01 --to 2017-03-31 -o plan.json
      muster apply plan.json
    """


@plan.command()
@backfill_options
@click.option(
    "-o", "output", type=click.Path(dir_okay=False, path_type=Path), help="Write the plan here."
)
@as_json_option
def solicit(output: Path | None, as_json: bool, **asked: Any) -> None:
    """Plan, for each day, whom programs may ask.

    Looks at inputs, settings, code and the ledger. A day is planned when it has no output, when its
    latest attempt failed, or when data came late; --reprocess plans others. The plan names every
    input with its version, and 'muster apply' runs exactly that.

    \b
    Example:
      muster plan solicit --program product-reviews --from 2017-03-01 --to 2017-03-31 -o plan.json
      muster plan solicit --program product-reviews --from 2017-03-01 --reprocess stale
    """
    from jobs.backfill.loading import loader
    from jobs.backfill.plan_table import print_plan
    from jobs.backfill.planning import make_plan

    request = request_of("solicit", **asked)
    made = make_plan(request, loader(request))
    if output is not None:
        made.write(output)
    if as_json:
        click.echo(json.dumps(made.document(), indent=1))
    else:
        console = Console()
        print_plan(made, console)
        if output is not None:
            console.out(f"written to {output}; run it with: muster apply {output}", highlight=False)
    if made.refused:
        raise SystemExit(1)
