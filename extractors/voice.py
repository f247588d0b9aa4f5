"""Voice vectors: 192 numbers that are similar for one person, whatever the words and the emotion.

The network is CAM++ (Wang et al. 2023, Interspeech, "CAM++: A fast and efficient network for
speaker verification using context-aware masking"), trained on 200,000 speakers (3D-Speaker,
Apache-2.0): 80 mel energies of 25 ms windows every 10 ms, a small residual network over time and
frequency, three densely connected blocks over time, whose layers are masked by what surrounds them,
mean and deviation over time, a linear layer.

The vectors are then projected so that one speaker varies equally in every direction over acted
emotions, rooms and distances, and speakers vary independently, by `between` (linear discriminant
analysis, all directions kept). This is the two-covariance model that compares voices (Brümmer and
de Villiers 2010). `pipeline.recipes.voice_encoder` converts the network and fits the model.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from extractors.weight_files import load_weights
from pipeline.core.errors import MercError

__all__ = ["DIM", "MIN_DURATION", "WEIGHTS", "VoiceEncoder", "load_voice", "voice_mels", "voiced"]

WEIGHTS = Path(__file__).parent / "weights" / "voice.safetensors"
DIM = 192
MIN_DURATION = 0.1  # s of sound; a shorter one holds too little voice to compare
_RATE, _BANDS = 16_000, 80
_SHORTEST = 8_000  # samples; shorter sounds are repeated
_PAUSE = 20.0  # dB below the loud parts of a sound: pauses, where only the room is audible
_FRAME = 480  # samples, 30 ms
_BLOCKS = (12, 1), (24, 2), (16, 2)  # layers of each block, and the dilation of their filters
_FIRST, _GROWTH, _NARROW = 128, 32, 128  # channels
_SEGMENT = 100  # frames, 2 s, over which the surroundings of a frame are averaged


class VoiceEncoder(nn.Module):
    """Map mel energies (n, frames, 80) to vectors (n, 192).

    mean (192,), projection (192, 192) and between (192,) are the model of speakers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.front = _Front()
        self.first = nn.Conv1d(320, _FIRST, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList()
        channels = _FIRST
        for layers, dilation in _BLOCKS:
            block = _Block(channels, layers, dilation)
            channels = (channels + layers * _GROWTH) // 2
            self.blocks.append(block)
        self.last = _Activation(channels)
        self.linear = nn.Linear(2 * channels, DIM)
        self.mean = nn.Buffer(torch.zeros(DIM))
        self.projection = nn.Buffer(torch.eye(DIM))
        self.between = nn.Buffer(torch.ones(DIM))

    def forward(self, mels: Tensor) -> Tensor:
        x = self.first(self.front(mels)).relu_()
        for block in self.blocks:
            x = block(x)
        x = self.last(x)
        return self.linear(torch.cat([x.mean(2), x.std(2)], 1))

    @torch.inference_mode()
    def raw(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Return the vectors before the projection, (len(sounds), 192), each of length 1.

        sounds: (n,) float32 mono samples at 16 kHz.

        Raises MercError for a sound under 100 ms.
        """
        vectors = torch.zeros(len(sounds), DIM)
        for index, sound in enumerate(sounds):
            if len(sound) < MIN_DURATION * _RATE:
                raise MercError(
                    f"sound {index} has {len(sound)} samples at 16 kHz",
                    f"pass at least {MIN_DURATION * 1000:.0f} ms",
                )
            vectors[index] = self(voice_mels(voiced(sound))[None])[0]
        return F.normalize(vectors, dim=1).numpy()

    def vectors(self, sounds: list[np.ndarray]) -> np.ndarray:
        """Return projected vectors, (len(sounds), 192). Arguments and errors as for `raw`."""
        return (self.raw(sounds) - self.mean.numpy()) @ self.projection.numpy()


class _Front(nn.Module):
    """Map (n, frames, 80) to (n, 320, frames): an eighth of the bands, 32 channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 32, 3, padding=1)
        self.parts = nn.ModuleList(_Residual(stride) for stride in (2, 1, 2, 1))
        self.last = nn.Conv2d(32, 32, 3, stride=(2, 1), padding=1)

    def forward(self, mels: Tensor) -> Tensor:
        x = self.first(mels.transpose(1, 2)[:, None]).relu_()
        for part in self.parts:
            x = part(x)
        return self.last(x).relu_().flatten(1, 2)


class _Residual(nn.Module):
    """Two convolutions beside a shorter way."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(32, 32, 3, stride=(stride, 1), padding=1)
        self.two = nn.Conv2d(32, 32, 3, padding=1)
        self.beside = nn.Conv2d(32, 32, 1, stride=(stride, 1)) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.two(self.one(x).relu_()) + self.beside(x)).relu_()


class _Block(nn.Module):
    """Densely connected layers, then half as many channels. All channels are in one array."""

    def __init__(self, channels: int, layers: int, dilation: int) -> None:
        super().__init__()
        sizes = [channels + k * _GROWTH for k in range(layers + 1)]
        self.layers = nn.ModuleList(_Layer(size, dilation) for size in sizes[:-1])
        self.last = _Activation(sizes[-1])
        self.linear = nn.Conv1d(sizes[-1], sizes[-1] // 2, 1, bias=False)
        self.channels = sizes

    def forward(self, x: Tensor) -> Tensor:
        everything = x.new_empty(len(x), self.channels[-1], x.shape[2])
        everything[:, : self.channels[0]] = x
        for layer, channels in zip(self.layers, self.channels, strict=False):
            everything[:, channels : channels + _GROWTH] = layer(everything[:, :channels])
        return self.linear(self.last(everything))


class _Layer(nn.Module):
    """Filters over time, masked by the mean of the whole sound and of 2 s (equations 1 to 5)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.before = _Activation(channels)
        self.narrow = nn.Conv1d(channels, _NARROW, 1)
        self.filters = nn.Conv1d(
            _NARROW, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.squeeze = nn.Conv1d(_NARROW, _NARROW // 2, 1)
        self.mask = nn.Conv1d(_NARROW // 2, _GROWTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.narrow(self.before(x)).relu_()
        around = F.avg_pool1d(x, _SEGMENT, ceil_mode=True) + x.mean(2, keepdim=True)
        mask = torch.sigmoid(self.mask(self.squeeze(around).relu_()))
        return self.filters(x) * mask.repeat_interleave(_SEGMENT, 2)[:, :, : x.shape[2]]


class _Activation(nn.Module):
    """A batch norm in evaluation mode, and a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale).relu_()


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


def voice_mels(sound: np.ndarray) -> Tensor:
    """Return (frames, 80) logarithmic mel energies of a sound (n,) at 16 kHz; their mean is 0.

    Kaldi's, without dither. A sound under half a second is repeated.
    """
    from torchaudio.compliance.kaldi import fbank

    sound = np.tile(sound, -(-_SHORTEST // len(sound))) if len(sound) < _SHORTEST else sound
    samples = torch.from_numpy(np.ascontiguousarray(sound, np.float32))[None]
    # Kaldi's samples are integers: below, its floor of energies would be audible
    mels = fbank(32768 * samples, num_mel_bins=_BANDS, sample_frequency=_RATE, dither=0.0)
    return mels - mels.mean(0)


@cache
def load_voice(path: Path = WEIGHTS) -> VoiceEncoder:
    """Load a voice encoder in evaluation mode; by default the one that ships with merc."""
    return load_weights(VoiceEncoder(), path, "voice encoder" if path == WEIGHTS else "")
