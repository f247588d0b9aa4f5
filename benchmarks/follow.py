"""What `merc label --follow` costs: MELD dev with the whole dialogue, and with the past alone.

    python benchmarks/follow.py ../shared/data/meld/dev_sent_emo.csv [--model merc-offline]

Words only, with the correct transcript. The interval is that of a bootstrap over dialogues.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from pipeline.core.dialogue import Dialogue
from pipeline.corpora.meld_transcripts import read_meld_csv
from pipeline.features.profiles import build_extractors, options_of
from pipeline.training.predictor import Predictor

DRAWS = 2000


def measure(table: Path, name: str) -> dict[str, Any]:
    """Return weighted F1 and accuracy of both, and the difference with its 95 % interval."""
    model = Predictor.load(name)
    options = options_of(model.fingerprints)
    extractor = build_extractors(model.profile, options, ("text",))["text"]
    truth, whole, past = [], [], []
    for transcript in read_meld_csv(table):
        dialogue = Dialogue(
            str(transcript.id),
            "test",
            [str(number) for number in transcript.utterances],
            transcript.speakers,
            transcript.texts,
            transcript.labels,
            {"text": extractor.extract(transcript.texts)},
        )
        count = len(transcript.texts)
        truth.append(transcript.labels)
        whole.append(model.probabilities(dialogue).argmax(1))
        parts = (dialogue.part(0, k + 1) for k in range(count))
        past.append(np.array([model.probabilities(part)[-1].argmax() for part in parts]))

    def scores(chosen: np.ndarray) -> tuple[float, float]:
        labels = np.concatenate([truth[k] for k in chosen])
        one, other = (
            f1_score(labels, np.concatenate([side[k] for k in chosen]), average="weighted")
            for side in (whole, past)
        )
        return float(one), float(other)

    draws = np.random.default_rng(0).integers(0, len(truth), (DRAWS, len(truth)))
    differences = [past_score - score for score, past_score in map(scores, draws)]
    one, other = scores(np.arange(len(truth)))
    right = [np.mean(np.concatenate(side) == np.concatenate(truth)) for side in (whole, past)]
    return {
        "model": model.name,
        "utterances": int(sum(map(len, truth))),
        "weighted_f1": {"whole": round(one, 4), "past": round(other, 4)},
        "accuracy": {"whole": round(float(right[0]), 4), "past": round(float(right[1]), 4)},
        "difference": round(other - one, 4),
        "interval": [round(float(q), 4) for q in np.quantile(differences, [0.025, 0.975])],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--model", default="merc-offline")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.table, arguments.model), indent=1))
