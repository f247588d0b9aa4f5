"""Measure a run on the paired corpus and write it as merc-offline with its card (`merc ship`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from css_model import save_checkpoint
from pipeline.core.dialogue import MODALITIES
from pipeline.core.errors import MercError
from pipeline.core.files import write_text
from pipeline.core.render import markdown_table
from pipeline.corpora.meld_transcripts import EMOTIONS
from pipeline.recipes.measure_on_clips import VERSIONS, measure_clips, measure_exchange
from pipeline.recipes.measure_on_corpus import (
    calibration,
    corpus_shows,
    faces_alone,
    neutral_words,
    other_words_alone,
    text_alone,
    together,
    voices_alone,
)
from pipeline.recipes.paired import PairedCorpus, Rates, load_paired
from pipeline.recipes.voice_probe import with_voice_probe
from pipeline.training.predictor import SHIPPED, Predictor

__all__ = ["measure", "offline_card", "ship"]

Report = Callable[[str], None]

CARD = """# Model card: merc-offline

Cross-Space Synergy, width {d}, {parameters:,} parameters, {megabytes:.1f} MB in half precision.

For every utterance of a dialogue, the model reads up to three features and predicts one of MELD's
seven emotions. The features are 384-d MiniLM of the text, fine-tuned on four corpora; 768-d
statistics of the first layer of Whisper's encoder (tiny.en) of the voice; and 342-d FER+ DenseNet
of the face. Any of them may be missing. Where there is nothing but a voice, a linear classifier of
the same features counts beside the network.

**Training data:** the paired corpus. Utterances of MELD, EmoryNLP, DailyDialog and GoEmotions were
given acted voices (EmoDB, TESS, CREMA-D, RAVDESS; clean and distorted) and posed faces (FER+). What
a face shows of an emotion follows the votes of CREMA-D's crowd. {voice} of the voices and
{face} of the faces show another emotion than the words, mostly neutral, and in
{unreliable} of the dialogues all of them do. No video was used. **Licence:** research use (see
LICENSE-WEIGHTS.md).

**To reproduce** (docs/merc-offline.md says where to get the data):

    merc train --dataset paired --data DATA --seeds {seeds} --out RUN
    merc ship RUN --data DATA --clips GRID --out OUT

## Scores
Brackets are 95 % bootstrap intervals. The epoch of each seed was chosen on MELD dev, with voices of
16 actors and faces of FER+ valid (without copies) that were not used in training. MELD's test part
was not read.

{figures}
Voice alone, one utterance at a time, actors that were not used in training, uniform prior (UAR):

{voices}
Logistic regression names the corpus of such a clip, from what the model reads of it, with a recall
of {shows_clean:.2f} clean and {shows_changed:.2f} distorted (chance: .25 to .33).

