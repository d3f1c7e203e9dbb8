from __future__ import annotations

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from conf.program import OnnxModel
from transforms.errors import ModelNotLoaded, ScoresMalformed
from transforms.onnx import BATCH, OnnxProvider
from transforms.scoring import DECIMALS, FallbackScore, Health

HIDDEN = 19
FEATURES = ("recency", "frequency", "spend")
SETTINGS = OnnxModel(
    model_id="response",
    type="onnx",
    path="models/response.onnx",
    features=FEATURES,
    fallback_score=0.05,
    fallback_confidence=0.5,
)


def network(width: int = 3, outputs: int = 1, rows: int | str | None = None) -> bytes:
    """A small network whose sums of many terms show every difference in the arithmetic."""
    generator = np.random.default_rng(5)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Tanh", ["h"], ["t"]),
            helper.make_node("MatMul", ["t", "v"], ["z"]),
            helper.make_node("Sigmoid", ["z"], ["score"]),
        ],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [rows, outputs])],
        [weights("w", width, HIDDEN), weights("v", HIDDEN, outputs)],
    )
    return serialise(graph)


def serialise(graph: onnx.GraphProto) -> bytes:
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def by_hand(content: bytes, rows: np.ndarray) -> np.ndarray:
    w, v = (numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer)
    return 1 / (1 + np.exp(-(np.tanh(rows @ w.astype(float)) @ v.astype(float))))[:, 0]


CONTENT = network()
PROVIDER = OnnxProvider(SETTINGS, CONTENT)
ROWS = np.random.default_rng(7).normal(size=(3 * BATCH, 3))
FRAME = pl.DataFrame(ROWS, schema=list(FEATURES))


def test_scores_as_the_network_does_by_hand() -> None:
    frame = FRAME[: BATCH + 5].select(reversed(FEATURES))
    answer = PROVIDER.score_batch(frame)
    assert answer.dtype == pl.Float64
    assert answer.to_numpy() == pytest.approx(by_hand(CONTENT, ROWS[: BATCH + 5]), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2 * BATCH), st.lists(st.integers(0, 700), max_size=4))
def test_a_score_does_not_depend_on_the_rows_beside_it(start: int, lengths: list[int]) -> None:
    frame = FRAME[start : start + sum(lengths)]
    whole = PROVIDER.score_batch(frame).round(DECIMALS)
    parts, offset = [], 0
    for length in lengths:
        parts.append(PROVIDER.score_batch(frame[offset : offset + length]).round(DECIMALS))
        offset += length
    assert whole.to_list() == [score for part in parts for score in part]


def test_no_rows_have_no_scores() -> None:
    assert PROVIDER.score_batch(FRAME.clear()).to_list() == []


def test_says_what_it_is() -> None:
    assert (PROVIDER.model_id, PROVIDER.model_version) == ("response", "1")
    assert PROVIDER.required_features == FEATURES
    assert PROVIDER.health_check() == Health(healthy=True)
    assert PROVIDER.get_fallback_score() == FallbackScore(0.05, 0.5)


@pytest.mark.parametrize("content", [b"", b"no model", CONTENT[:-40]])
def test_content_that_is_no_model_names_model_file_and_reason(content: bytes) -> None:
    with pytest.raises(ModelNotLoaded, match=r"'response': models/response.onnx .*ONNXRuntime"):
        OnnxProvider(SETTINGS, content)


@pytest.mark.parametrize(
    "content", [network(width=2), network(outputs=2), network(rows=16)], ids=["in", "out", "rows"]
)
def test_a_model_of_another_form_is_refused(content: bytes) -> None:
    with pytest.raises(ModelNotLoaded, match=r"expected one (input|output) .*, found "):
        OnnxProvider(SETTINGS, content)


def test_a_model_that_answers_in_another_shape_than_it_says_is_caught() -> None:
    mean = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["score"], keepdims=1, axes=[0, 1])],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
    )
    provider = OnnxProvider(SETTINGS, serialise(mean))
    with pytest.raises(ScoresMalformed, match=r"one score a row, found shape \(1, 1\)"):
        provider.score_batch(FRAME)
    health = provider.health_check()
    assert not health.healthy
    assert "one score a row" in health.detail
