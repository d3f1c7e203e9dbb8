from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from conf.load import load_program
from conf.program import ExpressionRule, Filter, FilterType, Program


def with_overrides(overrides: dict[str, object]) -> Program:
    base = load_program("product-reviews").model_dump(mode="json", by_alias=True)
    return Program.model_validate(
        {**base, "marketplaces": ["US", "GB", "NO"], "marketplaceOverrides": overrides}
    )


def test_without_override_the_program_itself() -> None:
    program = with_overrides({"GB": {"candidateTTLDays": 5}})
    assert program.for_marketplace("US") is program


def test_an_override_reaches_one_item_of_a_list() -> None:
    override = {"scoringModels": [{"modelId": "value", "intercept": 0.5}]}
    before = with_overrides({"NO": override})
    after = before.for_marketplace("NO")
    assert after.scoring_models[0] == before.scoring_models[0]
    assert after.scoring_models[1] == before.scoring_models[1].model_copy(update={"intercept": 0.5})
    assert after.marketplace_overrides == {}


def test_an_override_that_does_not_fit_raises() -> None:
    program = with_overrides({"GB": {"capacity": {"perCustomer": "three"}}})
    with pytest.raises(ValidationError, match=r"capacity\.perCustomer"):
        program.for_marketplace("GB")


def test_a_marketplace_that_is_not_served_raises() -> None:
    with pytest.raises(ValueError, match="marketplace FR is not in"):
        load_program("product-reviews").for_marketplace("FR")


def test_filters_run_by_their_numbers_and_only_when_enabled() -> None:
    program = with_overrides({})
    filters = program.filter_chain.filters
    changed = [f.model_copy(update={"enabled": f.order != 30}) for f in reversed(filters)]
    chain = program.filter_chain.model_copy(update={"filters": tuple(changed)})
    assert [f.order for f in chain.active] == [10, 20, 40, 50]


def test_rules_may_be_given_as_models() -> None:
    rule = ExpressionRule(expression="a > 1")
    link = Filter(
        filter_id="f",
        filter_type=FilterType.TRUST,
        order=1,
        reason_code="NO_A",
        reason="a",
        parameters=rule,
    )
    assert link.parameters == rule


def test_programs_travel_to_workers() -> None:
    program = load_program("product-reviews")
    assert pickle.loads(pickle.dumps(program)) == program
