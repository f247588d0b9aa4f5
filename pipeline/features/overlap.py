"""How likely it is that two people speak at once in an utterance (profile `offline`).

The network that hears who speaks when (`pipeline.segmentation.talking`) says so; docs/speakers.md
has the figures.
"""

from __future__ import annotations

from typing import Any

from pipeline.core.dialogue import Segmentation
from pipeline.media.decode import Media
from pipeline.segmentation.talking import STEP, heard, listen

__all__ = ["LIKELY", "note_overlaps"]

LIKELY = 0.7  # probability from which merc warns


def note_overlaps(
    media: Media, segmentation: Segmentation, quality: list[dict[str, Any]], extractor: Any
) -> None:
    """Add `overlap` to what is known about voices: that two speak at once for 0.2 s or more.

    quality: one dict for each utterance; those without a voice stay as they are. extractor: of the
    voices; only that of profile `offline` counts.
    """
    from extractors.speech import SpeechExtractor

    voiced = [k for k, about in enumerate(quality) if about["present"]]
    if not voiced or not isinstance(extractor, SpeechExtractor):
        return
    # a transcript with times: nothing has been heard so far, and less will do
    talk = heard(media) if "recogniser" in segmentation.source else listen(media, 2 * STEP)
    for k in voiced:
        utterance = segmentation.utterances[k]
        quality[k]["overlap"] = round(talk.overlap(utterance.start, utterance.end), 2)
