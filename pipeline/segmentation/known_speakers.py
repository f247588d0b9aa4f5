"""Name speakers as they speak: by the voices heard so far, without looking ahead. Approximate."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from pipeline.core.dialogue import Utterance
from pipeline.media.decode import Media
from pipeline.segmentation.speakers_by_voice import assign_speakers, voice_vectors

__all__ = ["KnownSpeakers"]

REMEMBERED = 256  # utterances; a voice that was not heard for so long is a new speaker


class KnownSpeakers:
    """Clusters the latest voices with each new one. A name that was given is not taken back.

    count: the number of speakers, if known.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count
        self._voices: deque[tuple[np.ndarray, float, str]] = deque(maxlen=REMEMBERED)
        self._names = 0

    def name(self, media: Media, utterances: list[Utterance]) -> list[Utterance]:
        """Name the speakers of new utterances, in order of time; "" with too little sound."""
        vectors, seconds = voice_vectors(media, utterances)
        named = []
        for utterance, vector, length in zip(utterances, vectors, seconds, strict=True):
            speaker = self.identify(vector, float(length))
            named.append(replace(utterance, speaker=speaker))
        return named

    def identify(self, vector: np.ndarray, seconds: float) -> str:
        """Return the speaker of the next voice vector, (192,), and remember it."""
        if not np.isfinite(vector).all():
            return ""
        vectors = np.stack([*(voice[0] for voice in self._voices), vector])
        lengths = np.array([*(voice[1] for voice in self._voices), seconds])
        numbers = assign_speakers(vectors, lengths, self.count)
        speaker = self._owned(numbers)
        if not speaker and self.count and self._names >= self.count:
            speaker = self._nearest(vector)
        elif not speaker:
            self._names += 1
            speaker = f"S{self._names}"
        self._voices.append((vector, seconds, speaker))
        return speaker

    def _owned(self, numbers: list[int]) -> str:
        """Return the name of the last one's cluster, "" if it has none.

        A name belongs to one cluster: first utterances may have been named wrongly.
        """
        from scipy.optimize import linear_sum_assignment  # takes a third of a second

        names = list(dict.fromkeys(name for _, _, name in self._voices))
        heard = np.zeros((max(numbers) + 1, len(names)))  # s
        for number, (_, length, name) in zip(numbers, self._voices, strict=False):
            heard[number, names.index(name)] += length
        for cluster, column in zip(*linear_sum_assignment(-heard), strict=True):
            if cluster == numbers[-1] and heard[cluster, column]:
                return names[column]
        return ""

    def _nearest(self, vector: np.ndarray) -> str:
        distances = [float(np.linalg.norm(voice[0] - vector)) for voice in self._voices]
        return self._voices[int(np.argmin(distances))][2]
