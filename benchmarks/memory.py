"""Peak memory of labelling a long recording.

    python benchmarks/memory.py --clips FOLDER_OF_CLIPS [--minutes 60]

The recording repeats a 60 s dialogue of real clips. The figure is the peak of the whole process,
including models.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measure import in_child
from stages import find_clips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    from material import join, repeat

    with tempfile.TemporaryDirectory() as folder:
        minute = join(find_clips(options.clips), Path(folder) / "minute.mp4", 60)
        recording = repeat(minute, Path(folder) / "long.mp4", 60 * options.minutes)
        figures = in_child("stages_of_merc.py", "whole", recording, folder)
    print(json.dumps({"minutes": options.minutes, **figures}))


if __name__ == "__main__":
    main()
