"""What extracting all of MELD costs, planned from clips of its size: CPU time by stage, and disk.

    python benchmarks/corpus.py --clips FOLDER_OF_CLIPS      # faces that speak, such as GRID's; about 2 minutes

Clips of 1280 x 720 (H.264, AAC) of four lengths go through each stage.  A stage costs so much a clip and so much a
second (least squares), and MELD's transcripts tell how many clips of what length there are; the length of a test clip
is taken to be that of one of dev.  CPU seconds of one process, opening of models and imports left out.  Text is
MiniLM here; what RoBERTa-Large takes for single utterances tells `text.py --batch 1`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from material import join

from pipeline.core.dialogue import MODALITIES, Utterance
from pipeline.corpora.meld_release import seconds
from pipeline.features.extract import stored_features
from pipeline.features.profiles import build_extractors
from pipeline.features.release_plan import Piece
from pipeline.features.store import Store
from pipeline.media.decode import open_media

CLIPS = {"train": 9989, "dev": 1109, "test": 2610}
LENGTHS = (1.0, 2.0, 4.0, 8.0)  # seconds
REPEATS = 2  # the faster counts
BLOCK = 4096  # bytes that a small file takes


def lengths_of_meld() -> np.ndarray:
    """Seconds of every clip, by the times of the transcripts (a few that go backwards left out)."""
    folder = (
        Path(os.environ.get("MERC_SHARED", Path(__file__).resolve().parents[2] / "shared"))
        / "data"
        / "meld"
    )
    own = {}
    for part in ("train", "dev"):
        with (folder / f"{part}_sent_emo.csv").open(encoding="utf-8", newline="") as file:
            told = np.array(
                [
                    seconds(row["EndTime"]) - seconds(row["StartTime"])
                    for row in csv.DictReader(file)
                ]
            )
        told = told[(told > 0) & (told < 60)]
        own[part] = np.resize(told, CLIPS[part])
    return np.concatenate([own["train"], own["dev"], np.resize(own["dev"], CLIPS["test"])])


def measure(clip: Path, length: float, store: Store, extractors: dict) -> dict[str, float]:
    """Stage -> CPU seconds of one clip."""
    told, start = {}, time.process_time()
    with open_media(clip) as media:
        piece = Piece(
            clip.name,
            clip,
            (Utterance(0.0, length, "You must have had your hands full."),),
            MODALITIES,
        )
        segmentation = piece.segmentation(media.duration)
        media.sha256  # noqa: B018
        told["open, hash, sound"] = time.process_time() - start
        for modality, extractor in extractors.items():
            start = time.process_time()
            stored_features(store, media, segmentation, modality, extractor)
            told[modality] = time.process_time() - start
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=Path, required=True)
    chosen = parser.parse_args()
    extractors, rows = build_extractors("offline"), []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sources = sorted(
            path for path in chosen.clips.iterdir() if path.suffix in (".mpg", ".mp4", ".mkv")
        )
        clips = {
            length: join(sources, place / f"{length}.mp4", length, (1280, 720))
            for length in LENGTHS
        }
        measure(clips[LENGTHS[0]], LENGTHS[0], Store(place / "warm"), extractors)
        for length, clip in clips.items():
            runs = [
                measure(clip, length, Store(place / f"{length}-{turn}"), extractors)
                for turn in range(REPEATS)
            ]
            rows.append({stage: min(run[stage] for run in runs) for stage in runs[0]})
        files = [path for path in (place / f"{LENGTHS[0]}-0").rglob("*") if path.is_file()]
        disk = (
            sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in files) + 2 * BLOCK
        )  # two folders
    lengths = lengths_of_meld()
    plan = {}
    for stage in rows[0]:
        fixed, each = np.linalg.lstsq(
            np.stack([np.ones(len(LENGTHS)), LENGTHS], 1),
            np.array([row[stage] for row in rows]),
            rcond=None,
        )[0]
        plan[stage] = {
            "per_clip_s": round(float(fixed), 4),
            "per_second_s": round(float(each), 4),
            "hours": round(float((fixed + each * lengths).sum()) / 3600, 2),
        }
    measured = {
        f"{length:g} s": {stage: round(cost, 4) for stage, cost in row.items()}
        for length, row in zip(LENGTHS, rows, strict=True)
    }
    print(
        json.dumps(
            {
                "clips": len(lengths),
                "hours_of_film": round(float(lengths.sum()) / 3600, 2),
                "measured": measured,
                "stages": plan,
                "hours": round(sum(stage["hours"] for stage in plan.values()), 2),
                "store_bytes_a_clip": disk,
                "store_mb": round(disk * len(lengths) / 1e6),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
