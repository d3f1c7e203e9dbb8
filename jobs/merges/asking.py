"""What commands that look at a whole lake are asked: its environment, its record types."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.options import as_json_option, environment_option, out_option, with_options

if TYPE_CHECKING:
    from conf.environment import Environment


types_option = click.option(
    "--type",
    "types",
    multiple=True,
    help="A record type; may be repeated. Every type of the lake without it.",
)


def engine_option(what: str) -> Callable[[Any], Any]:
    """Return the option ``--engine``."""
    return click.option(
        "--engine",
        type=click.Choice(["local", "spark"]),
        default="local",
        show_default=True,
        help=what,
    )


def lake_options(command: Any) -> Any:
    """Add the options that say which lake is meant, and what of it."""
    options: tuple[Callable[[Any], Any], ...] = (
        types_option,
        engine_option("A Hive catalog is asked through Spark."),
        environment_option,
        out_option("Where local runs write."),
        as_json_option,
    )
    return with_options(command, options)


def lake_asked(
    types: tuple[str, ...], environment: str, out: Path
) -> tuple[Environment, tuple[str, ...]]:
    """Return the environment and the record types that are meant.

    Raises:
        ConfigurationError: the environment's file is wrong.
        UnknownRecordType: a type is not registered.
        NothingFound: no type is named, and the lake has none.
    """
    from conf.load import load_environment
    from jobs.merges.loading import types_asked
    from schemas.registry import record_type

    for name in types:
        record_type(name)
    settings = load_environment(environment).with_out(out)
    return settings, types_asked(types, environment, str(out))
