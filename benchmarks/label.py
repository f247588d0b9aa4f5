"""Seconds of `merc label` for one recording, start included, by turns with another version of merc.

    python benchmarks/label.py RECORDING [--before CHECKOUT] [--runs 3]

Each run is a new process that uses all cores. One run of each version comes first and is not
counted: it fills the caches of files and bytecode. CHECKOUT: a clone of merc at another commit.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

from measure import ROOT, measured_merc


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("--before", type=Path, help="a clone of merc at another commit")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    versions = {"before": options.before} if options.before else {}
    versions["now"] = ROOT
    recording = options.recording.absolute()
    walls: dict[str, list[float]] = {name: [] for name in versions}
    for number in range(-1, options.runs):
        for name, root in versions.items():
            with tempfile.TemporaryDirectory() as out:
                row = measured_merc("label", recording, "--out", out, root=root)
            if number >= 0:
                walls[name].append(row["wall_s"])
                load = round(os.getloadavg()[0], 1)
                print(json.dumps({"version": name, **row, "load": load}), flush=True)
    if options.before:
        print(f"now / before: {min(walls['now']) / min(walls['before']):.2f} of the wall time")


if __name__ == "__main__":
    main()
