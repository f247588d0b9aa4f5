"""Memory does not grow with the length of a film: five minutes here, an hour in benchmarks/memory.py."""

import json
import os
import subprocess
import sys

from support.paths import ROOT

CODE = """
import json, resource, sys
from pathlib import Path
from pipeline.features.extract import ExtractOptions, extract
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
options = ExtractOptions("offline", modalities=("audio", "visual"))
place = Path(sys.argv[1])
told = []
for film in ("short.mp4", "long.mp4"):
    done = extract([place / film], place / "store", options, quiet=True)
    assert not done.failures, done.failures
    told.append({"peak_mb": peak(), "utterances": done.files[0].utterances, "present": done.files[0].present})
print(json.dumps(told))
"""


def test_five_minutes_take_no_more_memory_than_ten_seconds(media, tmp_path):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from material import join, repeat

    short = join(sorted((media / "grid").glob("*.mpg"))[:4], tmp_path / "short.mp4", 10)
    long = repeat(short, tmp_path / "long.mp4", 300)
    for film, times in ((short, [1, 4]), (long, list(range(1, 290, 12)))):
        rows = "".join(f"{t},{t + 2},Ann,bin blue at f\n" for t in times)
        film.with_suffix(".csv").write_text("start,end,speaker,text\n" + rows)
    child = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    first, last = json.loads(child.stdout.splitlines()[-1])
    assert last["utterances"] == last["present"]["audio"] == 25 and last["present"]["visual"] >= 20
    # its sampled frames alone would be 2 GB, its sound as float64 40 MB
    assert last["peak_mb"] < first["peak_mb"] + 200
    assert last["peak_mb"] < 3000