Neutral words, whose emotion only voice and face show ({film_utterances} utterances, one at a time;
voices of unseen actors, faces of FER+ valid that follow the crowd's votes), as a person plays it
(rows) and as labelled (columns), in percent:

{confusion}
## Limitations
- The voices are those of actors, in English and German; the faces are posed. How emotions look and
  sound when people do not act is not in the training data.
- Confidences were calibrated on the paired corpus (one temperature per set of present modalities,
  below), not on real video.
- The words are English: an American sitcom, exercises of English conversation, comments on the web.
- The figures of the face alone and of neutral words use images of faces, not frames of video.
- No scores by age, sex or skin colour were measured. An expression is not a feeling: do not judge
  people by it.

{calibration}"""


def ship(
    run: Path,
    data: Path,
    clips: Path,
    out: Path,
    jobs: int = 1,
    report: Report = lambda message: None,
) -> dict[str, Any]:
    """Measure a run and write merc-offline.safetensors (half precision), .md and .json into `out`.

    run: of `merc train --dataset paired`, with the model of every seed.
    data: folder of the paired corpus; clips: folder of GRID clips.

    Returns the content of merc-offline.json. Raises MercError.
    """
    paths = sorted(run.glob("seed-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))
    if not paths:
        raise MercError(
            f"{run}: no models of its seeds (seed-N.safetensors)",
            "train it with --dataset paired, or with --set train.keep_seeds=true",
        )
    corpus = load_paired(data, report)
    best = Predictor.load(run)
    best.check(corpus.fingerprints)
    report("fitting a linear classifier of voices")
    checkpoint = with_voice_probe(best.checkpoint, corpus)
    with TemporaryDirectory(prefix="merc-ship-") as folder:
        # measure the weights as they ship, in half precision
        half = Path(folder) / "half.safetensors"
        save_checkpoint(half, checkpoint, half=True)
        shipped = Predictor.load(half)
        seeds = [Predictor.load(path) for path in paths]
        figures = measure(shipped, seeds, corpus, clips, jobs, report)
    target = out / f"{SHIPPED}.safetensors"
    extra = checkpoint.extra | {"model": SHIPPED}
    save_checkpoint(target, replace(checkpoint, extra=extra), half=True)
    figures |= {
        "d": checkpoint.config.to_dict()["d"],
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
    jobs: int = 1,
    report: Report = lambda message: None,
) -> dict[str, Any]:
    """Measure all figures of the card."""

    def exchange() -> dict[str, Any]:
        dialogues = {
            modality: corpus.draw("valid", np.random.default_rng(3))
            for modality in ("audio", "visual")
        }
        return {m: measure_exchange(shipped, drawn, m) for m, drawn in dialogues.items()}

    steps: dict[str, Callable[[], Any]] = {
        "text": lambda: text_alone(seeds, corpus),
        "other_words": lambda: other_words_alone(shipped, corpus),
        "together": lambda: together(seeds, corpus),
        "faces": lambda: faces_alone(shipped, corpus),
        "calibration": lambda: calibration(shipped, corpus),
        "exchange": exchange,
        "clips": lambda: measure_clips(shipped, clips, jobs),
        "voices": lambda: voices_alone(shipped, corpus),
        "corpus_shows": lambda: corpus_shows(shipped, corpus),
        "neutral_words": lambda: neutral_words(shipped, corpus),
    }
    figures: dict[str, Any] = {"seeds": len(seeds)}
    for name, step in steps.items():
        report(f"measuring {name}")
        figures[name] = step()
    return figures


def offline_card(figures: dict[str, Any]) -> str:
    """Generate the card as Markdown from the content of merc-offline.json.

    The order of keys in figures does not matter.
    """
    rates, film = Rates(), figures["neutral_words"]
    return CARD.format(
        d=figures["d"],
        parameters=figures["parameters"],
        megabytes=figures["megabytes"],
        seeds=figures["seeds"],
        voice=f"{rates.voice:.0%}",
        face=f"{rates.face:.0%}",
        unreliable=f"{rates.unreliable:.0%}",
        figures=markdown_table(
            ["what", "score"], [*_corpus_rows(figures), *_clip_rows(figures["clips"], figures)]
        ),
        voices=_voice_table(figures["voices"]),
        shows_clean=figures["corpus_shows"]["clean"],
        shows_changed=figures["corpus_shows"]["changed"],
        film_utterances=film["utterances"],
        confusion=_confusion_table(film["confusion"]),
        calibration=_calibration_table(figures["calibration"]),
    )


def _corpus_rows(figures: dict[str, Any]) -> list[list[str]]:
    text, faces, film = figures["text"], figures["faces"], figures["neutral_words"]
    rows = [
        [
            "text alone, MELD dev, weighted F1",
            f"{_with_interval(text, 'weighted_f1')}, {text['seeds']} seeds, sd {text['sd']:.3f}; "
            f"logistic regression of single utterances {text['logistic_regression']:.3f}",
        ]
    ]
    for name, title in (("emorynlp", "EmoryNLP"), ("goemotions", "GoEmotions")):
        scores = figures["other_words"][name]
        rows.append(
            [
                f"text alone, {title} valid, accuracy of the emotions that it shares with MELD",
                f"{_with_interval(scores, 'accuracy')}, {scores['utterances']} utterances",
            ]
        )
    for rate, scores in sorted(figures["together"].items(), key=_rate):
        rows.append(
            [
                f"all modalities, {float(rate):.0%} of voices and faces wrong",
                _with_interval(scores, "weighted_f1"),
            ]
        )
    rows += [
        [
            "neutral words, voice and face show the emotion: utterances with an emotion right",
            _with_interval(film["emotions"], "accuracy"),
        ],
        ["the same: neutral utterances right", _with_interval(film["neutral"], "accuracy")],
        ["the same: calibration error", f"{film['calibration_error']:.3f}"],
        [
            "the same: right where the confidence is .9 or more",
            f"{film['confident']['accuracy']:.0%} of {film['confident']['utterances']}",
        ],
        [
            "face alone, FER+ valid, accuracy of seven emotions, uniform prior",
            f"{_with_interval(faces, 'accuracy')}, {faces['images']} images; fear "
            f"{faces['recall']['fear']:.2f}, disgust {faces['recall']['disgust']:.2f}",
        ],
    ]
    return rows


def _clip_rows(clips: dict[str, Any], figures: dict[str, Any]) -> list[list[str]]:
    rows = []
    for modalities in ("+".join(MODALITIES), *MODALITIES):
        shares = clips["neutral"][modalities]
        title = f"GRID ({clips['clips']} neutral clips) labelled neutral"
        rows.append(
            [
                f"{title}, {modalities.replace('+', ', ')}",
                f"{shares['train']:.0%}; with a uniform prior {shares['uniform']:.0%}",
            ]
        )
    same = ", ".join(f"{version} {clips['kept'][version]:.0%}" for version in (*VERSIONS, "all"))
    rows.append(["GRID clips with the same label in another encoding", same])
    for corpus, effects in (("GRID", clips["exchange"]), ("MELD dev", figures["exchange"])):
        for modality, effect in sorted(effects.items()):
            what = "voice" if modality == "audio" else "face"
            rows.append(
                [
                    f"change of the probabilities when the {what} is exchanged ({corpus})",
                    f"{effect['mean']:.3f} on average (at least {effect['least']:.4f}); "
                    f"another label in {effect['labels_changed']:.0%}",
                ]
            )
    return rows


def _voice_table(voices: dict[str, Any]) -> str:
    rows = [
        [name, str(scores["clips"]), str(scores["emotions"])]
        + [_with_interval(scores[version], "uar") for version in ("clean", "changed")]
        + [" / ".join(f"{scores[v]['logistic_regression']:.3f}" for v in ("clean", "changed"))]
        for name, scores in sorted(voices.items())
    ]
    header = ["corpus", "clips", "emotions", "clean", "distorted", "logistic regression"]
    return markdown_table(header, rows)


def _confusion_table(shares: list[list[float]]) -> str:
    rows = [
        [name, *(f"{share:.0%}"[:-1] for share in row)]
        for name, row in zip(EMOTIONS, shares, strict=True)
    ]
    return markdown_table(["", *EMOTIONS], rows)


def _calibration_table(figures: dict[str, Any]) -> str:
    rows = []
    for modalities, entry in sorted(figures.items()):
        errors = [f"{entry[key]:.3f}" for key in ("before", "after")]
        rows.append([modalities.replace("+", ", "), f"{entry['temperature']:.2f}", *errors])
    header = ["present", "temperature", "calibration error before", "after (MELD dev)"]
    return markdown_table(header, rows)


def _rate(item: tuple[str, Any]) -> float:
    return float(item[0])


def _with_interval(figure: dict[str, Any], name: str) -> str:
    low, high = figure["interval"]
    return f"{figure[name]:.3f} [{low:.3f}, {high:.3f}]"
