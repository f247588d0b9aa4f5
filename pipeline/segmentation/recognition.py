"""Recognise speech: words with times, by faster-whisper (CTranslate2, int8).

Decoding is greedy, at temperature 0, and no text is carried from one window to the next, so the
same sound always gives the same words. Three measures keep invented text out: Whisper is given
only regions that contain speech; windows that it doubts (low log probability) or that repeat
themselves (high compression ratio; Radford et al. 2023, section 4.5) are dropped; and a region with
uncertain words, or with the words of the region before it, is recognised again on its own.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from extractors.threads import cancelling_pool, load_beside_torch
from pipeline.core.dialogue import Word
from pipeline.core.errors import MercWarning
from pipeline.core.fingerprints import package_version
from pipeline.core.resources import large_blocks_kept, release_memory, threads_of_process
from pipeline.media.decode import Media
from pipeline.segmentation.languages import (
    check_language,
    choose_languages,
    is_english,
    language_code,
    language_doubts,
)
from pipeline.segmentation.other_language import doubtful_spans
from pipeline.segmentation.voice_activity import Speech, find_speech, quietest
from pipeline.segmentation.whisper_weights import (
    EMBEDDED,
    RecognitionError,
    check_name,
    find_weights,
    weights_checksum,
)
from pipeline.segmentation.windows import Region, Window, pack, stretch

__all__ = ["EMBEDDED", "Recogniser", "Recognition", "RecognitionError"]

THREADS = 4  # of larger models; tiny.en takes one, which costs no time beside the other stages
LOOPING = 2.4  # gzip compression ratio of the text above which Whisper is repeating itself
SHORTEST_PART = 2.0  # s of a long region in which Whisper repeats itself
IMPLAUSIBLE = -1.3  # mean log probability below which the text does not match the sound
UNCERTAIN = 0.6  # mean word probability below which a region is recognised again, alone
REPEATED = 0.8  # share of a region's words that repeat the region before it; likewise
NOT_ENGLISH = 0.55  # mean word probability below which the speech is probably not English


@dataclass(frozen=True)
class Recognition:
    """Words in order, the speech that holds them, the language, and warnings.

    language: of most speech; None if there is no speech and no language was named.
    """

    words: list[Word]
    speech: Speech
    language: str | None
    warnings: list[MercWarning]


class Recogniser:
    """A Whisper model.

    model: `tiny.en` or `base` (packaged), a folder that holds a CTranslate2 model, or, in profile
        `roberta`, a name on the Hugging Face hub.
    language: what is spoken, such as "de"; by default multilingual models detect it in every
        window of 30 s.

    The weights are looked for when they are first needed.

    Raises RecognitionError if the profile does not allow the model, or its weights are missing or
    damaged; UsageError for a language that Whisper does not know.
    """

    def __init__(
        self, model: str = EMBEDDED, language: str | None = None, profile: str = "offline"
    ) -> None:
        self.model, self.language, self.profile = str(model), language, profile
        check_name(self.model, profile)
        check_language(language)

    @cached_property
    def folder(self) -> Path:
        """The folder that holds the weights."""
        return find_weights(self.model, self.profile)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the weights."""
        return weights_checksum(self.folder, self.model)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What determines the words: JSON-able, without paths."""
        name = Path(self.model).name if Path(self.model).is_dir() else self.model
        return {
            "extractor": "whisper",
            "version": f"7/{package_version('faster-whisper')}",
            "weights": self.sha256,
            "options": {
                "model": name,
                "language": self.language,
                "compute": "int8",
                "beam": 1,
                "activity": "silero and talking",
            },
        }

    @cached_property
    def _at_once(self) -> int:
        """How many windows are decoded at the same time. It changes no word."""
        # larger models use the cores of this process or worker for one window
        return threads_of_process() if self.model == EMBEDDED else 1

    @cached_property
    def _whisper(self) -> Any:
        from faster_whisper import WhisperModel

        assert self.sha256  # checks the file before it is parsed
        try:
            # a fixed number: each thread count sums products in another order
            threads = 1 if self.model == EMBEDDED else THREADS
            whisper = load_beside_torch(
                WhisperModel,
                str(self.folder),
                device="cpu",
                compute_type="int8",
                cpu_threads=threads,
                num_workers=self._at_once,
            )
        except (RuntimeError, ValueError) as error:
            raise RecognitionError(
                f"recogniser {self.model}: not a CTranslate2 Whisper model: {error}",
                "convert a model with ct2-transformers-converter and copy its tokenizer.json",
            ) from error
        release_memory()
        return whisper

    def recognise(
        self,
        media: Media,
        language: str | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Recognition:
        """Recognise the words of a whole recording; without speech there are none.

        progress(done): called after each window with the share of the recording that is done.
        Memory does not grow with the length of the recording.
        """
        language = language or self.language
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(lambda: self._whisper)  # mostly reads and checks its file
            speech = find_speech(media)
            loading.result()
        regions = speech.regions
        if not regions:
            return Recognition([], speech, language, [])
        windows = list(pack(regions))
        english_only = not self._whisper.model.is_multilingual
        texts: list[str] = []
        if english_only or language:
            main = "en" if english_only else language_code(language or "")
            spoken = [main] * len(windows)
        else:
            spoken, main, texts = self._languages(media, windows)
        words: list[Word] = []
        with large_blocks_kept(), cancelling_pool(self._at_once) as pool:
            decode = partial(self._decode, media)
            for window, decoded in zip(windows, pool.map(decode, windows, spoken), strict=True):
                words += decoded
                if progress:
                    progress(min(1.0, window[-1][1] / media.duration))
        release_memory()
        words = _without_faint(words, speech.faint)
        texts += self._doubts(words, language, english_only)
        warnings = [MercWarning(media.path.name, text) for text in texts]
        return Recognition(words, speech, language or main, warnings)

    def doubt_of_language(self, language: str | None) -> str:
        """Say why no words in this language can be recognised; "" if they can."""
        if self._whisper.model.is_multilingual or is_english(language):
            return ""
        return (
            f"the recogniser {self.model} knows English only; do not trust its text of speech in "
            f"{language!r}. Provide a transcript (--transcript), or use --whisper base (pip "
            f"install 'merc[multilingual]')"
        )

    def _languages(
        self, media: Media, windows: list[list[Region]]
    ) -> tuple[list[str], str, list[str]]:
        """Return the language of each window, that of the recording, and doubts about them."""
        heard, seconds = [], []
        for window in windows:
            _, _, probabilities = self._whisper.detect_language(Window.read(media, window).samples)
            heard.append(dict(probabilities))
            seconds.append(sum(end - start for start, end in window))
        spoken, main, probability = choose_languages(heard, seconds)
        spans = [(window[0][0], window[-1][1]) for window in windows]
        return spoken, main, language_doubts(spoken, main, probability, spans)

    def _doubts(self, words: list[Word], language: str | None, english_only: bool) -> list[str]:
        """Say why the words may be wrong or incomplete."""
        doubts = [text] if (text := self.doubt_of_language(language)) else []
        if not english_only:
            return doubts
        confidence = _confidence(words)
        spans = doubtful_spans(words)
        if len(words) >= 5 and confidence < NOT_ENGLISH:
            if not doubts:
                doubts.append(
                    f"the recogniser is uncertain (mean word probability {confidence:.2f}): the "
                    f"speech may not be English or is hard to understand. If so, provide a "
                    f"transcript, or use --whisper base"
                )
        elif spans and is_english(language):
            times = ", ".join(f"{start:.1f}–{end:.1f} s" for start, end in spans)
            doubts.append(
                f"the speech at {times} may be in another language or is hard to understand, and "
                f"the recogniser {self.model} knows English only: do not trust its text there. "
                f"Provide a transcript, or use --whisper base"
            )
        return doubts

    def _decode(self, media: Media, regions: list[Region], language: str) -> list[Word]:
        """Recognise regions that fit one window."""
        window = Window.read(media, regions)
        segments, _ = self._whisper.transcribe(
            window.samples,
            language=language,
            beam_size=1,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=False,
        )
        words: list[Word] = []
        for segment in segments:
            looping = segment.compression_ratio > LOOPING
            shorter = _shorter(media, regions) if looping else []
            if shorter:  # loops less
                alone = [self._decode(media, [region], language) for region in shorter]
                return [word for part in alone for word in part]
            if looping or segment.avg_logprob < IMPLAUSIBLE:
                continue
            for word in segment.words:
                placed = window.place(word, words[-1].end if words else 0.0)
                if placed:
                    words.append(placed)
        if len(regions) > 1:
            words = self._check_regions(media, regions, words, language)
        return stretch(words, regions)

    def _check_regions(
        self, media: Media, regions: list[Region], words: list[Word], language: str
    ) -> list[Word]:
        """Recognise doubtful regions of a window again, alone; keep what is more certain."""
        checked: list[Word] = []
        previous: list[str] = []
        for start, end in regions:
            inside = [word for word in words if start <= (word.start + word.end) / 2 < end]
            repeated = _repeats(_letters(inside), previous)
            if repeated or _confidence(inside) < UNCERTAIN:
                alone = self._decode(media, [(start, end)], language)
                if repeated or _confidence(alone) > _confidence(inside):
                    inside = alone
            previous = _letters(inside)
            checked += inside
        return checked


def _shorter(media: Media, regions: list[Region]) -> list[Region]:
    """Return the regions, or the parts of a single long one; [] if there are none."""
    if len(regions) > 1:
        return regions
    start, end = regions[0]
    if end - start < 2 * SHORTEST_PART:
        return []
    middle = quietest(media, start + SHORTEST_PART, end - SHORTEST_PART)
    return [(start, middle), (middle, end)]


def _without_faint(words: list[Word], faint: list[Region]) -> list[Word]:
    """Drop uncertain words of faint regions.

    Whisper hears "Thank you." in music and noise, with a probability of about 0.5.
    """
    dropped: set[int] = set()
    for start, end in faint:
        inside = [k for k, word in enumerate(words) if start <= word.start < end]
        if _confidence([words[k] for k in inside]) < UNCERTAIN:
            dropped.update(inside)
    return [word for k, word in enumerate(words) if k not in dropped]


def _letters(words: list[Word]) -> list[str]:
    return ["".join(c for c in word.text.lower() if c.isalnum()) for word in words]


def _repeats(words: list[str], previous: list[str]) -> bool:
    """Whether there are two words or more and nearly all repeat `previous`, in order."""
    blocks = SequenceMatcher(None, previous, words, autojunk=False).get_matching_blocks()
    return len(words) > 1 and sum(block.size for block in blocks) >= REPEATED * len(words)


def _confidence(words: list[Word]) -> float:
    """Mean word probability; 0 without words."""
    return float(np.mean([word.probability for word in words])) if words else 0.0
