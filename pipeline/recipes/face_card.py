"""The model card of the face network, from its own figures."""

from __future__ import annotations

from typing import Any

__all__ = ["face_card"]

CARD = """# Model card: face network

DenseNet-BC (growth 12, three blocks of 16 layers, compression one half, grey input of {size}x{size} pixels, 768,044
parameters).  Its last layer, average-pooled after the last batch norm and ReLU, is the 342-d visual feature; a linear
layer on it gives the eight FER+ classes.

**Trained on** the training part of FER2013 (28,558 faces) with the label distributions of FER+ (single votes removed).
**Licence** research use, as the images (see LICENSE-WEIGHTS.md).

**Make it again** with

{commands}

where the file holds `images` (n, 48, 48) uint8, `votes` (n, 10) uint8 in FER+ order and `split` (0 train, 1 valid).
The images are in `fer2013.csv` (Kaggle: Challenges in Representation Learning, Facial Expression Recognition
Challenge), the votes in `fer2013new.csv` (repository microsoft/FERPlus); row k of one is row k of the other.

**Figures** on the validation part, by majority label, without the exact copies of training images ({images} faces);
averaged over mirror images; 95 % bootstrap intervals over images. No epoch was selected: it is the last.

| | value | interval |
|---|---|---|
| accuracy | {accuracy:.3f} | {accuracy_interval[0]:.3f} to {accuracy_interval[1]:.3f} |
| macro-F1, eight classes | {macro_f1:.3f} | {macro_f1_interval[0]:.3f} to {macro_f1_interval[1]:.3f} |
| macro-F1, classes of at least 50 images | {macro_f1_of_50:.3f} | \
{macro_f1_of_50_interval[0]:.3f} to {macro_f1_of_50_interval[1]:.3f} |

| class | precision | recall | F1 | F1 interval | images |
|---|---|---|---|---|---|
{classes}

**Limits.** Posed and web faces, mostly frontal; few images of contempt, disgust and fear, which it reads poorly. On
people speaking, mouth shapes are read as emotion. FER2013 is unbalanced in age, sex and skin colour, and merc has not
measured how its errors differ between groups. An expression is not a feeling.
"""


def face_card(scores: dict[str, Any]) -> str:
    """Markdown, from the result of `score_faces` with the configurations of its trainings, first to last."""
    rows = [
        f"| {name} | {c['precision']:.2f} | {c['recall']:.2f} | {c['f1']:.2f} | "
        f"{c['f1_interval'][0]:.2f} to {c['f1_interval'][1]:.2f} | {c['support']} |"
        for name, c in scores["per_class"].items()
    ]
    commands = [_command(k, config) for k, config in enumerate(scores["trainings"], 1)]
    return CARD.format(**scores, commands="\n".join(commands), classes="\n".join(rows))


def _command(number: int, config: dict[str, Any]) -> str:
    stages = ",".join(f"{side}x{epochs}" for side, epochs in config["stages"])
    start = f" --start runs/face{number - 1}/model.safetensors" if number > 1 else ""
    start += f" --distill {config['distill']:g}" if config.get("distill") else ""
    return (
        f"    merc pretrain visual --data ferplus_48.npz --out runs/face{number}{start} --stages {stages} "
        f"--lr {config['lr']:g} --jitter {config['jitter']:g} --seed {config['seed']}"
    )
