"""Write chain.onnx, a model of three columns: ``python -m benchmarks.programs.make_model``.

The weights say nothing; the model is there so that the whole chain pays for a real one.
"""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper

WEIGHTS = (0.01, 0.02, 2.5)
BIAS = -2.0


def main() -> None:
    nodes = [
        helper.make_node("Gemm", ["input", "weights", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, len(WEIGHTS)])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, [len(WEIGHTS), 1], WEIGHTS),
            helper.make_tensor("bias", TensorProto.FLOAT, [1], [BIAS]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    Path(__file__).with_name("chain.onnx").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
