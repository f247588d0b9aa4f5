"""The page of two annotations: figures, confusion, where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.exports.page.page import colours_of
from pipeline.exports.page.plots import draw_annotations
from pipeline.exports.page.templates import policy, read, render, url_of

__all__ = ["Lane", "named_figures", "render_agreement"]

FIGURES = {
    "same emotion": "share of the pairs of utterances with the same emotion",
    "Cohen's kappa": "agreement beyond chance, each side with its own frequencies",
    "Krippendorff's alpha": "agreement beyond chance, with the frequencies of both sides together",
    "speakers: error": "diarization error of B against A, the sum of the next three",
    "speakers: missed": "speech that only A has, as a share of A's speech",
    "speakers: extra": "speech that only B has, as a share of A's speech",
    "speakers: confused": "speech of another speaker, as a share of A's speech",
    "times: purity": "how far utterances of B lie within one of A",
    "times: coverage": "how far utterances of A lie within one of B",
    "times: f": "harmonic mean of purity and coverage",
}


@dataclass(frozen=True)
class Lane:
    """The two annotations of one recording.

    sides: start, end and emotion of the utterances of A and of B. differ, alone: those of another
    emotion, and those that are in one annotation only; rows of `merc agree --json`.
    """

    recording: str
    sides: Sequence[Sequence[dict[str, Any]]]
    differ: Sequence[dict[str, Any]]
    alone: Sequence[dict[str, Any]]


def named_figures(result: dict[str, Any]) -> dict[str, float | None]:
    """Return the figures of an agreement by their names in tables; None: not defined.

    >>> figures = {"agreement": 0.5, "kappa": None, "alpha": 0.0, "speakers": None}
    >>> named_figures(figures | {"segmentation": {"f": 1.0}})["Cohen's kappa"] is None
    True
    """
    return {
        "same emotion": result["agreement"],
        "Cohen's kappa": result["kappa"],
        "Krippendorff's alpha": result["alpha"],
        **{f"speakers: {name}": value for name, value in (result["speakers"] or {}).items()},
        **{f"times: {name}": value for name, value in result["segmentation"].items()},
    }


def render_agreement(
    result: dict[str, Any],
    labels: Sequence[str],
    lanes: Sequence[Lane],
    *,
    names: tuple[str, str],
    links: Mapping[str, str],
) -> bytes:
    """Render the page of an agreement.

    Args:
        result: as `merc agree --json` prints it.
        labels: all that the annotations know, so that colours are those of the dialogue's page.
        names: of the two files or folders.
        links: path of the dialogue's page, or of the recording, relative to this page, for each
            recording; "" if there is neither.
    """
    confusion = [
        (label, [(count, count / max(sum(row), 1)) for count in row], sum(row))
        for label, row in zip(result["labels"], result["confusion"], strict=True)
    ]
    shown = dict.fromkeys(u["emotion"] for lane in lanes for side in lane.sides for u in side)
    known = list(dict.fromkeys([*labels, *shown]))
    ends = [max((u["end"] for side in lane.sides for u in side), default=0.0) for lane in lanes]
    drawn = [
        (
            lane,
            round(end),
            Markup(draw_annotations(lane.sides, lane.differ, lane.alone, known, end)),
        )
        for lane, end in zip(lanes, ends, strict=True)
    ]
    return render(
        "agreement.html",
        result=result,
        names=names,
        figures=named_figures(result),
        meanings=FIGURES,
        confusion=confusion,
        totals=[sum(column) for column in zip(*result["confusion"], strict=True)],
        legend=[label for label in known if label in shown],
        numbers={label: number for number, label in enumerate(known)},
        colours=list(colours_of(known).values()),
        lanes=drawn,
        links={recording: url_of(path) for recording, path in links.items()},
        policy=policy(),
        style=Markup(read("page.css") + read("index.css") + read("agreement.css")),
    )
