"""Whose voice: a 256-d vector of a stretch of speech, alike for one person whatever the words and the emotion.

The network is the voice encoder of Resemblyzer (Apache-2.0), trained on thousands of speakers with the generalised
end-to-end loss (Wan et al. 2018): 40 mel energies of 25 ms windows every 10 ms, three LSTM layers over 1.6 s, a linear
layer, ReLU, length 1; a stretch is the mean over its windows.  The vectors are then whitened by how the voice of one
speaker varies over acted emotions (within-class covariance normalisation; Hatch et al. 2006), which the network was not
taught to ignore: `pipeline.recipes.voice_encoder` fits that part.  They are compared by their squared distance, where the mean of
a recording's channel cancels, as it does not in a cosine.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torchaudio.functional import melscale_fbanks

__all__ = ["DIM", "SHORTEST", "WEIGHTS", "VoiceEncoder", "load_voice", "voice_mels", "voiced"]

WEIGHTS = Path(__file__).parent / "weights" / "voice.safetensors"
DIM = 256
SHORTEST = 0.1  # s of sound: below there is nothing to compare
_RATE, _BANDS, _WINDOW, _HOP = 16_000, 40, 400, 160  # Hz; mel bands; samples: 25 ms every 10 ms
_SEEN = 160  # frames that the network saw in training: 1.6 s
_STEP = 50  # frames from one of its windows to the next
_LEVEL = (
    -30.0
)  # dB of full scale that all speech is brought to: the network hears levels, which are no voices
_BATCH = 64
_QUIET = 20.0  # dB below the loud moments of a stretch: pauses, where the room speaks
_FRAME = 480  # samples, 30 ms


class VoiceEncoder(nn.Module):
    """(n, 160, 40) mel energies → (n, 256) of length 1, at least 0."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_BANDS, DIM, 3, batch_first=True)
        self.linear = nn.Linear(DIM, DIM)
        self.register_buffer("whitening", torch.eye(DIM))

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(torch.relu(self.linear(self.lstm(mels)[1][0][-1])), dim=1)

    @torch.inference_mode()
    def raw(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Sounds, (n,) float32 mono at 16 kHz, to (len(sounds), 256): means over windows, length 1, not whitened.

        Raises ValueError for a sound under 100 ms.
        """
        windows, owner = [], []
        for index, sound in enumerate(sounds):
            if len(sound) < SHORTEST * _RATE:
                raise ValueError(
                    f"{len(sound)} samples at 16 kHz are no voice; want {SHORTEST * 1000:.0f} ms or more"
                )
            mels = voice_mels(voiced(sound))
            starts = range(0, max(1, len(mels) - _SEEN + 1), _STEP)
            windows += [mels[start : start + _SEEN] for start in starts]
            owner += [index] * len(starts)
        total = torch.zeros(len(sounds), DIM)
        for first in range(0, len(windows), _BATCH):
            seen = self(torch.stack(windows[first : first + _BATCH]))
            total.index_add_(0, torch.tensor(owner[first : first + _BATCH]), seen)
        return nn.functional.normalize(total, dim=1).numpy()

    def vectors(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Sounds as in `raw` to (len(sounds), 256): the mean squared difference of two tells voices apart.

        One speaker of seconds a and b: about 1.15 + 0.22 (1/a + 1/b) over acted emotions, two: 1.9.
        """
        return self.raw(sounds) @ self.whitening.numpy()  # type: ignore[operator]


def voiced(sound: np.ndarray) -> np.ndarray:
    """(n,) without its pauses, 30 ms kept around what is loud; all of it where less than 300 ms would be left."""
    count = len(sound) // _FRAME
    if count < 4:
        return sound
    frames = sound[: count * _FRAME].reshape(count, _FRAME)
    level = 10 * np.log10(np.square(frames).mean(1) + 1e-10)
    loud = np.convolve(level > np.quantile(level, 0.95) - _QUIET, np.ones(3), "same") > 0
    return frames[loud].ravel() if loud.sum() >= 10 else sound


def voice_mels(sound: np.ndarray) -> torch.Tensor:
    """(n,) float32 at 16 kHz → (frames, 40) mel energies, at a common level; short ones repeat to 160 frames."""
    samples = torch.from_numpy(np.ascontiguousarray(sound, np.float32))
    level = 10 * torch.log10(samples.square().mean() + 1e-12)
    samples = samples * 10 ** (torch.clamp(_LEVEL - level, -60, 60) / 20)
    spectrum = torch.stft(
        samples,
        _WINDOW,
        _HOP,
        window=torch.hann_window(_WINDOW),
        pad_mode="constant",
        return_complex=True,
    )
    mels = (spectrum.real.square() + spectrum.imag.square()).T @ _bands()
    return mels if len(mels) >= _SEEN else mels.repeat(-(-_SEEN // len(mels)), 1)[:_SEEN]


@cache
def _bands() -> torch.Tensor:
    """(201, 40), Slaney's scale and areas, as librosa makes them."""
    return melscale_fbanks(
        _WINDOW // 2 + 1, 0.0, _RATE / 2, _BANDS, _RATE, norm="slaney", mel_scale="slaney"
    )


@cache
def load_voice(path: Path = WEIGHTS) -> VoiceEncoder:
    """The encoder that ships."""
    encoder = VoiceEncoder()
    encoder.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return encoder.eval().requires_grad_(False)
