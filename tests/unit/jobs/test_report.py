from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from jobs.report import render, write_report
from jobs.results import Balance, Histogram, Rejected, RunResult, StageCount, UnitResult

SANE = Rejected("TRUST", "quantity-sane", "QUANTITY_OUT_OF_RANGE", 1234)
EDGES = tuple(n / 20 for n in range(21))
DAY = UnitResult(
    "2017-03-05",
    "published",
    Balance(read=4321, written=3000, deduplicated=87, rejected=(SANE,)),
    (StageCount("conform", 4321, 4321, 0, 0.25), StageCount("score:value", 3000, 3000, 0, 0.0)),
    (
        Histogram.between("score.value", EDGES, (150,) * 20),
        Histogram("band", ("low", "high"), (2999, 1)),
    ),
    2,
    123_456,
)
VOID = {"meta", "link"}


class Page(HTMLParser):
    """Collects what a page refers to, its text, and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text = " ".join((self.text + " " + data).split())


def run(*units: UnitResult) -> RunResult:
    chain = ("conform", "quantity-sane", "dedupe")
    return RunResult(
        *("solicit-7", "solicit", "reviews", "local", "4f0c6c8e", "0.1.0"), units, 2.0, chain
    )


def year(days: int) -> tuple[UnitResult, ...]:
    first = date(2017, 1, 1)
    return tuple(replace(DAY, partition=(first + timedelta(n)).isoformat()) for n in range(days))


def test_the_page_says_what_ran_and_where_rows_went() -> None:
    text = Page(render(run(DAY))).text
    for words in (
        *("solicit-7", "reviews", "4f0c6c8e", "0.1.0", "local", "1 unit published"),
        *("4,321", "3,000", "69.4 %", "the sheet balances", "2,160 rows/s"),
        *("quantity-sane trust QUANTITY_OUT_OF_RANGE 1,234 28.6 %", "dedupe duplicates DUPLICATE"),
        *("score.value", "band", "2,999 100.0 %", "1 <0.1 %", "conform 250 ms 100.0 %", "123 kB"),
    ):
        assert words in text
    assert "What failed" not in text


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = Page(render(run(*year(100))))
    refers = [value for name, value in page.attributes if name in ("src", "href", "action")]
    assert refers == ["data:,"]
    assert not re.search(r"https?:|@import|url\(", render(run(*year(3))))
    policies = [value or "" for name, value in page.attributes if name == "content"]
    assert any(policy.startswith("default-src 'none';") for policy in policies)


def test_failures_come_first_with_their_messages() -> None:
    failed = UnitResult("2017-03-06", "failed", Balance(read=9), error="no such table")
    skipped = UnitResult("2017-03-07", "skipped", error="another run holds it")
    text = Page(render(run(DAY, failed, skipped))).text
    assert "1 of 3 units failed" in text
    assert text.index("no such table") < text.index("another run holds it") < text.index("Balance")
    assert "9 rows of failed units" in text


def test_a_unit_that_is_off_is_named() -> None:
    off = replace(DAY, balance=replace(DAY.balance, written=2990))
    text = Page(render(run(DAY, off))).text
    assert "balance is off by 10 rows" in text
    assert "rows of units that are off" in text


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x>', "{{ 7 * 7 }}"])
def test_names_from_the_data_are_text(evil: str) -> None:
    unit = UnitResult(
        evil,
        "failed",
        Balance(read=1, rejected=(Rejected(evil, evil, evil, 1),)),
        (StageCount(evil, 1, 1, 0, 0.1),),
        (Histogram(evil, (evil,), (1,)), Histogram(evil + "2", (evil,) * 9, (1,) * 9)),
        error=evil,
    )
    result = RunResult(evil, evil, evil, evil, evil, evil, (unit,), 1.0, (evil,))
    page = Page(render(result))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.text.count(" ".join(evil.split())) > 10


@pytest.mark.parametrize(
    ("days", "drawn"), [(0, False), (1, False), (62, False), (63, True), (366, True)]
)
def test_any_number_of_units_is_drawn_and_listed(days: int, drawn: bool) -> None:
    text = render(run(*year(days)))
    page = Page(text)
    assert (text.count('class="calendar"') > 0) == drawn
    assert text.count('aria-label="balanced"') == days
    assert ("nan" in page.text.lower(), "None" in page.text) == (False, False)


def test_units_that_are_no_days_are_drawn_as_bars() -> None:
    units = tuple(replace(DAY, partition=f"shard-{n:05}") for n in range(100))
    text = render(run(*units))
    assert 'class="calendar"' not in text
    assert "shard-00099: 4,321 read, 3,000 written, published" in text


def test_every_picture_and_table_says_what_it_is() -> None:
    text = render(run(*year(70)))
    svgs = re.findall(r"<svg[^>]*>", text)
    legend = [svg for svg in svgs if "aria-label" not in svg]
    assert len(legend) == 1  # the legend is hidden from readers, as its words say nothing alone
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    bands = [table for table in tables if "<caption>" not in table]
    assert len(bands) == 1  # the bands' table stands in a figure that is named


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "runs" / name / "report.html" for name in "ab"]
    for path in paths:
        write_report(run(*year(70)), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_text("utf-8") == render(run(*year(70)))


def test_what_an_earlier_run_made_is_not_counted_as_this_ones_work() -> None:
    made, before = DAY, replace(DAY, partition="2017-03-06", status="unchanged")
    result = replace(run(made, before), wall_seconds=2.0)
    assert result.rows_per_second == 4321 / 2
    text = Page(render(result)).text
    assert "1 unit published, 1 unchanged" in text
    assert "2,160 rows/s" in text
    again = replace(run(before), wall_seconds=2.0)
    assert "rows/s" not in Page(render(again)).text
