"""The command ``muster``."""

from __future__ import annotations

import click

from jobs.athena import athena
from jobs.candidates import candidates
from jobs.entry import Told, quiet_libraries
from jobs.listing import jobs
from jobs.merge import merge
from jobs.plan import plan
from jobs.run import apply_command, run
from jobs.status import status


class _Muster(Told, click.Group):
    """All commands."""


@click.group(cls=_Muster, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="muster", message="muster %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Decide whom to contact: warehouse and Avro in, candidates and an Avro lake out.

    Exits 0 when all is well, 1 when work failed, 2 for wrong use, 3 when another run holds what was
    asked for.

    \b
    Example:
      muster plan solicit --program product-reviews --from 2017-03-01 --to 2017-03-31
      muster run solicit --program product-reviews --from 2017-03-01 --to 2017-03-31
      muster status
    """


quiet_libraries()

main.add_command(jobs)
main.add_command(plan)
main.add_command(apply_command)
main.add_command(run)
main.add_command(status)
main.add_command(candidates)
main.add_command(merge)
main.add_command(athena)
