"""CPU time of the stages of `merc label`, of the whole, and of a naive version of the same work.

    python benchmarks/stages.py --clips FOLDER_OF_CLIPS [--naive] [--seconds 60] [--out FILE.json]

Each stage runs in a new process. The results of earlier stages are ready before its clock starts,
but it loads its own models. Imports are not counted anywhere. One thread, so that CPU time does not
include waiting.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from measure import in_child

STAGES = ("sound", "utterances", "text", "audio", "visual", "emotions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clips", type=Path, required=True, help="folder of real clips with a face and speech"
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--naive", action="store_true", help="also measure naive.py")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = compare(options.clips, options.seconds, Path(folder), options.naive)
    print(json.dumps(table, indent=1))
    if options.out:
        options.out.write_text(json.dumps(table, indent=1) + "\n")


def find_clips(folder: Path) -> list[Path]:
    """List the .mpg, .mp4 and .mkv files of a folder."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".mpg", ".mp4", ".mkv"))


def compare(clips: Path, seconds: float, folder: Path, naive: bool) -> dict:
    """Measure each stage, the whole and, if wanted, the naive version."""
    from material import join

    clip = join(find_clips(clips), folder / "clip.mp4", seconds)
    table: dict = {"seconds": seconds, "merc": {}}
    for stage in (*STAGES, "whole"):
        table["merc"][stage] = in_child("stages_of_merc.py", stage, clip, folder)
    total = sum(table["merc"][stage]["cpu_s"] for stage in STAGES)
    table["sum_of_stages_cpu_s"] = round(total, 2)
    table["whole_over_sum"] = round(table["merc"]["whole"]["cpu_s"] / total, 3)
    table["utterances"] = len(np.load(folder / "features.npz")["text"])
    if naive:
        table["naive"] = {
            stage: in_child("naive.py", stage, clip, folder)
            for stage in ("utterances", "text", "audio", "visual", "visual_10", "whole")
        }
        for stage in ("utterances", "text", "audio", "visual", "whole"):
            table.setdefault("merc_over_naive", {})[stage] = round(
                table["merc"][stage]["cpu_s"] / table["naive"][stage]["cpu_s"], 3
            )
        # the fairest comparison: ten frames per second, as in merc
        table["merc_over_naive"]["visual_10"] = round(
            table["merc"]["visual"]["cpu_s"] / table["naive"]["visual_10"]["cpu_s"], 3
        )
    return table


if __name__ == "__main__":
    main()
