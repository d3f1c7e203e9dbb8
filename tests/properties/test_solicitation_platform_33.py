from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.load import load_program
from conf.merge import merged
from conf.program import Program

SOURCE = files("conf").joinpath("programs/product-reviews.yaml").read_text("utf-8")
DEFAULT = load_program("product-reviews")
SHARE = st.integers(0, 1000).map(lambda n: n / 1000)


def in_list(section: str, **item: Any) -> dict[str, Any]:
    return {section: [item]}


#: A setting: its values, how an override says it, and where a program has it.
SETTINGS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "enabled": (st.booleans(), lambda v: {"enabled": v}, lambda p: p.enabled),
    "ttl": (
        st.integers(1, 999),
        lambda v: {"candidateTTLDays": v},
        lambda p: p.candidate_ttl_days,
    ),
    "capacity": (
        st.integers(1, 99),
        lambda v: {"capacity": {"perCustomer": v}},
        lambda p: p.capacity.per_customer,
    ),
    "window": (
        st.integers(1, 999),
        lambda v: {"dedupe": {"windowHours": v}},
        lambda p: p.dedupe.window_hours,
    ),
    "fallback": (
        SHARE,
        lambda v: in_list("scoringModels", modelId="value", fallbackScore=v),
        lambda p: p.scoring_models[1].fallback_score,
    ),
    "coefficient": (
        SHARE,
        lambda v: in_list("scoringModels", modelId="value", coefficients={"orderValue": v}),
        lambda p: p.scoring_models[1].coefficients["orderValue"],
    ),
    "shadow": (
        st.booleans(),
        lambda v: in_list("channels", channelId="in-app", shadowMode=v),
        lambda p: p.channels[1].shadow_mode,
    ),
    "filter": (
        st.booleans(),
        lambda v: {"filterChain": in_list("filters", filterId="order-value", enabled=v)},
        lambda p: p.filter_chain.filters[4].enabled,
    ),
    "reason": (
        st.text(st.characters(categories=["L", "N"]), max_size=9),
        lambda v: {"filterChain": in_list("filters", filterId="quantity-sane", reason=v)},
        lambda p: p.filter_chain.filters[0].reason,
    ),
    "tiers": (
        st.lists(SHARE, min_size=1, max_size=3, unique=True).map(sorted),
        lambda v: {"bands": {"tiers": [{"name": f"t{s}", "atLeast": x} for s, x in enumerate(v)]}},
        lambda p: [tier.at_least for tier in p.bands.tiers],
    ),
}


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.sets(st.sampled_from(sorted(SETTINGS)), max_size=5))
    return {name: draw(SETTINGS[name][0]) for name in sorted(names)}


def override(changed: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, value in changed.items():
        said = merged(said, SETTINGS[name][1](value))
    return said


def settings_of(program: Program) -> dict[str, Any]:
    return {name: read(program) for name, (_, _, read) in SETTINGS.items()}


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["US", "GB", "NO"]), changes()))
def test_property_33(changed: dict[str, dict[str, Any]]) -> None:
    """Feature: solicitation-platform, Property 33: Marketplace configuration override"""
    said = yaml.safe_load(SOURCE)
    said["marketplaces"] = ["US", "GB", "NO"]
    said["marketplaceOverrides"] = {code: override(change) for code, change in changed.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.yaml"
        file.write_text(yaml.safe_dump(said))
        program = load_program(file)
    for code in program.marketplaces:
        applied = program.for_marketplace(code)
        assert settings_of(applied) == settings_of(DEFAULT) | changed.get(code, {})
        assert code in changed or applied is program
        assert [m.model_id for m in applied.scoring_models] == ["response", "value"]
        assert applied.data_connectors == DEFAULT.data_connectors
