"""The ONNX scoring provider: a small model that onnxruntime runs in the worker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import polars as pl

from conf.program import OnnxModel
from transforms.errors import ModelNotLoaded, ScoresMalformed
from transforms.scoring import FallbackScore, Health, fallback_of

#: Rows a run. onnxruntime picks its arithmetic by the size of the batch, so every run has this
#: size (the last one is padded): a row's score does not depend on how many came with it.
BATCH = 4096

_Scores = npt.NDArray[np.float64]


class OnnxProvider:
    """Runs ``content``, a model of one float32 input (rows, features) and one score a row.

    Input: the features (Float64, finite), given to the model as float32 in the configuration's
    order. Output: one Float64 a row, as the model says it. The session is made here and cannot be
    pickled: make the provider where it is used.

    Raises ``ModelNotLoaded`` for content that onnxruntime does not load, and for a model whose
    input or output has another form.
    """

    def __init__(self, model: OnnxModel, content: bytes) -> None:
        self._model = model
        self._session = _session(model, content)
        self._input = _input_name(model, self._session)
        self._output = _output_name(model, self._session)

    @property
    def model_id(self) -> str:
        """The configured id."""
        return self._model.model_id

    @property
    def model_version(self) -> str:
        """The configured version."""
        return self._model.model_version

    @property
    def required_features(self) -> tuple[str, ...]:
        """The configured features, in the order of the model's input."""
        return self._model.features

    def score_batch(self, frame: pl.DataFrame) -> pl.Series:
        """Return the model's score of each row."""
        rows = frame.select(self.required_features).cast(pl.Float32).to_numpy()
        scores = np.empty(frame.height, np.float64)
        for start in range(0, frame.height, BATCH):
            batch = rows[start : start + BATCH]
            scores[start : start + BATCH] = self._run(batch)
        return pl.Series("score", scores)

    def health_check(self) -> Health:
        """Score a row of zeros."""
        try:
            self._run(np.zeros((1, len(self.required_features)), np.float32))
        except Exception as error:  # noqa: BLE001  Whatever onnxruntime raises is the answer.
            return Health(healthy=False, detail=str(error))
        return Health(healthy=True)

    def get_fallback_score(self) -> FallbackScore:
        """Return the configured fallback."""
        return fallback_of(self._model)

    def _run(self, batch: npt.NDArray[np.float32]) -> _Scores:
        """Score one batch of at most BATCH rows, padded with zeros to BATCH."""
        padded = np.zeros((BATCH, len(self.required_features)), np.float32)
        padded[: len(batch)] = batch
        (answer,) = self._session.run([self._output], {self._input: padded})
        if answer.shape not in ((BATCH,), (BATCH, 1)):
            raise ScoresMalformed(self.model_id, "one score a row", f"shape {answer.shape}")
        return np.asarray(answer, np.float64).reshape(BATCH)[: len(batch)]


def _session(model: OnnxModel, content: bytes) -> ort.InferenceSession:
    """Return a session of one thread: parallelism belongs to the runner."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelNotLoaded(model.model_id, model.path, str(error)) from error


def _input_name(model: OnnxModel, session: ort.InferenceSession) -> str:
    """Return the name of the model's one input, float32 of (any rows, the features)."""
    inputs = [(entry.type, entry.shape) for entry in session.get_inputs()]
    width = len(model.features)
    match inputs:
        case [("tensor(float)", [rows, columns])] if columns == width and _takes_any(rows):
            return str(session.get_inputs()[0].name)
    expected = f"one input tensor(float) of (rows, {width}) for features {list(model.features)}"
    raise ModelNotLoaded(model.model_id, model.path, f"expected {expected}, found {inputs}")


def _output_name(model: OnnxModel, session: ort.InferenceSession) -> str:
    """Return the name of the model's one output, a float of (rows) or (rows, 1)."""
    outputs = [(entry.type, entry.shape) for entry in session.get_outputs()]
    match outputs:
        case [("tensor(float)" | "tensor(double)", [_] | [_, 1])]:
            return str(session.get_outputs()[0].name)
    expected = "one output tensor(float) of (rows) or (rows, 1)"
    raise ModelNotLoaded(model.model_id, model.path, f"expected {expected}, found {outputs}")


def _takes_any(rows: object) -> bool:
    """Whether an input's first dimension is free (or happens to be the size that is run)."""
    return not isinstance(rows, int) or rows == BATCH
