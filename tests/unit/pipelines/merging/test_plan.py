"""Which fragments go into which files, decided from what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipelines.merging.parts import Fragment, Kind, MergedFile, Piece, Segment
from pipelines.merging.plan import MergePlan, Rules, plan, stem
from pipelines.merging.receipts import receipt_key
from pipelines.merging.survey import Partition
from tests.unit.pipelines.merging.lakes import segment

MONTH = "2017-03"
DAYS = tuple(f"2017-03-{n:02d}" for n in range(1, 6))
FIRST, SECOND, THIRD, *_ = DAYS
PLACE = f"merged/candidate/{MONTH}/g000001-ab"
RULES = Rules("daily", 1, "snappy", target_bytes=1000, limit_bytes=4000)
MONTHLY = replace(RULES, kind="monthly")


def fragment(day: str, name: str, size: int = 100) -> Fragment:
    return Fragment(f"fragments/candidate/p/{day}/{name}.avro", "p", day, size, "etag", name * 4, 1)


def merged(kind: Kind, name: str, *segments: Segment, **changes: Any) -> MergedFile:
    key = f"{PLACE}/{name}.avro"
    size = 50 + sum(each.length for each in segments)
    made = MergedFile(key, kind, size, "etag", 1, "snappy", segments, receipt_key(key))
    return replace(made, **changes)


def part(day: str, name: str, length: int = 100, **changes: Any) -> Segment:
    return segment(fragment(day, name).key, day, length, **changes)


def partition(
    fragments: Sequence[Fragment] = (),
    files: Sequence[MergedFile] = (),
    gone: Sequence[Fragment] = (),
    **details: Any,
) -> Partition:
    keys = frozenset(each.key for each in gone)
    return Partition(
        "candidate", MONTH, tuple(fragments), tuple(files), 1, PLACE, keys, details=details
    )


def states(made: MergePlan) -> dict[str, str]:
    return {day.day: day.state for day in made.days}


def why(made: MergePlan, day: str) -> str:
    return next(each.why for each in made.days if each.day == day)


def names(made: MergePlan) -> dict[str, list[str]]:
    """Return each output's sources by the last part of their keys."""
    return {
        o.stem: [p.key.rpartition("/")[2].removesuffix(".avro") for p in o.pieces]
        for o in made.outputs
    }


A, B, C, D = (fragment(FIRST, n) for n in "abcd")
E, F = fragment(SECOND, "e"), fragment(SECOND, "f")
DAY_ONE = merged("daily", "candidate_2017_03_01", part(FIRST, "a"), part(FIRST, "b"))
DAY_TWO = merged("daily", "candidate_2017_03_02", part(SECOND, "e"))
WHOLE_MONTH = merged(
    "monthly", "candidate_2017_03", part(FIRST, "a"), part(FIRST, "b"), part(SECOND, "e")
)


def test_every_day_gets_its_file() -> None:
    made = plan(partition([B, E, A]), RULES, DAYS[:3])
    assert names(made) == {"candidate_2017_03_01": ["a", "b"], "candidate_2017_03_02": ["e"]}
    assert states(made) == {FIRST: "merge", SECOND: "merge", THIRD: "nothing"}
    assert why(made, FIRST) == "not merged yet"
    assert [day.files for day in made.days] == [2, 1, 0]
    assert (made.carried, made.taken, made.deferred) == ((), (A, B, E), ())
    assert (made.size, made.makes) == (300, True)
    assert {o.kind for o in made.outputs} == {"daily"}


def test_days_that_were_not_asked_for_stay_as_they_are() -> None:
    late = fragment(SECOND, "late", 1000)
    made = plan(partition([A, late], [DAY_TWO]), RULES, [FIRST, "2017-04-01"])
    assert names(made) == {"candidate_2017_03_01": ["a"]}
    assert made.carried == (DAY_TWO,)
    assert states(made) == {FIRST: "merge"}


