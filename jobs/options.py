"""Options and types that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click


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


def out_option(what: str) -> Callable[[Any], Any]:
    """Return the option ``--out``, which means the same folder everywhere."""
    return click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("out"),
        show_default=True,
        help=what,
    )
