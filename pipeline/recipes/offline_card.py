"""`merc ship`: measure a run of the paired corpus, and write it as merc-offline with its model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from css_model import save_checkpoint
from pipeline.core.files import write_text
from pipeline.core.render import markdown_table
from pipeline.recipes.measure_on_clips import exchange, on_clips
from pipeline.recipes.measure_on_corpus import (
    calibration,
    faces_alone,
    text_alone,
    together,
    voices_alone,
)
from pipeline.recipes.paired import JUDGED, PairedCorpus, Rates, load_paired
from pipeline.training.config import load_configuration
from pipeline.training.predictor import SHIPPED, Predictor

__all__ = ["measure", "offline_card", "ship"]

SIMPLE_EPOCHS = 6  # of the voice branches: one modality is learned sooner

CARD = """# Model card: merc-offline

Cross-Space Synergy, width {d}, {parameters:,} parameters, {megabytes:.1f} MB in half precision.  It reads three
features of an utterance (384-d MiniLM, fine-tuned on MELD, of its words, 1582-d openSMILE IS10 of its voice,
342-d FER+ DenseNet of its face; any may be missing), within the dialogue, and gives seven MELD emotions.

**Trained on** the paired corpus: the dialogues of MELD's training part, whose utterances were given an acted voice
(EmoDB, TESS; clean and distorted) and posed faces (FER+) by emotion, wrong on purpose in {voice:.0%} of the voices and
{face:.0%} of the faces (validation: {judged_voice:.0%} and {judged_face:.0%}), missing at random besides.  No film was
seen.  **Licence** research use (see LICENSE-WEIGHTS.md).

**Make it again** (docs/merc-offline.md says where the data is had)

    merc train --dataset paired --data DATA --seeds {seeds} --out RUN
    merc ship RUN --data DATA --clips GRID --out OUT

## Figures
95 % bootstrap intervals in brackets.  MELD dev chose the epoch of each seed and of the text encoder; its voices (EmoDB
speakers 09 and 12) and faces (FER+ valid without copies) trained nothing.  MELD's test part was not read.

{figures}
Voice of each EmoDB speaker, by a branch that never heard it:

{speakers}
{limits}"""

LIMITS = """## Limits
- Confidences were fitted on the paired corpus (temperature per set of present modalities, below) and are **not
  calibrated on real video**.
- One corpus of words (American sitcom), one language; acted German and English voices; posed faces.  What an emotion
  looks and sounds like between people who do not act was never shown to it.
- Surprise was heard from two actresses only.  Fear and disgust are rare in its words and rarely right.
- The order of trust is words, voice, face; how far a wrong voice or face misleads it is the table above.
- No figure by age, sex or skin colour was measured.  An expression is not a feeling: do not judge people by it.

