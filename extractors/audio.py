"""Audio features: the 1582 values of openSMILE's INTERSPEECH 2010 paralinguistic set (IS10).

34 descriptors x 2 (with deltas) x 21 functionals + 4 x 2 x 19 + the number of F0 onsets + duration
(Schuller et al. 2010, Interspeech). The values equal openSMILE's for the same 16 kHz samples.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import opensmile

from extractors.sound import MAX_DURATION, RATE, describe_sound, prepare_sound
from pipeline.core.errors import MercError

__all__ = ["VARIANTS", "AudioExtractor"]

VARIANTS = ("compat", "plain")

# "compat" is the published set. "plain" is openSMILE's corrected one (LSP, F0, voicing, jitter and
# shimmer differ). The Python package ships the parts of "plain", but not the file that joins them.
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
    """Compute the IS10 functionals of an utterance's sound.

    variant: "compat" (IS10_paraling_compat, the published values) or "plain" (IS10_paraling).

    One extractor can be shared by any number of threads, and pickled.

    >>> import numpy as np
    >>> tone = 0.1 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000).astype(np.float32)
    >>> AudioExtractor().extract(tone, 16000).shape
    (1582,)
    """

    dim = 1582

    def __init__(self, variant: str = "compat") -> None:
        if variant not in VARIANTS:
            raise MercError(
                f"audio variant {variant!r} is unknown", f"choose one of {', '.join(VARIANTS)}"
            )
        self.variant = variant
        self._loaded: tuple[opensmile.Smile, Any] | None = None
        self._lock = threading.Lock()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What determines the values: openSMILE's version and the options (JSON-able)."""
        return {
            "extractor": "opensmile-is10",
            "version": opensmile.__version__,
            "weights": None,
            "options": {"variant": self.variant, "rate": RATE, "longest": MAX_DURATION},
        }

    @property
    def names(self) -> list[str]:
        """openSMILE's names of the 1582 values."""
        return list(self._smile.feature_names)

    def extract(self, waveform: np.ndarray, rate: int) -> np.ndarray:
        """Return the (1582,) float32 feature of a sound.

        waveform: (n,) float mono samples in [-1, 1] at `rate` Hz. Only the first minute is used
        (`quality` reports a cut). Digital silence gives openSMILE's finite values; to treat it as
        missing is up to the caller (see `is_silent`).

        Raises MercError for less than 100 ms, several channels, integers, NaN, or an impossible
        sampling rate.
        """
        signal = prepare_sound(waveform, rate)
        values = np.asarray(self._smile(signal, RATE), dtype=np.float32).reshape(-1)
        if values.shape != (self.dim,) or not np.isfinite(values).all():
            raise MercError(
                f"openSMILE returned {values.size} values, {np.isfinite(values).sum()} of them "
                f"finite, for {len(signal) / RATE:.2f} s of sound",
                "check whether the recording is damaged",
            )
        return values

    def voiced(self, vector: np.ndarray) -> bool:
        """Return whether openSMILE detected a voiced frame.

        The compat set detects none in a third of clean read clips.
        """
        return bool(vector[self.names.index("F0final_sma_amean")] != 0)

    def quality(
        self, waveform: np.ndarray, rate: int, vector: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Describe an extraction (JSON-able): duration, duration used, whether cut, silent, voiced.

        vector: the feature, to include "voiced".
        """
        report = describe_sound(waveform, rate)
        return report if vector is None else report | {"voiced": self.voiced(vector)}

    @property
    def _smile(self) -> opensmile.Smile:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load_smile(self.variant)
            return self._loaded[0]

    def __getstate__(self) -> dict[str, Any]:
        # openSMILE's C object cannot be pickled: another process creates it anew
        return {"variant": self.variant}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _load_smile(variant: str) -> tuple[opensmile.Smile, Any]:
    """Return the openSMILE object, and its configuration file, which must stay open as long."""
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
