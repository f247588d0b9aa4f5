"""The languages that Whisper knows, and which of them a recording is in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pipeline.core.errors import UsageError

__all__ = ["check_language", "choose_languages", "is_english", "language_code", "language_doubts"]

SURE = 0.7  # probability from which a window has a language of its own


def check_language(language: str | None) -> None:
    """Raise UsageError if Whisper does not know a language; a region may follow it.

    >>> check_language("en"), check_language("pt-BR"), check_language(None)
    (None, None, None)
    """
    if language is None:
        return
    from faster_whisper.tokenizer import _LANGUAGE_CODES  # a tuple; there is no public list

    if language_code(language) not in _LANGUAGE_CODES:
        raise UsageError(
            f"unknown language {language!r}", f"choose one of {', '.join(sorted(_LANGUAGE_CODES))}"
        )


def language_code(language: str) -> str:
    """Return a language without its region.

    >>> language_code("pt-BR")
    'pt'
    """
    return language.split("-")[0].lower()


def is_english(language: str | None) -> bool:
    """Return whether a language, by default English, is English."""
    return language_code(language or "en") == "en"


def choose_languages(
    windows: Sequence[dict[str, float]], seconds: Sequence[float]
) -> tuple[list[str], str, float]:
    """Choose the language of each window of speech.

    windows: language -> probability, for each window. seconds: how long they are.

    A window that is unsure has the language of the whole recording, which is returned too, with its
    mean probability.

    >>> choose_languages([{"de": 0.75, "en": 0.25}, {"nl": 0.5, "de": 0.25}], [8.0, 8.0])
    (['de', 'de'], 'de', 0.5)
    """
    total: defaultdict[str, float] = defaultdict(float)
    for window, length in zip(windows, seconds, strict=True):
        for language, probability in window.items():
            total[language] += probability * length / sum(seconds)
    main = max(total, key=lambda language: (total[language], language))
    chosen = []
    for window in windows:
        best = max(window, key=lambda language: (window[language], language))
        chosen.append(best if window[best] >= SURE else main)
    return chosen, main, total[main]


def language_doubts(
    chosen: Sequence[str], main: str, probability: float, spans: Sequence[tuple[float, float]]
) -> list[str]:
    """Say where the language is uncertain, or another than the main one.

    spans: (start, end) of each window, in seconds.

    >>> language_doubts(["de", "en"], "de", 0.6, [(0.0, 20.0), (21.0, 25.0)])
    ["the speech at 21.0–25.0 s is taken to be in 'en', the rest in 'de'; if that is wrong, name \
the language with --language"]
    """
    others = [
        f"{start:.1f}–{end:.1f} s is taken to be in {language!r}"
        for language, (start, end) in zip(chosen, spans, strict=True)
        if language != main
    ]
    wrong = "if that is wrong, name the language with --language"
    if others:
        return [f"the speech at {', at '.join(others)}, the rest in {main!r}; {wrong}"]
    if probability < SURE:
        return [
            f"the speech is taken to be in {main!r}, with a probability of only "
            f"{probability:.2f}; {wrong}"
        ]
    return []
