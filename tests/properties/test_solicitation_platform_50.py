from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.program import AvroConnector, DateRange, FieldMappings
from transforms.conform import Conform
from transforms.kernel import UnitContext

LOGICAL = datetime(2017, 3, 1, 23, 59, 59, 999_000, tzinfo=UTC)
CONTEXT = UnitContext("reviews", "2017-03-01", "run", LOGICAL)
# where ranges begin and end, so that an offset read wrongly moves a date across
EDGES = [datetime(2017, 1, 1), datetime(2017, 2, 1), datetime(2017, 3, 2), datetime(2017, 3, 9)]
NEARBY = st.timedeltas(timedelta(hours=-15), timedelta(hours=15))
WELL_FORMED = st.builds(
    lambda moment, minutes, spec, zulu: (
        moment.replace(tzinfo=UTC).isoformat(timespec=spec).replace("+00:00", "Z")
        if zulu
        else moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat(timespec=spec)
    ),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
    | st.builds(lambda edge, hours: edge + hours, st.sampled_from(EDGES), NEARBY),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"]),
    st.booleans(),
)
DAYS = st.dates(date(2016, 12, 20), date(2017, 3, 20)).map(date.isoformat)


@st.composite
def broken(draw: st.DrawFn) -> str:
    """A well-formed instant with one thing wrong."""
    text = draw(WELL_FORMED)
    month = f"{draw(st.sampled_from([0, 13, 99])):02}"
    return draw(
        st.sampled_from(
            [
                text.replace("T", " "),
                text.replace("-", "/", 2),
                text[:5] + month + text[7:],
                text[:8] + "32" + text[10:],
                "2017-02-30" + text[10:],
                text[:11] + "24" + text[13:],
                text[:14] + "60" + text[16:],
                text[:10] + "T",
                text[1:],
                text + "!",
                "x" + text,
            ]
        )
    )


RANGES = st.builds(
    DateRange,
    earliest=st.sampled_from([day.date() for day in EDGES[:2]]),
    latest_days_ahead=st.sampled_from([0, 7]),
)


def expected(text: str, well_formed: bool, allowed: DateRange) -> str:
    if not well_formed:
        return "DATE_INVALID"
    moment = datetime.fromisoformat(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    earliest = datetime.combine(allowed.earliest, time(), UTC)
    beyond = LOGICAL + timedelta(milliseconds=1, days=allowed.latest_days_ahead)
    return "" if earliest <= moment < beyond else "DATE_OUT_OF_RANGE"


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(WELL_FORMED | DAYS, st.just(True)) | st.tuples(broken(), st.just(False)),
        min_size=1,
        max_size=12,
    ),
    RANGES,
)
def test_a_date_is_iso_8601_and_in_range_or_its_record_is_rejected(
    dates: list[tuple[str, bool]], allowed: DateRange
) -> None:
    """Feature: solicitation-platform, Property 50: Date format validation"""
    connector = AvroConnector(
        connector_type="avro",
        path="{date}",
        source_id="shop",
        subject_type="product",
        marketplace="US",
        date_range=allowed,
        field_mappings=FieldMappings(customer_id="who", subject_id="who", event_date="when"),
    )
    frame = pl.DataFrame({"who": "h", "when": [text for text, _ in dates]}).with_row_index("_row")
    split = Conform(connector, ("US",))(frame, CONTEXT)
    codes = dict.fromkeys(split.passed["_row"], "") | dict(
        split.rejected.select("_row", "reasonCode").iter_rows()
    )
    assert codes == {row: expected(*one, allowed) for row, one in enumerate(dates)}