def test_a_merged_day_is_done() -> None:
    made = plan(partition([], [DAY_ONE]), RULES, [FIRST])
    assert states(made) == {FIRST: "done"}
    assert (made.makes, made.carried, made.outputs) == (False, (DAY_ONE,), ())


def test_order_is_by_day_and_fragment_whatever_way_they_came() -> None:
    fragments = [E, C, A, F, B]
    daily = merged("daily", "candidate_2017_03_01", part(FIRST, "a"), part(FIRST, "c"))
    once = plan(partition(fragments), MONTHLY, DAYS)
    twice = plan(partition([E, F, B], [daily]), MONTHLY, DAYS)
    assert names(once) == names(twice) == {"candidate_2017_03": ["a", "b", "c", "e", "f"]}


def test_what_is_large_is_packed_into_several_files() -> None:
    some = [fragment(FIRST, n, 600) for n in "abcdefg"]
    made = plan(partition(some), RULES, [FIRST])
    assert names(made) == {
        "candidate_2017_03_01-000": ["a", "b"],
        "candidate_2017_03_01-001": ["c"],
        "candidate_2017_03_01-002": ["d", "e"],
        "candidate_2017_03_01-003": ["f", "g"],
    }
    assert all(o.size <= 1.5 * RULES.target_bytes + 600 for o in made.outputs)


def test_a_large_fragment_goes_in_as_it_was_cut() -> None:
    large = fragment(FIRST, "large", 3000)
    cuts = {large.key: [Piece(fragment=large, start=n, end=n + 1000) for n in (0, 1000, 2000)]}
    made = plan(partition([large, A]), RULES, [FIRST], cuts)
    assert names(made) == {
        "candidate_2017_03_01-000": ["a", "large"],
        "candidate_2017_03_01-001": ["large"],
        "candidate_2017_03_01-002": ["large"],
    }
    assert made.taken == (A, large)
    assert [[p.start for p in o.pieces][-1] for o in made.outputs] == [0, 1000, 2000]


class TestLateFragments:
    late = fragment(FIRST, "late", 10)

    def made(self, **changes: Any) -> MergePlan:
        return plan(partition([self.late], [DAY_ONE]), replace(RULES, **changes), [FIRST])

    def test_few_wait(self) -> None:
        made = self.made(late_ratio=0.051)
        assert states(made) == {FIRST: "waits"}
        expected = "late: 5.0% of the day's bytes, below 5.1% (--force merges them)"
        assert why(made, FIRST) == expected
        assert (made.makes, made.carried, made.taken) == (False, (DAY_ONE,), ())
        assert made.days[0].files == 1

    @pytest.mark.parametrize("changes", [{"late_ratio": 0.05}, {"late_ratio": 1.0, "force": True}])
    def test_enough_are_merged_with_their_day(self, changes: dict[str, Any]) -> None:
        made = self.made(**changes)
        assert names(made) == {"candidate_2017_03_01": ["a", "b", "late"]}
        assert why(made, FIRST) == "late: 5.0% of the day's bytes"
        assert made.carried == ()
        assert [p.copied for p in made.outputs[0].pieces] == [True, True, False]

    def test_what_a_bounded_run_left_is_not_late(self) -> None:
        of = partition([self.late], [DAY_ONE], deferred=[FIRST])
        made = plan(of, replace(RULES, late_ratio=1.0), [FIRST])
        assert states(made) == {FIRST: "merge"}
        assert why(made, FIRST) == "left by a run that was bounded"

    def test_they_get_a_file_beside_a_merged_month(self) -> None:
        """The month's file is not written anew for a few rows of one day."""
        made = plan(partition([self.late], [WHOLE_MONTH]), RULES, [FIRST])
        assert names(made) == {"candidate_2017_03_01": ["late"]}
        assert made.carried == (WHOLE_MONTH,)
        assert made.outputs[0].kind == "daily"

    def test_it_stays_merged_even_when_all_its_days_are_late(self) -> None:
        made = plan(partition([self.late, F], [WHOLE_MONTH]), RULES, DAYS)
        assert names(made) == {"candidate_2017_03_01": ["late"], "candidate_2017_03_02": ["f"]}
        assert made.carried == (WHOLE_MONTH,)

    def test_they_go_into_the_month_when_it_is_merged(self) -> None:
        waiting = replace(MONTHLY, late_ratio=0.5)
        alone = plan(partition([self.late], [WHOLE_MONTH]), waiting, DAYS)
        assert states(alone)[FIRST] == "waits"
        assert (alone.makes, alone.taken) == (False, ())
        other = plan(partition([self.late, fragment(THIRD, "x")], [WHOLE_MONTH]), waiting, DAYS)
        assert states(other) == {
            FIRST: "merge",
            SECOND: "merge",
            THIRD: "merge",
            DAYS[3]: "nothing",
            DAYS[4]: "nothing",
        }
        assert names(other) == {"candidate_2017_03": ["a", "b", "late", "e", "x"]}
        assert why(other, FIRST) == "late, and the month is merged anyway"
        assert {f.key for f in other.taken} == {self.late.key, fragment(THIRD, "x").key}


