"""Time Muster against its peers: ``python -m benchmarks --rows 4000000 --only polars_script``."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.comparisons import COMPARISONS, ON_REQUEST, Setup
from benchmarks.harness import ContenderError, DisagreementError, Line, Result, save

RESULTS = Path(__file__).parent / "results"


def table(results: list[Result]) -> Table:
    shown = Table("what", "value", "unit", "peer", "ratio", "goal", "met", title="Muster and peers")
    for row in results:
        met = "" if row.met is None else "yes" if row.met else "NO"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        value = f"{row.value:,.1f}"
        shown.add_row(row.name, value, row.unit, row.peer or "", ratio, row.goal or "", met)
    return shown


@click.command()
@click.option("--rows", type=click.IntRange(min=1_000), default=4_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option(
    "--only", type=click.Choice([*COMPARISONS, *ON_REQUEST]), multiple=True, help="Repeatable."
)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=False)
def main(rows: int, rounds: int, only: tuple[str, ...], results: Path) -> None:
    """Run the comparisons, print a table, write results/NAME.json; exit 1 on a goal missed."""
    console = Console()

    def progress(name: str, line: Line) -> None:
        figures = f"{line['seconds']:.2f} s, {line['peak_rss_mb']:.0f} MB"
        console.print(f"{name}: {figures}", highlight=False)

    found: list[Result] = []
    for name in only or tuple(COMPARISONS):
        comparison = {**COMPARISONS, **ON_REQUEST}[name]
        try:
            rows_of_table = comparison(Setup(rows, rounds, progress))
        except (ContenderError, DisagreementError) as error:
            raise click.ClickException(f"{name}: {error}") from error
        save(rows_of_table, results / f"{name}.json")
        found += rows_of_table
    console.print(table(found))
    if any(row.met is False for row in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
