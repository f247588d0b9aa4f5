"""CPU time of each stage of `merc label` on a 60 s clip, of the whole, and of the naive version of the same work.

    python benchmarks/stages.py --clips FOLDER_OF_CLIPS [--naive] [--seconds 60] [--out FILE.json]

Every stage runs alone in a fresh process, with what it needs from earlier stages ready before its clock starts; its
own models are opened inside.  Imports are left out on all sides.  One thread, so that CPU time is work and no waiting.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from measure import in_child

STAGES = ("sound", "utterances", "text", "audio", "visual", "emotions")
MEDIA = "*.[m][pk]*"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--clips", type=Path, required=True, help="folder of real clips with a face and speech"
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--naive", action="store_true", help="measure naive.py beside")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        table = compare(options.clips, options.seconds, Path(place), options.naive)
    print(json.dumps(table, indent=1))
    if options.out:
        options.out.write_text(json.dumps(table, indent=1) + "\n")


def compare(clips: Path, seconds: float, place: Path, naive: bool) -> dict:
    from material import join

    clip = join(sorted(path for path in clips.glob(MEDIA)), place / "clip.mp4", seconds)
    table: dict = {"seconds": seconds, "merc": {}}
    for stage in (*STAGES, "whole"):
        table["merc"][stage] = in_child("stages_of_merc.py", stage, clip, place)
    total = sum(table["merc"][stage]["cpu_s"] for stage in STAGES)
    table["sum_of_stages_cpu_s"] = round(total, 2)
    table["whole_over_sum"] = round(table["merc"]["whole"]["cpu_s"] / total, 3)
    table["utterances"] = len(np.load(place / "features.npz")["text"])
    if naive:
        table["naive"] = {
            stage: in_child("naive.py", stage, clip, place)
            for stage in ("utterances", "text", "audio", "visual", "visual_10", "whole")
        }
        for stage in ("utterances", "text", "audio", "visual", "whole"):
            table.setdefault("merc_over_naive", {})[stage] = round(
                table["merc"][stage]["cpu_s"] / table["naive"][stage]["cpu_s"], 3
            )
        # the kindest reading of "every frame": the ten a second that merc looks at
        table["merc_over_naive"]["visual_10"] = round(
            table["merc"]["visual"]["cpu_s"] / table["naive"]["visual_10"]["cpu_s"], 3
        )
    return table


if __name__ == "__main__":
    main()
