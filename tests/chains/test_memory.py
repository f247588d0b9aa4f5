"""Memory does not grow with the length of a recording.

Five minutes here; an hour in benchmarks/memory.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from material import join, repeat
from support.paths import ROOT

CODE = """
import json, sys
from pathlib import Path
from measure import peak_memory
from pipeline.features.extract import ExtractOptions, extract

options = ExtractOptions("offline", modalities=("audio", "visual"))
folder = Path(sys.argv[1])
rows = []
for name in ("short.mp4", "long.mp4"):
    summary = extract([folder / name], folder / "store", options)
    assert not summary.failures, summary.failures
    (file,) = summary.files
    rows.append({"peak_mb": peak_memory(), "utterances": file.utterances, "present": file.present})
print(json.dumps(rows))
"""


def test_five_minutes_take_no_more_memory_than_ten_seconds(media, tmp_path):
    short = join(sorted((media / "grid").glob("*.mpg"))[:4], tmp_path / "short.mp4", 10)
    long = repeat(short, tmp_path / "long.mp4", 300)
    for recording, starts in ((short, [1, 4]), (long, list(range(1, 290, 12)))):
        rows = "".join(f"{start},{start + 2},Ann,bin blue at f\n" for start in starts)
        recording.with_suffix(".csv").write_text("start,end,speaker,text\n" + rows)
    child = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'benchmarks'}",
            "OMP_NUM_THREADS": "1",
        },
    )
    first, last = json.loads(child.stdout.splitlines()[-1])
    assert last["utterances"] == last["present"]["audio"] == 25 and last["present"]["visual"] >= 20
    # its sampled frames alone would be 2 GB, its sound as float64 40 MB
    assert last["peak_mb"] < first["peak_mb"] + 200
    assert last["peak_mb"] < 3000