{calibration}"""


def ship(
    run: Path,
    data: Path,
    clips: Path,
    out: Path,
    jobs: int = 1,
    report: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Write `out`/merc-offline.safetensors (half precision), merc-offline.md and merc-offline.json.

    run: of `merc train --dataset paired`, with the model of every seed.  Raises ValueError or OSError.
    """
    names = sorted(run.glob("seed-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))
    if not names:
        raise FileNotFoundError(
            f"{run} keeps no seed-N.safetensors; train it with --dataset paired, whose settings "
            "keep the model of every seed"
        )
    corpus = load_paired(data)
    best = Predictor.load(run)
    best.check(corpus.fingerprints)
    target = out / f"{SHIPPED}.safetensors"
    with TemporaryDirectory(prefix="merc-ship-") as folder:
        small = Path(folder) / "half.safetensors"
        save_checkpoint(small, best.checkpoint, half=True)
        shipped = Predictor.load(small)  # what is measured is what ships
        figures = measure(
            shipped,
            [Predictor.load(name) for name in names],
            corpus,
            clips,
            Path(folder),
            jobs,
            report,
        )
    save_checkpoint(
        target,
        replace(best.checkpoint, extra=best.checkpoint.extra | {"model": SHIPPED}),
        half=True,
    )
    figures |= {
        "d": best.checkpoint.config.d,
        "parameters": shipped.model.parameter_count(),
        "megabytes": target.stat().st_size / 1e6,
    }
    write_text(out / f"{SHIPPED}.json", json.dumps(figures, indent=1, sort_keys=True) + "\n")
    write_text(out / f"{SHIPPED}.md", offline_card(figures))
    return figures


def measure(
    shipped: Predictor,
    seeds: list[Predictor],
    corpus: PairedCorpus,
    clips: Path,
    folder: Path,
    jobs: int = 1,
    report: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Every figure of the card.  folder: for the voice branches trained on the way."""
    config = load_configuration("paired", [f"train.epochs={SIMPLE_EPOCHS}", "train.threads=1"])
    figures: dict[str, Any] = {"seeds": len(seeds)}
    steps: dict[str, Callable[[], Any]] = {
        "text": lambda: text_alone(seeds, corpus),
        "together": lambda: together(seeds, corpus),
        "faces": lambda: faces_alone(shipped, corpus),
        "calibration": lambda: calibration(shipped, corpus),
        "exchange": lambda: {
            m: exchange(shipped, corpus.draw("valid", np.random.default_rng(3)), m)
            for m in ("audio", "visual")
        },
        "clips": lambda: on_clips(shipped, clips, jobs),
        "voices": lambda: voices_alone(corpus, config, folder, jobs),
    }
    for name, step in steps.items():
        report(f"measuring {name}")
        figures[name] = step()
    return figures


def offline_card(figures: dict[str, Any]) -> str:
    """Markdown from the result of `measure`."""
    text, faces, clips, voices = (figures[name] for name in ("text", "faces", "clips", "voices"))
    kept = clips["kept"]
    rows = [
        [
            "words alone, MELD dev, weighted F1",
            f"{_span(text, 'weighted_f1')}, {text['seeds']} seeds, sd "
            f"{text['sd']:.3f}; logistic regression of single utterances {text['logistic_regression']:.3f}",
        ]
    ]
    rows += [
        [
            f"all together, voices and faces wrong in {float(rate):.0%}",
            f"{_span(own, 'weighted_f1')}",
        ]
        for rate, own in figures["together"].items()
    ]
    rows += [
        [f"voice alone, {name}, UAR of six, speaker never heard", _span(voices[name], "uar")]
        for name in ("clean", "distorted")
    ]
    rows += [
        [
            "face alone, FER+ valid, accuracy of seven, uniform prior",
            f"{_span(faces, 'accuracy')}, {faces['images']} images",
        ]
    ]
    rows += [
        [
            f"GRID ({clips['clips']} neutral clips) called neutral, {name.replace('+', ', ')}",
            f"{own['train']:.0%}; uniform prior {own['uniform']:.0%}",
        ]
        for name, own in clips["neutral"].items()
    ]
    rows += [
        [
            "their labels kept by another version",
            ", ".join(f"{name} {value:.0%}" for name, value in kept.items()),
        ]
    ]
    for where, moves in (("GRID", clips["exchange"]), ("MELD dev", figures["exchange"])):
        rows += [
            [
                f"exchanging the {'voice' if m == 'audio' else 'face'} moves the probabilities ({where})",
                f"by {own['mean']:.3f} on average (at least {own['least']:.4f}), another label in "
                f"{own['labels_changed']:.0%}",
            ]
            for m, own in moves.items()
        ]
    speakers = markdown_table(
        ["speaker", "clips", "clean", "distorted"],
        [
            [name, str(own["clips"]), f"{own['clean']:.2f}", f"{own['distorted']:.2f}"]
            for name, own in voices["speakers"].items()
        ],
    )
    table = markdown_table(
        ["present", "temperature", "calibration error before", "after (MELD dev)"],
        [
            [
                name.replace("+", ", "),
                f"{own['temperature']:.2f}",
                f"{own['before']:.3f}",
                f"{own['after']:.3f}",
            ]
            for name, own in figures["calibration"].items()
        ],
    )
    rates = {
        "voice": Rates().voice,
        "face": Rates().face,
        "judged_voice": JUDGED[0],
        "judged_face": JUDGED[1],
    }
    return CARD.format(
        d=figures["d"],
        parameters=figures["parameters"],
        megabytes=figures["megabytes"],
        seeds=figures["seeds"],
        figures=markdown_table(["what", "figure"], rows),
        speakers=speakers,
        limits=LIMITS.format(calibration=table),
        **rates,
    )


def _span(figure: dict[str, Any], name: str) -> str:
    low, high = figure["interval"]
    return f"{figure[name]:.3f} [{low:.3f}, {high:.3f}]"
