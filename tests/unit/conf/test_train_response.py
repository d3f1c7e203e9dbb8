from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "infra" / "models" / "train_response.py"


@pytest.mark.slow
def test_training_again_gives_the_model_and_the_page_that_are_here(tmp_path: Path) -> None:
    model, report = tmp_path / "response.onnx", tmp_path / "response.md"
    command = [sys.executable, SCRIPT, "--model", model, "--report", report]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert model.read_bytes() == (ROOT / "conf/models/response.onnx").read_bytes()
    assert report.read_text() == (ROOT / "docs/models/response.md").read_text()
