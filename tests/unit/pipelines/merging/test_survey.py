"""What counts: the ledger says it of what runs wrote; of what others put there, all does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipelines.ledger.ledger import Ledger
from pipelines.ledger.record import Event
from pipelines.merging.archive import archive
from pipelines.merging.generation import Place, write_receipts
from pipelines.merging.parts import Fragment
from pipelines.merging.survey import Partition, day_of, months_of, survey, unit_name
from tests.unit.pipelines.merging.lakes import (
    CODES,
    DAY,
    MONTH,
    NEXT_DAY,
    SmallLake,
    append,
    foreign,
    rows,
    said,
)

UNIT = f"solicit/reviews/{DAY}"
ATTEMPT: tuple[Event, ...] = ("planned", "leased")
DONE: tuple[Event, ...] = (*ATTEMPT, "published", "succeeded")


@pytest.fixture
def ledger(small: SmallLake) -> Ledger:
    return Ledger(small.lake.storage)


def wrote(small: SmallLake, name: str, day: str = DAY, program: str = "reviews") -> Fragment:
    """Put a file where a run of the program puts its own."""
    key = f"fragments/{CODES.name}/{program}/{day}/{name}.avro"
    data = foreign(rows([len(name)]))
    small.lake.storage.write(key, [data])
    found = small.lake.storage.look(key)
    assert found is not None
    return Fragment(key, program, day, found.size, found.etag, f"sha of {name}", 1)


def landed(fragment: Fragment) -> Fragment:
    return replace(fragment, sha256=None, records=None)


def surveyed(small: SmallLake, ledger: Ledger) -> Partition:
    return survey(small.lake.storage, ledger, CODES.name, [MONTH])[MONTH]


def merge(small: SmallLake, ledger: Ledger, *fragments: Fragment, **details: Any) -> None:
    """Publish a generation that holds the rows of some fragments, and archive those."""
    merged = small.merge(fragments)
    write_receipts(small.lake.storage, merged.files, (), {})
    place = Place(CODES.name, MONTH, 1, "ab")
    receipts = [file.receipt for file, _ in merged.files]
    about = {"generation": 1, "location": place.location, "receipts": receipts, **details}
    append(ledger, unit_name(CODES.name, MONTH), *DONE, **about)
    archive(small.lake.storage, [s for _, sources in merged.files for s in sources])


def test_nothing_is_an_empty_month(small: SmallLake, ledger: Ledger) -> None:
    assert surveyed(small, ledger) == Partition(CODES.name, MONTH)
    assert survey(small.lake.storage, ledger, CODES.name, []) == {}


def test_the_published_fragments_count(small: SmallLake, ledger: Ledger) -> None:
    a, b, killed = (wrote(small, name) for name in ("a", "bb", "killed"))
    append(ledger, UNIT, *DONE, fragments=said(a, b))
    found = surveyed(small, ledger)
    assert found.fragments == (a, b)
    assert found.strays == (killed.key,)
    assert (found.problems, found.files, found.generation) == ((), (), 0)


@pytest.mark.parametrize("events", [ATTEMPT, (*ATTEMPT, "failed"), ("planned",)])
def test_fragments_of_a_first_attempt_do_not(
    small: SmallLake, ledger: Ledger, events: tuple[Event, ...]
) -> None:
    a = wrote(small, "a")
    append(ledger, UNIT, *events)
    found = surveyed(small, ledger)
    assert (found.fragments, found.strays) == ((), (a.key,))


@pytest.mark.parametrize("events", [ATTEMPT, (*ATTEMPT, "failed"), ("planned", "cancelled")])
def test_a_later_attempt_that_failed_leaves_what_was_published(
    small: SmallLake, ledger: Ledger, events: tuple[Event, ...]
) -> None:
    a, later = wrote(small, "a"), wrote(small, "later")
    append(ledger, UNIT, *DONE, fragments=said(a))
    append(ledger, UNIT, *events, run="s")
    found = surveyed(small, ledger)
    assert (found.fragments, found.strays) == ((a,), (later.key,))


@pytest.mark.parametrize("events", [DONE, DONE[:-1]])
def test_the_latest_publication_counts(
    small: SmallLake, ledger: Ledger, events: tuple[Event, ...]
) -> None:
    a, later = wrote(small, "a"), wrote(small, "later")
    append(ledger, UNIT, *DONE, fragments=said(a))
    append(ledger, UNIT, *events, run="s", fragments=said(later))
    found = surveyed(small, ledger)
    assert (found.fragments, found.strays) == ((later,), (a.key,))


def test_files_of_other_programs_all_count(small: SmallLake, ledger: Ledger) -> None:
    """Their day is not one of the program's units, or the program has none."""
    own = wrote(small, "a")
    append(ledger, UNIT, *DONE, fragments=said(own))
    other, day = wrote(small, "b", program="other"), wrote(small, "c", NEXT_DAY)
    found = surveyed(small, ledger)
    assert found.fragments == (landed(other), own, landed(day))
    assert found.fragments[0].version == other.etag
    assert own.version == own.sha256


