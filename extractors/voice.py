"""Voice vectors: 256 numbers that are similar for one person, whatever the words and the emotion.

The network is the voice encoder of Resemblyzer (Apache-2.0), trained on thousands of speakers with
the generalised end-to-end loss (Wan et al. 2018): 40 mel energies of 25 ms windows every 10 ms,
three LSTM layers over 1.6 s, a linear layer, ReLU, length 1. The vector of a sound is the mean over
its windows.

The vectors are then projected so that one speaker varies equally in every direction over acted
emotions, rooms and distances, and speakers vary independently, by `between` (linear discriminant
analysis, all directions kept). This is the two-covariance model that compares voices (Brümmer and
de Villiers 2010). `pipeline.recipes.voice_encoder` fits it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torchaudio.functional import melscale_fbanks

from pipeline.core.errors import MercError
from pipeline.core.weights import check_weights

__all__ = ["DIM", "MIN_DURATION", "WEIGHTS", "VoiceEncoder", "load_voice", "voice_mels", "voiced"]

WEIGHTS = Path(__file__).parent / "weights" / "voice.safetensors"
DIM = 256
MIN_DURATION = 0.1  # s of sound; a shorter one holds too little voice to compare
_RATE, _BANDS, _WINDOW, _HOP = 16_000, 40, 400, 160  # Hz; mel bands; samples: 25 ms every 10 ms
_FRAMES = 160  # the network's input: 1.6 s
_STEP = 50  # frames from one input to the next
_LEVEL = -30.0  # dB of full scale that all speech is brought to: loudness is not part of a voice
_BATCH = 64
_PAUSE = 20.0  # dB below the loud parts of a sound: pauses, where only the room is audible
_FRAME = 480  # samples, 30 ms


class VoiceEncoder(nn.Module):
    """Map mel energies (n, 160, 40) to vectors (n, 256) of length 1, all values at least 0.

    mean (256,), projection (256, 256) and between (256,) are the model of speakers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(_BANDS, DIM, 3, batch_first=True)
        self.linear = nn.Linear(DIM, DIM)
        self.mean = nn.Buffer(torch.zeros(DIM))
        self.projection = nn.Buffer(torch.eye(DIM))
        self.between = nn.Buffer(torch.ones(DIM))

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(torch.relu(self.linear(self.lstm(mels)[1][0][-1])), dim=1)

    @torch.inference_mode()
    def raw(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Return the vectors before the projection, (len(sounds), 256), each of length 1.

        sounds: (n,) float32 mono samples at 16 kHz.

        Raises MercError for a sound under 100 ms.
        """
        inputs, owner = [], []
        for index, sound in enumerate(sounds):
            if len(sound) < MIN_DURATION * _RATE:
                raise MercError(
                    f"sound {index} has {len(sound)} samples at 16 kHz",
                    f"pass at least {MIN_DURATION * 1000:.0f} ms",
                )
            mels = voice_mels(voiced(sound))
            starts = range(0, max(1, len(mels) - _FRAMES + 1), _STEP)
            inputs += [mels[start : start + _FRAMES] for start in starts]
            owner += [index] * len(starts)
        total = torch.zeros(len(sounds), DIM)
        for first in range(0, len(inputs), _BATCH):
            vectors = self(torch.stack(inputs[first : first + _BATCH]))
            total.index_add_(0, torch.tensor(owner[first : first + _BATCH]), vectors)
        return nn.functional.normalize(total, dim=1).numpy()

    def vectors(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Return projected vectors, (len(sounds), 256). Arguments and errors as for `raw`."""
        return (self.raw(sounds) - self.mean.numpy()) @ self.projection.numpy()


def voiced(sound: np.ndarray) -> np.ndarray:
    """Remove the pauses of a sound (n,), except 30 ms around its loud parts.

    Returns the sound unchanged if less than 300 ms would remain.
    """
    count = len(sound) // _FRAME
    if count < 4:
        return sound
    frames = sound[: count * _FRAME].reshape(count, _FRAME)
    level = 10 * np.log10(np.square(frames).mean(1) + 1e-10)
    loud = np.convolve(level > np.quantile(level, 0.95) - _PAUSE, np.ones(3), "same") > 0
    return frames[loud].ravel() if loud.sum() >= 10 else sound


def voice_mels(sound: np.ndarray) -> torch.Tensor:
    """Return (frames, 40) mel energies of a sound (n,) at 16 kHz, brought to a common level.

    A short sound is repeated to 160 frames.
    """
    samples = torch.from_numpy(np.ascontiguousarray(sound, np.float32))
    level = 10 * torch.log10(samples.square().mean() + 1e-12)
    samples = samples * 10 ** (torch.clamp(_LEVEL - level, -60, 60) / 20)
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(
        samples, _WINDOW, _HOP, window=window, pad_mode="constant", return_complex=True
    )
    mels = (spectrum.real.square() + spectrum.imag.square()).T @ _mel_filters()
    return mels if len(mels) >= _FRAMES else mels.repeat(-(-_FRAMES // len(mels)), 1)[:_FRAMES]


@cache
def _mel_filters() -> torch.Tensor:
    """Return (201, 40) filters with Slaney's scale and areas, as librosa's."""
    return melscale_fbanks(
        _WINDOW // 2 + 1, 0.0, _RATE / 2, _BANDS, _RATE, norm="slaney", mel_scale="slaney"
    )


@cache
def load_voice(path: Path = WEIGHTS) -> VoiceEncoder:
    """Load a voice encoder in evaluation mode; by default the one that ships with merc."""
    if path == WEIGHTS:
        check_weights("voice encoder", path)
    encoder = VoiceEncoder()
    encoder.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return encoder.eval().requires_grad_(False)