class TestBounds:
    some = (A, B, C, E, F)

    def made(self, **changes: Any) -> MergePlan:
        return plan(partition(self.some), replace(RULES, **changes), DAYS[:2])

    def test_files(self) -> None:
        made = self.made(most_files=2)
        assert made.taken == (A, B)
        assert states(made) == {FIRST: "merge", SECOND: "deferred"}
        assert why(made, FIRST) == "not merged yet; 1 files are left for the next run"
        assert made.deferred == (FIRST, SECOND)
        assert [day.files for day in made.days] == [2, 2]

    def test_bytes(self) -> None:
        assert self.made(most_bytes=399).taken == (A, B, C)
        made = self.made(most_bytes=400)
        assert made.taken == (A, B, C, E)
        assert made.deferred == (SECOND,)

    def test_a_run_gets_on_with_one_file_at_least(self) -> None:
        made = self.made(most_bytes=1)
        assert made.taken == (A,)
        assert made.deferred == (FIRST, SECOND)

    def test_wide_ones_bound_nothing(self) -> None:
        assert self.made(most_files=5, most_bytes=500) == self.made()

    def test_they_hold_for_what_a_day_is_late_by(self) -> None:
        made = plan(partition([C, D], [DAY_ONE]), replace(RULES, most_files=1), [FIRST])
        assert names(made) == {"candidate_2017_03_01": ["a", "b", "c"]}
        assert made.deferred == (FIRST,)

    def test_runs_in_turn_take_everything_once(self) -> None:
        """Also what is left of a day and would be too little to be merged as late."""
        rules = replace(RULES, most_files=2, late_ratio=1.0)
        left, files, deferred = list(self.some), tuple[MergedFile, ...](), tuple[str, ...]()
        for taken in ((A, B), (C, E), (F,)):
            of = partition(left, files, deferred=deferred)
            made = plan(of, rules, DAYS[:2])
            assert made.taken == taken
            written = [
                merged("daily", o.stem, *(part(p.day, p.key[-6]) for p in o.pieces))
                for o in made.outputs
            ]
            files, deferred = (*made.carried, *written), made.deferred
            left = [f for f in left if f not in taken]
        assert deferred == ()
        assert sorted(s.fragment for f in files for s in f.segments) == [f.key for f in self.some]


