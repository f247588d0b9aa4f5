"""The languages that Whisper knows."""

from __future__ import annotations

from pipeline.core.errors import UsageError

__all__ = ["check_language"]


def check_language(language: str | None) -> None:
    """Raise UsageError if Whisper does not know a language; a region may follow it.

    >>> check_language("en"), check_language("pt-BR"), check_language(None)
    (None, None, None)
    """
    if language is None:
        return
    from faster_whisper.tokenizer import _LANGUAGE_CODES  # a tuple; there is no public list

    if language.split("-")[0].lower() not in _LANGUAGE_CODES:
        raise UsageError(
            f"unknown language {language!r}", f"choose one of {', '.join(sorted(_LANGUAGE_CODES))}"
        )
