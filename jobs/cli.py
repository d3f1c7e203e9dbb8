"""The command ``muster``."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import click

from jobs.candidates import candidates
from jobs.listing import jobs
from jobs.plan import plan
from jobs.run import apply_command, run
from jobs.status import status


class _Muster(click.Group):
    """Prints what is wrong in one line, and a traceback only when it is asked for."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; our own errors become a line and an exit code."""
        from conf.errors import ConfigurationError
        from jobs.errors import Cancelled, JobError, UnitsHeld, WrongUse
        from pipelines.errors import PipelineError
        from schemas.errors import SchemaError
        from transforms.errors import TransformError

        try:
            return super().invoke(ctx)
        except (ConfigurationError, WrongUse) as error:
            _stop(ctx, error, 2)
        except UnitsHeld as error:
            _stop(ctx, error, 3)
        except Cancelled as error:
            _stop(ctx, error, 130)
        except (JobError, PipelineError, SchemaError, TransformError) as error:
            _stop(ctx, error, 1)


def _stop(ctx: click.Context, error: Exception, code: int) -> NoReturn:
    if ctx.params.get("debug"):
        raise error
    click.echo(f"muster: {error}", err=True)
    sys.exit(code)


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


# Records go to each run's log. Without this, the first library that warns through the root logger
# would install a handler of its own that prints everything.
logging.getLogger().addHandler(logging.NullHandler())
logging.getLogger("apache_beam").setLevel(logging.WARNING)

main.add_command(jobs)
main.add_command(plan)
main.add_command(apply_command)
main.add_command(run)
main.add_command(status)
main.add_command(candidates)
