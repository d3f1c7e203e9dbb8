"""What every way into Muster shares: how a command ends, and that nothing logs by itself."""

from __future__ import annotations

import logging
import sys
from typing import NoReturn

import click


class Told(click.Command):
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


def quiet_libraries() -> None:
    """Keep libraries from printing what they log.

    Records go to each run's log. Without this, the first library that warns through the root logger
    would install a handler of its own that prints everything.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("apache_beam").setLevel(logging.WARNING)