@pytest.mark.parametrize(
    "name", ["_SUCCESS", ".part.avro", "_part.avro", "data.parquet", "a.avro.tmp"]
)
def test_other_names_are_strays(small: SmallLake, ledger: Ledger, name: str) -> None:
    key = f"fragments/{CODES.name}/landed/{DAY}/{name}"
    small.lake.storage.write(key, [b"x"])
    assert surveyed(small, ledger).strays == (key,)
    assert surveyed(small, ledger).fragments == ()


def test_other_places_are_passed_over(small: SmallLake, ledger: Ledger) -> None:
    for key in (
        "landed/a.avro",
        f"landed/{DAY}/deep/a.avro",
        "landed/2017-04-01/a.avro",
        f"x/{DAY}",
    ):
        small.lake.storage.write(f"fragments/{CODES.name}/{key}", [b"x"])
    small.lake.storage.write(f"fragments/candidate/landed/{DAY}/a.avro", [b"x"])
    found = surveyed(small, ledger)
    assert (found.fragments, found.strays, found.problems) == ((), (), ())
    assert months_of(small.lake.storage, CODES.name) == ("2017-04",)


def test_a_fragment_that_is_nowhere_is_named(small: SmallLake, ledger: Ledger) -> None:
    a, gone = wrote(small, "a"), wrote(small, "gone")
    other = replace(gone, key=gone.key.replace(CODES.name, "candidate"))
    append(ledger, UNIT, *DONE, fragments=said(a, gone, other))
    small.lake.storage.delete([gone.key])
    found = surveyed(small, ledger)
    assert found.fragments == (a,)
    [problem] = found.problems
    assert str(problem) == f"{gone.key}: expected by the ledger, found nowhere"
    assert problem.version == gone.sha256


def test_what_is_merged_is_not_merged_again(small: SmallLake, ledger: Ledger) -> None:
    own = replace(wrote(small, "a"), sha256=None)
    other = landed(wrote(small, "b", program="other"))
    append(ledger, UNIT, *DONE, fragments=said(own))
    merge(small, ledger, own, other, deferred=[DAY])
    found = surveyed(small, ledger)
    assert (found.fragments, found.problems, found.gone) == ((), (), frozenset())
    assert found.merged == {own.key, other.key}
    assert (found.generation, found.location) == (1, f"merged/{CODES.name}/{MONTH}/g000001-ab")
    assert [file.records for file in found.files] == [2]
    assert found.details["deferred"] == [DAY]


def test_what_waits_for_the_archive_is_merged(small: SmallLake, ledger: Ledger) -> None:
    """The merge died between its decision and the archive."""
    own, other = replace(wrote(small, "a"), sha256=None), landed(wrote(small, "b", program="other"))
    append(ledger, UNIT, *DONE, fragments=said(own))
    merge(small, ledger, own, other)
    for fragment in (own, other):
        small.lake.storage.copy(fragment.key.replace("fragments", "archive", 1), fragment.key)
    found = surveyed(small, ledger)
    assert (found.fragments, found.problems) == ((), ())


def test_another_file_of_a_merged_name_is_named(small: SmallLake, ledger: Ledger) -> None:
    """A program that uses its names again: nobody could tell the two apart in receipts."""
    other = landed(wrote(small, "b", program="other"))
    merge(small, ledger, other)
    small.lake.storage.write(other.key, [foreign(rows(range(3)))])
    found = surveyed(small, ledger)
    assert found.fragments == ()
    [problem] = found.problems
    expected = f"expected a new name, found that of a file of {other.size:,} bytes that was merged"
    assert expected in problem.what
    assert problem.key == other.key


def test_merged_fragments_of_a_unit_made_anew_are_gone(small: SmallLake, ledger: Ledger) -> None:
    a, same = (replace(wrote(small, name), sha256=None) for name in ("a", "same"))
    append(ledger, UNIT, *DONE, fragments=said(a, same))
    merge(small, ledger, a, same)
    new = wrote(small, "new")
    append(ledger, UNIT, *DONE, run="s", fragments=said(same, new))
    found = surveyed(small, ledger)
    assert found.gone == {a.key}
    assert found.fragments == (new,)
    assert found.problems == ()


def test_each_month_is_looked_at_for_itself(small: SmallLake, ledger: Ledger) -> None:
    april = wrote(small, "a", "2017-04-01")
    march = wrote(small, "b")
    append(ledger, UNIT, *DONE, fragments=said(march))
    append(ledger, "solicit/reviews/2017-04-01", *ATTEMPT)
    found = survey(small.lake.storage, ledger, CODES.name, ["2017-04", MONTH, MONTH])
    assert list(found) == [MONTH, "2017-04"]
    assert found[MONTH].fragments == (march,)
    assert found["2017-04"].strays == (april.key,)
    assert day_of(april.key) == "2017-04-01"
