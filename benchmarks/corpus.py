"""The cost of extracting all of MELD, planned from a few clips: CPU time by stage, and disk space.

    python benchmarks/corpus.py --clips FOLDER_OF_CLIPS      # about 2 minutes

The clips should show speaking faces, such as GRID's. From them, recordings of 1280 x 720 (H.264,
AAC) of four lengths are made and go through each stage. Least squares gives the cost of a stage per
clip and per second; MELD's transcripts give the number of clips of each length (test clips count as
those of dev). CPU seconds of one process, without loading models and imports. Text is MiniLM here;
for RoBERTa-Large with single utterances see `text.py --batch 1`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from material import join
from meld import meld_rows
from stages import find_clips

from pipeline.core.dialogue import MODALITIES, Utterance
from pipeline.corpora.meld_release import seconds
from pipeline.features.extract import stored_features
from pipeline.features.profiles import build_extractors
from pipeline.features.release_plan import Piece
from pipeline.features.store import Store
from pipeline.media.decode import open_media

CLIPS = {"train": 9989, "dev": 1109, "test": 2610}
LENGTHS = (1.0, 2.0, 4.0, 8.0)  # s
REPEATS = 2  # the fastest counts
BLOCK = 4096  # bytes; what a small file takes on disk


def lengths_of_meld() -> np.ndarray:
    """Return the length of every clip in seconds, by the times in the transcripts."""
    lengths = {}
    for part in ("train", "dev"):
        times = [seconds(row["EndTime"]) - seconds(row["StartTime"]) for row in meld_rows(part)]
        valid = [length for length in times if 0 < length < 60]  # a few run backwards
        lengths[part] = np.resize(valid, CLIPS[part])
    return np.concatenate([*lengths.values(), np.resize(lengths["dev"], CLIPS["test"])])


def measure(clip: Path, length: float, store: Store, extractors: dict) -> dict[str, float]:
    """Return the CPU seconds of each stage for one clip."""
    utterance = Utterance(0.0, length, "You must have had your hands full.")
    piece = Piece(clip.name, clip, (utterance,), MODALITIES)
    costs, start = {}, time.process_time()
    with open_media(clip) as media:
        segmentation = piece.segmentation(media.duration)
        assert media.sha256
        costs["open, hash, sound"] = time.process_time() - start
        for modality, extractor in extractors.items():
            start = time.process_time()
            stored_features(store, media, segmentation, modality, extractor)
            costs[modality] = time.process_time() - start
    return costs


def measure_all(clips: Path, folder: Path) -> tuple[list[dict[str, float]], int]:
    """Return the cost of a clip of each length, and the bytes of a clip in the store."""
    extractors = build_extractors("offline")
    sources = find_clips(clips)
    recordings = {
        length: join(sources, folder / f"{length}.mp4", length, (1280, 720)) for length in LENGTHS
    }
    measure(recordings[LENGTHS[0]], LENGTHS[0], Store(folder / "warm-up"), extractors)
    costs = []
    for length, clip in recordings.items():
        runs = [
            measure(clip, length, Store(folder / f"{length}-{turn}"), extractors)
            for turn in range(REPEATS)
        ]
        costs.append({stage: min(run[stage] for run in runs) for stage in runs[0]})
    store = folder / f"{LENGTHS[0]}-0"
    files = [path for path in store.rglob("*") if path.is_file()]
    blocks = sum(-(-path.stat().st_size // BLOCK) for path in files) + 2  # and two folders
    return costs, blocks * BLOCK


def plan(costs: list[dict[str, float]], lengths: np.ndarray) -> dict[str, dict[str, float]]:
    """Fit the cost of each stage per clip and per second; sum over all lengths."""
    design = np.stack([np.ones(len(LENGTHS)), LENGTHS], 1)
    stages = {}
    for stage in costs[0]:
        values = np.array([cost[stage] for cost in costs])
        per_clip, per_second = np.linalg.lstsq(design, values, rcond=None)[0]
        stages[stage] = {
            "per_clip_s": round(float(per_clip), 4),
            "per_second_s": round(float(per_second), 4),
            "hours": round(float((per_clip + per_second * lengths).sum()) / 3600, 2),
        }
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        costs, disk = measure_all(options.clips, Path(folder))
    lengths = lengths_of_meld()
    stages = plan(costs, lengths)
    measured: dict[str, Any] = {}
    for length, cost in zip(LENGTHS, costs, strict=True):
        measured[f"{length:g} s"] = {stage: round(value, 4) for stage, value in cost.items()}
    figures = {
        "clips": len(lengths),
        "hours_of_video": round(float(lengths.sum()) / 3600, 2),
        "measured": measured,
        "stages": stages,
        "hours": round(sum(stage["hours"] for stage in stages.values()), 2),
        "store_bytes_per_clip": disk,
        "store_mb": round(disk * len(lengths) / 1e6),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