class TestUnitsMadeAnew:
    def test_the_days_file_is_written_without_the_former_rows(self) -> None:
        of = partition([C], [DAY_ONE, DAY_TWO], gone=[A])
        made = plan(of, replace(RULES, late_ratio=1.0), DAYS[:2])
        assert names(made) == {"candidate_2017_03_01": ["b", "c"]}
        assert why(made, FIRST) == "made anew: 1 merged fragments count no more"
        assert made.carried == (DAY_TWO,)

    def test_nothing_may_be_left_of_it(self) -> None:
        made = plan(partition([], [DAY_ONE, DAY_TWO], gone=[A, B]), RULES, DAYS[:2])
        assert (made.makes, names(made), made.carried) == (True, {}, (DAY_TWO,))

    def test_a_merged_month_is_written_without_them(self) -> None:
        """And what is new gets the day's file, beside it."""
        other = merged("monthly", "candidate_2017_03-001", part(SECOND, "f"))
        made = plan(partition([C], [WHOLE_MONTH, other], gone=[A]), RULES, [FIRST])
        assert names(made) == {"candidate_2017_03": ["b", "e"], "candidate_2017_03_01": ["c"]}
        assert {o.stem: o.kind for o in made.outputs} == {
            "candidate_2017_03": "monthly",
            "candidate_2017_03_01": "daily",
        }
        assert made.carried == (other,)

    def test_other_days_stay_until_they_are_asked_for(self) -> None:
        made = plan(partition([F], [WHOLE_MONTH], gone=[A, E]), RULES, [SECOND])
        assert names(made) == {"candidate_2017_03": ["a", "b"], "candidate_2017_03_02": ["f"]}
        assert states(made) == {SECOND: "merge"}

    def test_a_month_is_made_anew(self) -> None:
        made = plan(partition([C], [WHOLE_MONTH], gone=[A]), MONTHLY, DAYS)
        assert names(made) == {"candidate_2017_03": ["b", "c", "e"]}


class TestMonths:
    def test_days_become_a_month(self) -> None:
        made = plan(partition([C], [DAY_ONE, DAY_TWO]), MONTHLY, DAYS)
        assert names(made) == {"candidate_2017_03": ["a", "b", "c", "e"]}
        assert (made.carried, made.outputs[0].kind) == ((), "monthly")
        assert states(made)[SECOND] == "merge"
        assert why(made, SECOND) == "merged by day"

    def test_merged_days_alone_become_a_month(self) -> None:
        made = plan(partition([], [DAY_ONE, DAY_TWO]), MONTHLY, DAYS)
        assert names(made) == {"candidate_2017_03": ["a", "b", "e"]}
        assert made.makes
        assert all(piece.copied for piece in made.outputs[0].pieces)

    def test_a_merged_month_is_done(self) -> None:
        made = plan(partition([], [WHOLE_MONTH]), MONTHLY, DAYS)
        assert (made.makes, made.carried, made.outputs) == (False, (WHOLE_MONTH,), ())
        assert states(made)[FIRST] == "done"

    def test_an_empty_month_is_nothing(self) -> None:
        made = plan(partition(), MONTHLY, DAYS)
        assert set(states(made).values()) == {"nothing"}
        assert not made.makes

    def test_what_is_of_another_codec_is_made_anew(self) -> None:
        made = plan(partition([], [DAY_ONE]), replace(MONTHLY, codec="zstandard"), DAYS)
        assert [piece.copied for piece in made.outputs[0].pieces] == [False, False]

    def test_files_of_an_older_schema_are_carried_or_rewritten(self) -> None:
        newer = replace(MONTHLY, version=2)
        carried = plan(partition([C], [DAY_ONE, DAY_TWO]), newer, DAYS)
        assert (carried.carried, names(carried)) == (
            (DAY_ONE, DAY_TWO),
            {"candidate_2017_03": ["c"]},
        )
        resolved = plan(
            partition([C], [DAY_ONE, DAY_TWO]), replace(newer, schema_policy="resolve"), DAYS
        )
        assert names(resolved) == {"candidate_2017_03": ["a", "b", "c", "e"]}
        assert not any(piece.copied for piece in resolved.outputs[0].pieces)

    def test_a_month_of_nothing_but_older_files_is_done(self) -> None:
        """Else every run would make a generation that is the same as the last."""
        made = plan(partition([], [DAY_ONE]), replace(MONTHLY, version=2), DAYS)
        assert not made.makes


