from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.backfill.plan import (
    LeftUnit,
    Plan,
    PlannedUnit,
    Predicted,
    ProgramPlan,
    Request,
    read_plan,
)
from jobs.errors import WrongUse
from pipelines.sources.inputs import Input
from tests.properties.works import made, new_folder, plan_of, work

DAY = "2017-03-01"
UNIT = PlannedUnit(
    day=DAY,
    why="never made",
    fingerprint="f" * 64,
    attempts=2,
    inputs={"reads": ("orders/1",), "lookback": ("orders/0",)},
    outputs=("out/lake/fragments/candidate/reviews/",),
    predicted=Predicted(10, 1, 300, 6, 2, 6, 0.5, 0.000031),
)
PART = ProgramPlan(
    asked="mine/reviews.yaml",
    program="reviews",
    settings_fingerprint="s" * 64,
    code_fingerprint="c" * 64,
    settings={"program": {"ttl": 30}, "models": {}},
    code={"pipelines.solicit": "0" * 16},
    inputs={
        "orders/1": Input("orders/1", "a", 10, None),
        "orders/0": Input("orders/0", None, None, 99),
    },
    basis="estimates",
    units=(UNIT,),
    left=(LeftUnit("2017-03-02", "done", "up to date"),),
)
PLAN = Plan(
    Request("solicit", ("mine/reviews.yaml",), "local", "out", DAY, "2017-03-02", prices="mine"),
    {"name": "local", "date": "2026-11-25"},
    (PART,),
    {"other": "no such program"},
)


def variants(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a value with one thing in it changed, for each thing in it, and where that is."""
    if is_dataclass(value):
        assert not isinstance(value, type)
        for part in fields(value):
            # An input's name stands in the plan as the key of its table.
            if (type(value), part.name) != (Input, "name"):
                for where, other in variants(getattr(value, part.name), f"{path}.{part.name}"):
                    yield where, replace(value, **{part.name: other})
    elif isinstance(value, Mapping):
        found = next(iter(value.values()), 1)
        more = replace(found, name="more") if isinstance(found, Input) else found
        yield f"{path}+", {**value, "more": more}
        for key, inner in value.items():
            yield f"{path}-{key}", {k: v for k, v in value.items() if k != key}
            for where, other in variants(inner, f"{path}.{key}"):
                yield where, {**value, key: other}
    elif isinstance(value, tuple):
        yield f"{path}-", value[1:]
        yield f"{path}*2", (*value, *value)
        for where, other in variants(value[0], f"{path}[0]"):
            yield where, (other, *value[1:])
    else:
        yield path, f"{value}x" if isinstance(value, str) else (value or 0) + 1


VARIANTS = dict(variants(PLAN))


def test_every_field_of_a_plan_is_in_its_hash() -> None:
    assert len(VARIANTS) > 70
    assert [path for path, other in VARIANTS.items() if other.hash == PLAN.hash] == []
    assert len({other.hash for other in VARIANTS.values()}) == len(VARIANTS)


def test_the_order_of_maps_is_not_in_the_hash() -> None:
    turned = replace(
        PART,
        settings={"models": {}, "program": {"ttl": 30}},
        inputs=dict(sorted(PART.inputs.items())),
    )
    assert replace(PLAN, programs=(turned,)).hash == PLAN.hash


def test_the_hash_of_a_plan_stays_what_it_was() -> None:
    # Plans lie in files: when this changes, so must VERSION.
    assert PLAN.hash[:16] == "b107871a13584626"


@pytest.mark.parametrize("path", VARIANTS)
def test_a_plan_is_read_back_as_it_was_written(path: str, tmp_path: Path) -> None:
    file = tmp_path / "plans" / "plan.json"
    VARIANTS[path].write(file)
    assert read_plan(file) == VARIANTS[path]
    assert read_plan(file).hash == VARIANTS[path].hash


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), json_values), st.text(), st.floats(0, 1e6))
def test_whatever_settings_say_is_read_back(said: dict[str, Any], why: str, usd: float) -> None:
    unit = replace(UNIT, why=why, predicted=Predicted(usd=usd))
    plan = replace(PLAN, programs=(replace(PART, settings=said, units=(unit,)),))
    with new_folder() as folder:
        plan.write(folder / "plan.json")
        assert read_plan(folder / "plan.json") == plan


def edit(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(PLAN.document()))
    change(document)
    return document


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said["programs"][0]["units"].pop(),
        lambda said: said["programs"][0]["units"][0].update(day="2017-03-03"),
        lambda said: said["programs"][0]["settings"]["program"].update(ttl=31),
        lambda said: said["totals"].update(usd=0),
        lambda said: said["refused"].clear(),
        lambda said: said.update(note="reviewed"),
        lambda said: said["programs"][0].update(note="reviewed"),
        lambda said: said.update(hash="0" * 64),
    ],
)
def test_a_plan_that_was_edited_is_refused(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(edit(change)))
    with pytest.raises(WrongUse, match=r"plan\.json: expected .* the plan was changed after"):
        read_plan(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(note="reviewed"),
        lambda said: said["programs"][0]["units"][0].update(note="reviewed"),
        lambda said: said["totals"].update(usd=0),
    ],
)
def test_what_a_plan_cannot_say_is_refused_even_under_a_hash_of_its_own(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    said = edit(change)
    body = {key: value for key, value in said.items() if key != "hash"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    said["hash"] = hashlib.sha256(text.encode()).hexdigest()
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(said))
    with pytest.raises(WrongUse, match="the plan was changed after it was made"):
        read_plan(file)


def test_layout_may_change(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN.document(), sort_keys=True, ensure_ascii=False))
    assert read_plan(file) == PLAN


def test_a_plan_of_another_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(edit(lambda said: said.update(planVersion=3, programs="others"))))
    with pytest.raises(WrongUse, match=r"plan\.json: expected planVersion 2, found 3; plan again"):
        read_plan(file)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hash: yaml",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"null",
        b'"planVersion"',
        b"{}",
        b'{"planVersion": 2}',
        b'{"planVersion": 2, "request": 3, "prices": {}, "programs": [], "refused": {}}',
        json.dumps(edit(lambda said: said.pop("hash"))).encode(),
        json.dumps(edit(lambda said: said["request"].update(more=1))).encode(),
        json.dumps(edit(lambda said: said["programs"][0].pop("units"))).encode(),
    ],
)
def test_what_is_no_plan_is_refused(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_bytes(data)
    with pytest.raises(WrongUse, match=r"plan\.json: expected a plan as 'muster plan -o'"):
        read_plan(file)


def test_a_plan_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for missing in (tmp_path / "plan.json", tmp_path):
        with pytest.raises(WrongUse, match="expected a plan"):
            read_plan(missing)


def test_totals_are_the_sum_of_all_units(tmp_path: Path) -> None:
    two = replace(PART, units=(UNIT, UNIT))
    plan = replace(PLAN, programs=(two, PART))
    assert plan.document()["totals"] == {
        "units": 3,
        "rows": 30,
        "written": 3,
        "bytes": 900,
        "puts": 18,
        "gets": 6,
        "write_units": 18,
        "seconds": 1.5,
        "usd": 0.000093,
    }


def test_a_plan_that_was_made_is_read_back(tmp_path: Path) -> None:
    reviews, polls = work(tmp_path), work(tmp_path, "polls", enabled=False)
    made(reviews, last=0)
    plan = plan_of(reviews, polls)
    plan.write(tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan
