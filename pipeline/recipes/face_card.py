"""The model card of the face network, generated from its scores."""

from __future__ import annotations

from typing import Any

from pipeline.core.render import markdown_table

__all__ = ["face_card"]

CARD = """# Model card: face network

DenseNet-BC (growth rate 12, three blocks of 16 layers, compression 0.5; grey input of
{size}x{size} pixels; 768,044 parameters). The output of its last layer, average-pooled after the
last batch norm and ReLU, is the 342-d visual feature. A linear layer on it gives the eight FER+
classes.

**Training data:** the training part of FER2013 (28,558 faces) with the label distributions of FER+;
single votes are removed. **Licence:** research use, as the images (see LICENSE-WEIGHTS.md).

**To reproduce:**

{commands}

`ferplus_48.npz` holds `images` (n, 48, 48) uint8, `votes` (n, 10) uint8 in FER+ order and `split`
(0 train, 1 valid). The images come from `fer2013.csv` (Kaggle: Challenges in Representation
Learning, Facial Expression Recognition Challenge), the votes from `fer2013new.csv` (repository
microsoft/FERPlus). The rows of the two files correspond.

**Scores** on the validation part by majority label, without exact copies of training images
({images} faces). Predictions are averaged over mirror images; intervals are 95 % bootstrap
intervals over images. The network is that of the last epoch; no epoch was selected.

{summary}
{classes}
**Limitations.** The faces are posed or from the web, mostly frontal. Few of them show contempt,
disgust or fear, and the network is poor at these. When people speak, it takes mouth shapes for
emotion. FER2013 is unbalanced in age, sex and skin colour, and differences in error between groups
have not been measured. An expression is not a feeling.
"""


def face_card(scores: dict[str, Any]) -> str:
    """Generate the card as Markdown.

    scores: of `score_faces`, with the configurations of all trainings, first to last, as
    `trainings`.
    """
    summary = [
        _summary_row("accuracy", scores, "accuracy"),
        _summary_row("macro F1, eight classes", scores, "macro_f1"),
        _summary_row("macro F1, classes of at least 50 images", scores, "macro_f1_of_50"),
    ]
    classes = [_class_row(name, figures) for name, figures in scores["per_class"].items()]
    commands = [_command(number, c) for number, c in enumerate(scores["trainings"], 1)]
    return CARD.format(
        size=scores["size"],
        images=scores["images"],
        commands="\n".join(commands),
        summary=markdown_table(["", "value", "interval"], summary),
        classes=markdown_table(
            ["class", "precision", "recall", "F1", "F1 interval", "images"], classes
        ),
    )


def _summary_row(title: str, scores: dict[str, Any], name: str) -> list[str]:
    low, high = scores[f"{name}_interval"]
    return [title, f"{scores[name]:.3f}", f"{low:.3f} to {high:.3f}"]


def _class_row(name: str, figures: dict[str, Any]) -> list[str]:
    low, high = figures["f1_interval"]
    values = [f"{figures[key]:.2f}" for key in ("precision", "recall", "f1")]
    return [name, *values, f"{low:.2f} to {high:.2f}", str(figures["support"])]


def _command(number: int, config: dict[str, Any]) -> str:
    stages = ",".join(f"{side}x{epochs}" for side, epochs in config["stages"])
    start = f" --start runs/face{number - 1}/model.safetensors" if number > 1 else ""
    distill = f" --distill {config['distill']:g}" if config.get("distill") else ""
    return (
        f"    merc pretrain visual --data ferplus_48.npz --out runs/face{number}{start}{distill}"
        f" --stages {stages} --lr {config['lr']:g} --jitter {config['jitter']:g}"
        f" --seed {config['seed']}"
    )
