from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.errors import ConfigurationError, Problem
from conf.load import load_program

VALID: dict[str, Any] = {
    "programId": "p",
    "programName": "P",
    "enabled": True,
    "marketplaces": ["US"],
    "dataConnectors": [
        {
            "sourceId": "s",
            "connectorType": "avro",
            "subjectType": "product",
            "path": "events/{date}.avro",
            "fieldMappings": {
                "customerId": "c",
                "subjectId": "s",
                "eventDate": "d",
                "marketplace": "m",
            },
        }
    ],
    "scoringModels": [
        {
            "modelId": "m",
            "type": "linear",
            "coefficients": {"orderValue": 0.1},
            "fallbackScore": 0.0,
        }
    ],
    "filterChain": {
        "filters": [
            {
                "filterId": "f",
                "filterType": "TRUST",
                "order": 1,
                "reasonCode": "NO_F",
                "reason": "no f",
                "parameters": {"expression": "a > 1"},
            }
        ]
    },
    "channels": [{"channelId": "c", "channelType": "EMAIL"}],
    "candidateTTLDays": 30,
}

NOTHING = st.sampled_from([None, 3.5, []])
INVALID: dict[str, st.SearchStrategy[Any]] = {
    "programId": NOTHING | st.sampled_from(["", "Upper", "with space", "x" * 65, True]),
    "programName": NOTHING | st.integers(),
    "enabled": NOTHING | st.sampled_from(["yes", "true", 1]),
    "marketplaces": NOTHING | st.sampled_from([["us"], ["USA"], "US", [1], ["US", None]]),
    "dataConnectors": NOTHING
    | st.sampled_from(list(VALID["dataConnectors"][0])).map(
        lambda key: [{k: v for k, v in VALID["dataConnectors"][0].items() if k != key}]
    ),
    "scoringModels": NOTHING
    | st.floats(min_value=1.001, allow_infinity=False).map(
        lambda score: [{**VALID["scoringModels"][0], "fallbackScore": score}]
    ),
    "filterChain": NOTHING
    | st.sampled_from([{}, {"filters": []}, {"filters": [{}]}])
    | st.sampled_from(["a >", "(a", "SELECT a", "", "no_function(a)"]).map(
        lambda text: {
            "filters": [{**VALID["filterChain"]["filters"][0], "parameters": {"expression": text}}]
        }
    ),
    "channels": NOTHING | st.sampled_from([[{"channelId": "c"}], [{"channelType": "EMAIL"}], {}]),
    "candidateTTLDays": NOTHING | st.integers(max_value=0) | st.just("30"),
}
REMOVED = object()


@st.composite
def faults(draw: st.DrawFn) -> dict[str, Any]:
    fields = draw(st.sets(st.sampled_from(sorted(VALID)), max_size=4))
    return {field: draw(st.just(REMOVED) | INVALID[field]) for field in sorted(fields)}


def problems_of(said: dict[str, Any]) -> tuple[str, tuple[Problem, ...]]:
    """Load a program that says this; return the message and the problems, none when it loads."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "p.yaml"
        file.write_text(yaml.safe_dump(said))
        try:
            load_program(file)
        except ConfigurationError as error:
            return str(error), error.problems
    return "", ()


@settings(max_examples=150, deadline=None)
@given(faults())
def test_property_30(faulty: dict[str, Any]) -> None:
    """Feature: solicitation-platform, Property 30: Program configuration validation"""
    said = {key: value for key, value in {**VALID, **faulty}.items() if value is not REMOVED}
    message, problems = problems_of(said)
    refused = {problem.path.replace("[", ".").split(".")[0] for problem in problems}
    assert set(faulty) == refused
    assert message.splitlines() == [str(problem) for problem in problems]
    for problem in problems:
        assert problem.file.endswith("p.yaml")
        assert problem.expected
        assert problem.found
