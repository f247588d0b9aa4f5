"""Find speech that is probably not English in what an English recogniser has heard.

An English Whisper writes English words for any language, with low probabilities: about 0.4 on
average for German, 0.85 for English read aloud. The sum of (`EXPECTED` - probability) over
consecutive words therefore rises during other languages and falls during English (the cumulative
sum test of Page 1954 for a change of the mean).
"""

from __future__ import annotations

from pipeline.core.dialogue import Word

__all__ = ["doubtful_spans"]

EXPECTED = 0.65  # between the mean probabilities of English and of other languages
EVIDENCE = 1.5  # sum above which words are reported
FEWEST = 10  # words; in fewer, unclear English is as improbable
_SILENCE = 5.0  # s; longer silence ends a span


def doubtful_spans(words: list[Word]) -> list[tuple[float, float]]:
    """Return the spans (start, end), in seconds, whose words are probably not English.

    >>> sure = [Word(k, k + 1.0, "yes", 0.9) for k in range(5)]
    >>> unsure = [Word(k, k + 1.0, "may", 0.3) for k in range(5, 17)]
    >>> doubtful_spans(sure + unsure)
    [(5, 17.0)]
    """
    spans = []
    first, last, total, best = 0, 0, 0.0, 0.0

    def end_span() -> None:
        if best >= EVIDENCE and last - first + 1 >= FEWEST:
            spans.append((words[first].start, words[last].end))

    for index, word in enumerate(words):
        silence = index > 0 and word.start - words[index - 1].end > _SILENCE
        if total <= 0 or silence or best - total > EVIDENCE:
            end_span()
            first, total, best = index, 0.0, 0.0
        total += EXPECTED - word.probability
        if total > best:
            last, best = index, total
    end_span()
    return spans