def test_late_rows_of_a_newer_schema_get_a_file_beside_the_older() -> None:
    """Under ``current-only`` what was merged before is not rewritten, nor does it stop the day."""
    made = plan(partition([C], [DAY_ONE]), replace(RULES, version=2), [FIRST])
    assert made.carried == (DAY_ONE,)
    assert names(made) == {"candidate_2017_03_01-000": ["c"]}


class TestNames:
    def test_files_that_are_carried_keep_theirs(self) -> None:
        """A monthly file of an older schema is carried into the generation of a new one."""
        old = merged("monthly", "candidate_2017_03", part(FIRST, "a"))
        also = merged("monthly", "candidate_2017_03-001", part(FIRST, "b"))
        some = [fragment(SECOND, n, 800) for n in "xyz"]
        made = plan(partition(some, [old, also]), replace(MONTHLY, version=2), DAYS)
        assert made.carried == (old, also)
        assert list(names(made)) == ["candidate_2017_03-000", "candidate_2017_03-002"]

    def test_one_file_moves_on_too(self) -> None:
        old = merged("monthly", "candidate_2017_03", part(FIRST, "a"))
        made = plan(partition([C], [old]), replace(MONTHLY, version=2), DAYS)
        assert list(names(made)) == ["candidate_2017_03-000"]

    def test_names_that_a_file_may_roll_to_are_taken_too(self) -> None:
        """What outgrows the limit goes on in <name>.1.avro: that must not be a carried one."""
        rolled = merged("monthly", "candidate_2017_03.1", part(SECOND, "e"))
        first = merged("monthly", "candidate_2017_03", part(FIRST, "a"), part(FIRST, "b"))
        made = plan(partition([], [first, rolled], gone=[A]), RULES, [FIRST])
        assert made.carried == (rolled,)
        assert names(made) == {"candidate_2017_03-000": ["b"]}

    def test_stems(self) -> None:
        assert stem("candidate", "2017-03") == "candidate_2017_03"


class TestOversize:
    rules = replace(RULES, oversize="reject")
    large = tuple(fragment(FIRST, f"x{n}", 900) for n in range(5))

    def test_days(self) -> None:
        made = plan(partition([*self.large, E]), self.rules, DAYS[:2])
        assert states(made) == {FIRST: "refused", SECOND: "merge"}
        expected = "would have 4,500 bytes, the limit is 4,000 (oversize: reject)"
        assert why(made, FIRST) == expected
        assert made.taken == (E,)
        assert names(made) == {"candidate_2017_03_02": ["e"]}

    def test_months(self) -> None:
        made = plan(
            partition([*self.large[:4], E], [DAY_TWO]),
            replace(self.rules, kind="monthly", limit_bytes=3700),
            DAYS,
        )
        assert states(made)[FIRST] == states(made)[SECOND] == "refused"
        assert (made.makes, made.outputs, made.taken) == (False, (), ())
        assert made.carried == (DAY_TWO,)

    def test_what_is_within_the_limit_is_split(self) -> None:
        made = plan(partition(self.large[:4]), self.rules, [FIRST])
        assert states(made) == {FIRST: "merge"}
        assert len(made.outputs) == 4

    def test_merged_days_count(self) -> None:
        day = merged("daily", "candidate_2017_03_01", part(FIRST, "a", 3950))
        made = plan(partition([C], [day]), self.rules, [FIRST])
        assert states(made) == {FIRST: "refused"}
        assert (made.carried, made.makes) == ((day,), False)

    def test_bounds_are_for_what_is_not_refused(self) -> None:
        made = plan(partition([*self.large, E, F]), replace(self.rules, most_files=6), DAYS[:2])
        assert states(made) == {FIRST: "refused", SECOND: "merge"}
        assert (made.taken, made.deferred) == ((E, F), ())

    def test_what_other_days_leave_is_still_deferred(self) -> None:
        day = merged("daily", "candidate_2017_03_01", part(FIRST, "a", 3950))
        made = plan(partition([C, E, F], [day]), replace(self.rules, most_files=1), DAYS[:2])
        assert states(made) == {FIRST: "refused", SECOND: "merge"}
        assert (made.taken, made.deferred) == ((E,), (SECOND,))

    def test_a_merged_month_that_gets_smaller_is_not_refused(self) -> None:
        """It was made when the limit was another; what counts no more must go all the same."""
        month = merged("monthly", "candidate_2017_03", part(FIRST, "a"), part(SECOND, "e", 4500))
        made = plan(partition([C], [month], gone=[A]), self.rules, [FIRST])
        assert states(made) == {FIRST: "merge"}
        assert names(made) == {"candidate_2017_03": ["e"], "candidate_2017_03_01": ["c"]}


