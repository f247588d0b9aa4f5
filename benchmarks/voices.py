"""Compare the voice branch of merc-offline with logistic regression, on further speakers.

    python benchmarks/voices.py DATA OUT SPEAKER,... [SPEAKER,...]

Each list of speakers, such as emodb-03,emodb-08, is held out beside those that the recipe holds
out, and a model of one seed is trained without them, in OUT (ten minutes; an interrupted training
continues). Then it and a logistic regression label their clips, one utterance each; both read the
same vectors. Prints the unweighted average recall by corpus, pooled over the lists, and how many
clips only one of the two has right, with the p value of McNemar's exact test. DATA is that of
`merc train --dataset paired`. The epoch of the model was chosen on MELD dev, where the held-out
speakers provide the voices.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

import merc
from pipeline.recipes.acted_voices import VERSIONS
from pipeline.recipes.measure_on_corpus import label_voices, recall
from pipeline.recipes.paired import PairedCorpus, load_paired
from pipeline.recipes.voice_probe import with_voice_probe
from pipeline.training.predictor import Predictor

Labels = list[np.ndarray]  # truth, by the model, by the regression


def main(data: Path, out: Path, lists: list[str]) -> None:
    corpus = load_paired(data)
    pooled: dict[tuple[str, str], list[Labels]] = defaultdict(list)
    for names in lists:
        speakers = tuple(names.split(","))
        for key, labels in label_fold(corpus.holding_out(speakers), speakers, out / names).items():
            pooled[key].append(labels)
    for (name, version), folds in pooled.items():
        print(json.dumps({"corpus": name, "version": version} | compare(folds)))


def label_fold(
    corpus: PairedCorpus, speakers: tuple[str, ...], out: Path
) -> dict[tuple[str, str], Labels]:
    """Train without these speakers and label their clips: (corpus, version) -> labels."""
    merc.train(corpus, out=out, seeds=1)
    model = Predictor(with_voice_probe(Predictor.load(out).checkpoint, corpus), out.name)
    assert corpus.voices is not None
    voices = corpus.voices.only(speakers)
    result = {}
    for name in dict.fromkeys(voices.corpora):
        part = voices.select(voices.corpora == name)
        labels = label_voices(model, corpus, part)
        for version in VERSIONS:
            result[str(name), version] = [part.labels, *labels[version]]
    return result


def compare(folds: list[Labels]) -> dict[str, float]:
    truth, model, regression = (np.concatenate(rows) for rows in zip(*folds, strict=True))
    only_model = int(((model == truth) & (regression != truth)).sum())
    only_regression = int(((model != truth) & (regression == truth)).sum())
    both = only_model + only_regression
    return {
        "clips": len(truth),
        "model": round(recall(truth, model), 3),
        "regression": round(recall(truth, regression), 3),
        "only model right": only_model,
        "only regression right": only_regression,
        "p": round(binomtest(only_model, both).pvalue, 3) if both else 1.0,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
