"""ONNX Runtime must not report its use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FIND_SPEECH = """
import numpy as np
from pipeline.segmentation.voice_activity import detect
assert detect(np.zeros(16000, np.float32)) == []
"""


def test_finding_speech_reports_nothing(tmp_path: Path) -> None:
    # its client for reports makes a file of a session's id, .ses, before it sends anything
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", FIND_SPEECH], env=environment, check=True, timeout=300)
    assert list(tmp_path.iterdir()) == []