class TestBad:
    said = (("key", A.key), ("version", A.version), ("what", "no sync marker"))

    def of(self, *fragments: Fragment) -> Partition:
        return partition(fragments, bad=[dict(self.said)])

    def test_they_are_not_tried_again(self) -> None:
        made = plan(self.of(A), RULES, [FIRST])
        assert states(made) == {FIRST: "bad"}
        assert why(made, FIRST) == "1 files were found bad: no sync marker"
        assert (made.makes, made.bad) == (False, {A.key: "no sync marker"})

    def test_others_of_the_day_are_merged(self) -> None:
        made = plan(self.of(A, B), RULES, [FIRST])
        assert names(made) == {"candidate_2017_03_01": ["b"]}
        assert made.bad == {A.key: "no sync marker"}

    def test_another_file_under_the_name_is_tried(self) -> None:
        made = plan(self.of(replace(A, sha256="another")), RULES, [FIRST])
        assert (states(made), made.bad) == ({FIRST: "merge"}, {})

    def test_force_tries_them_again(self) -> None:
        made = plan(self.of(A), replace(RULES, force=True), [FIRST])
        assert (states(made), made.bad) == ({FIRST: "merge"}, {})


def test_a_codec_that_is_asked_for_makes_merged_files_anew() -> None:
    asked = {"codec": "zstandard", "recodec": True}
    whole = plan(partition([], [WHOLE_MONTH]), replace(MONTHLY, **asked), DAYS)
    assert (whole.makes, names(whole)) == (True, {"candidate_2017_03": ["a", "b", "e"]})
    assert why(whole, FIRST) == "asked for in codec zstandard"
    day = plan(partition([], [DAY_ONE, DAY_TWO]), replace(RULES, **asked), [FIRST])
    assert (names(day), day.carried) == ({"candidate_2017_03_01": ["a", "b"]}, (DAY_TWO,))
    assert not plan(partition([], [WHOLE_MONTH]), replace(RULES, **asked), [FIRST]).makes
    done = replace(WHOLE_MONTH, codec="zstandard")
    assert not plan(partition([], [done]), replace(MONTHLY, **asked), DAYS).makes
    other = replace(MONTHLY, codec="zstandard")
    assert not plan(partition([], [WHOLE_MONTH]), other, DAYS).makes


def test_what_waited_is_taken_when_its_month_is_merged_but_not_beyond_bounds() -> None:
    late = [fragment(FIRST, name, 1) for name in ("late1", "late2")]
    rules = replace(MONTHLY, late_ratio=0.5)
    made = plan(partition(late, [DAY_ONE]), rules, DAYS)
    assert names(made) == {"candidate_2017_03": ["a", "b", "late1", "late2"]}
    assert made.taken == tuple(late)
    bounded = plan(partition(late, [DAY_ONE]), replace(rules, most_files=1), DAYS)
    assert names(bounded) == {"candidate_2017_03": ["a", "b", "late1"]}
    assert bounded.deferred == (FIRST,)
