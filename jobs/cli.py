"""The command ``muster``."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import click

from jobs.candidates import candidates
from jobs.listing import jobs
from jobs.run import run


class _Muster(click.Group):
    """Prints what is wrong in one line, and a traceback only when it is asked for."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; our own errors become a line and an exit code."""
        from conf.errors import ConfigurationError
        from jobs.errors import JobError, WrongUse
        from pipelines.errors import PipelineError
        from schemas.errors import SchemaError
        from transforms.errors import TransformError

        try:
            return super().invoke(ctx)
        except (ConfigurationError, WrongUse) as error:
            _stop(ctx, error, 2)
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

    \b
    Example:
      muster run solicit --program product-reviews --from 2017-03-01 --to 2017-03-31
    """


# Records go to each run's log. Without this, the first library that warns through the root logger
# would install a handler of its own that prints everything.
logging.getLogger().addHandler(logging.NullHandler())
logging.getLogger("apache_beam").setLevel(logging.WARNING)

main.add_command(jobs)
main.add_command(run)
main.add_command(candidates)
