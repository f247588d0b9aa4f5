"""Sound of an utterance to 1582 numbers: openSMILE's INTERSPEECH 2010 paralinguistic set.

34 descriptors x 2 (with deltas) x 21 functionals + 4 x 2 x 19 + number of F0 onsets + duration
(Schuller et al. 2010, Interspeech).  The values are openSMILE's own for the same 16 kHz samples.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import opensmile
import torch
import torchaudio.functional

__all__ = ["RATE", "VARIANTS", "AudioExtractor", "is_silent"]

RATE = 16000  # Hz; other rates run, but change values by 8-17 %
VARIANTS = ("compat", "plain")
SHORTEST = 0.1  # seconds; below .07 openSMILE gives NaN, up to .1 finite nonsense
LONGEST = 60.0  # seconds; 335 MB of memory, which grows with the length (12 GB at one hour)
SILENCE = 1e-4  # root mean square, -80 dB of full scale: below what any microphone records
LARGEST = 32767 / 32768  # +1.0 would wrap to -1.0 in openSMILE's 16-bit conversion

# "compat" is the published set; "plain" is openSMILE's corrected one (LSP, F0, voicing, jitter, shimmer differ).
# The Python package carries the parts of "plain", but not the file that joins them.
_PLAIN = """[componentInstances:cComponentManager]
instance[dataMemory].type = cDataMemory
instance[lldconcat].type = cVectorConcat
instance[llddeconcat].type = cVectorConcat
instance[funcconcat].type = cVectorConcat
nThreads = 1
printLevelStats = 0

\\{\\cm[source{?}:include external source]}
\\{\\cm[descriptors{?}:the installed IS10 low-level descriptors]}
\\{\\cm[functionals{?}:the installed IS10 functionals]}

[lldconcat:cVectorConcat]
reader.dmLevel = is10_lld1;is10_lld2
writer.dmLevel = lld
includeSingleElementFields = 1

[llddeconcat:cVectorConcat]
reader.dmLevel = is10_lld1_de;is10_lld2_de
writer.dmLevel = lld_de
includeSingleElementFields = 1

[funcconcat:cVectorConcat]
reader.dmLevel = is10_funct;is10_functNz;is10_functOnsets
writer.dmLevel = func
includeSingleElementFields = 1

\\{\\cm[sink{?}:include external sink]}
"""


class AudioExtractor:
    """IS10 functionals of one utterance.  One object serves any number of threads.

    variant "compat" (IS10_paraling_compat, the published values) or "plain" (IS10_paraling).
    """

    dim = 1582

    def __init__(self, variant: str = "compat") -> None:
        if variant not in VARIANTS:
            raise ValueError(f"audio variant {variant!r}: choose one of {', '.join(VARIANTS)}")
        self.variant = variant
        self._made: tuple[opensmile.Smile, Any] | None = None
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> dict[str, Any]:
        return {
            "extractor": "opensmile-is10",
            "version": opensmile.__version__,
            "weights": None,
            "options": {"variant": self.variant, "rate": RATE, "longest": LONGEST},
        }

    @property
    def names(self) -> list[str]:
        """openSMILE's names of the 1582 values."""
        return list(self._smile.feature_names)

    def extract(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """(n,) float32 mono at `rate` Hz to (1582,) float32.

        Sound beyond one minute is left out (`quality` says so).  Digital silence returns openSMILE's finite
        values; masking it is the caller's part (`is_silent`).

        Raises ValueError for less than 100 ms, several channels, integers, NaN, or a rate that is no sound's.
        """
        signal = self._samples(waveform, rate)
        values = np.asarray(self._smile(signal, RATE), dtype=np.float32).reshape(-1)
        if values.shape != (self.dim,) or not np.isfinite(values).all():
            raise ValueError(
                f"openSMILE gave {values.size} values, {np.isfinite(values).sum()} of them finite, for "
                f"{len(signal) / RATE:.2f} s of sound; is the segment damaged?"
            )
        return values

    def voiced(self, vector: np.ndarray) -> bool:
        """Whether openSMILE found any voiced frame (compat finds none in a third of clean read clips)."""
        return bool(vector[self.names.index("F0final_sma_amean")] != 0)

    def quality(
        self, waveform: np.ndarray, rate: int, vector: np.ndarray | None = None
    ) -> dict[str, Any]:
        """What is worth knowing about one extraction, JSON-able."""
        seconds = len(waveform) / rate
        facts = {
            "seconds": round(seconds, 3),
            "used_seconds": round(min(seconds, LONGEST), 3),
            "cut": seconds > LONGEST,
            "silent": is_silent(waveform),
        }
        return facts if vector is None else facts | {"voiced": self.voiced(vector)}

    def _samples(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        signal = np.asarray(waveform)
        if signal.ndim != 1:
            raise ValueError(
                f"sound of shape {signal.shape}: want one channel, (n,); average the channels first"
            )
        if signal.dtype.kind != "f":
            raise ValueError(
                f"sound of type {signal.dtype}: want floats in [-1, 1]; divide int16 by 32768"
            )
        if not 4000 <= rate <= 384000:
            raise ValueError(
                f"a sampling rate of {rate} Hz: want samples per second, 4000 to 384000"
            )
        if len(signal) < SHORTEST * rate:
            raise ValueError(
                f"{1000 * len(signal) / rate:.0f} ms of sound: IS10 needs at least 100 ms; "
                "treat it as missing"
            )
        signal = signal[: round(LONGEST * rate)].astype(
            np.float32
        )  # a copy: the caller's array stays
        if not np.isfinite(signal).all():
            raise ValueError("sound with NaN or infinite samples; decode it again")
        if rate != RATE:
            signal = torchaudio.functional.resample(
                torch.from_numpy(signal), int(rate), RATE
            ).numpy()
        return np.clip(signal, -1.0, LARGEST)

    @property
    def _smile(self) -> opensmile.Smile:
        with self._lock:
            if self._made is None:
                self._made = _make_smile(self.variant)
            return self._made[0]

    def __getstate__(
        self,
    ) -> dict[str, Any]:  # to another process goes the choice, not the C object
        return {"variant": self.variant}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def is_silent(waveform: np.ndarray) -> bool:
    """Whether the root mean square lies below -80 dB of full scale; no samples at all count as silent."""
    signal = np.asarray(waveform, dtype=np.float32)
    return not signal.size or float(np.sqrt(np.mean(np.square(signal), dtype=np.float64))) < SILENCE


def _make_smile(variant: str) -> tuple[opensmile.Smile, Any]:
    """The Smile, and what must live as long as it."""
    level = opensmile.FeatureLevel.Functionals
    if variant == "compat":
        return opensmile.Smile(opensmile.FeatureSet.IS10, level), None
    parts = Path(opensmile.__file__).parent / "core" / "config" / "is09-13"
    file = tempfile.NamedTemporaryFile("w", prefix="merc-is10-", suffix=".conf")
    file.write(_PLAIN)
    file.flush()
    options = {
        "descriptors": str(parts / "IS10_paraling_core.lld.conf.inc"),
        "functionals": str(parts / "IS10_paraling_core.func.conf.inc"),
    }
    return opensmile.Smile(file.name, level.value, options=options), file
