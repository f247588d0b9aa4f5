"""Peak memory of labelling a long video: `python benchmarks/memory.py --clips FOLDER [--minutes 60]`.

The film repeats a 60 s dialogue of real clips.  The figure is the peak of the whole process, models included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from measure import in_child
from stages import MEDIA


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    from material import join, repeat

    with tempfile.TemporaryDirectory() as place:
        clip = join(sorted(options.clips.glob(MEDIA)), Path(place) / "minute.mp4", 60)
        film = repeat(clip, Path(place) / "film.mp4", 60 * options.minutes)
        print(
            json.dumps(
                {"minutes": options.minutes, **in_child("stages_of_merc.py", "whole", film, place)}
            )
        )


if __name__ == "__main__":
    main()
