"""Errors and warnings that a user can act on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MercError", "MercWarning", "UsageError"]


class MercError(ValueError):
    """An error with a reason (what was wrong, with which input) and a remedy (what to do).

    >>> str(MercError("talk.mp4: empty file", "copy it again"))
    'talk.mp4: empty file; copy it again'
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason, remedy)  # the arguments, so that it survives pickling
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


class UsageError(MercError):
    """Unusable arguments. The command line exits with code 2."""


@dataclass(frozen=True)
class MercWarning:
    """Something a user should know about one input. The result is still usable.

    >>> str(MercWarning("talk.mp4", "no audio stream"))
    'talk.mp4: no audio stream'
    """

    subject: str  # a file name, or what else the warning is about; empty if it is about the whole
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}" if self.subject else self.text
