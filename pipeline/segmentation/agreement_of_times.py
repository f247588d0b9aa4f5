"""Agreement of two annotations in who speaks, and in where utterances begin and end."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

__all__ = ["compare_times"]

Utterances = Sequence[dict[str, Any]]


def compare_times(recordings: Sequence[tuple[Utterances, Utterances]]) -> dict[str, Any]:
    """Compare the utterances of two annotations, for each recording, over all of the time.

    Returns:
        speakers: diarization error of the second annotation and its parts, as shares of the speech
        of the first, with names matched as well as possible; None if one side names no speakers.
        segmentation: purity, coverage and their F (Bredin 2017, pyannote.metrics).

    >>> utterances = [{"start": 0.0, "end": 1.0, "speaker": "Ann"}]
    >>> compare_times([(utterances, utterances)])["speakers"]["error"]
    0.0
    """
    named = [[_speech(side) for side in sides] for sides in recordings]
    numbered = [[_speech(side, numbered=True) for side in sides] for sides in recordings]
    return {"speakers": _speakers(named), "segmentation": _segmentation(numbered)}


def _speech(utterances: Utterances, numbered: bool = False) -> Any:
    """Return the utterances as an annotation of pyannote, each with its speaker or its number.

    With numbers, pyannote does not join utterances of one speaker that follow each other at once.
    """
    from pyannote.core import Annotation, Segment

    speech = Annotation()
    for index, utterance in enumerate(utterances):
        if utterance["end"] > utterance["start"]:
            speech[Segment(utterance["start"], utterance["end"]), index] = (
                str(index) if numbered else utterance["speaker"]
            )
    return speech


def _extent(*speeches: Any) -> Any:
    from pyannote.core import Segment, Timeline

    spans = [speech.get_timeline().extent() for speech in speeches if speech]
    return Timeline([Segment(min(s.start for s in spans), max(s.end for s in spans))])


def _speakers(speech: list[list[Any]]) -> dict[str, float | None] | None:
    from pyannote.metrics.diarization import DiarizationErrorRate

    for side in zip(*speech, strict=True):
        if {name for annotation in side for name in annotation.labels()} <= {""}:
            return None
    metric = DiarizationErrorRate()
    for one, other in speech:
        if one or other:
            metric(one, other, uem=_extent(one, other))
    found: Any = metric[:]  # type: ignore[index]
    total = found["total"] or math.nan
    parts = {"missed": "missed detection", "extra": "false alarm", "confused": "confusion"}
    return {"error": abs(metric)} | {name: found[key] / total for name, key in parts.items()}


def _segmentation(speech: list[list[Any]]) -> dict[str, float]:
    from pyannote.metrics.segmentation import SegmentationPurityCoverageFMeasure

    metric = SegmentationPurityCoverageFMeasure()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an extent that it approximates, as it is here
        for one, other in speech:
            if one and other:
                metric(one, other)
    purity, coverage, f = metric.compute_metrics()
    return {"purity": purity, "coverage": coverage, "f": f}
