"""Distort voices as rooms, microphones and codecs do.

A model trained on studio recordings mistakes the sound of a phone call for sadness, so training
also uses every clip with random reverberation, equalisation, noise, gain and lossy coding.

All waveforms are (n,) float32 mono, nominally in [-1, 1]. Every function returns a new waveform,
of the same length except for `distort`, and depends only on its arguments. Feature caches are
keyed by the bytes of this file, so any edit makes the distorted copies be computed again.
"""

from __future__ import annotations

import io
from itertools import chain

import av
import numpy as np
from av.audio.stream import AudioStream
from scipy.signal import butter, fftconvolve, sosfilt

from pipeline.core.errors import MercError

__all__ = ["CODECS", "add_noise", "band_limit", "distort", "encode", "gain", "reverberate", "tilt"]

# FFmpeg codec -> (container, bit rates in bit/s for 16 kHz mono, from very poor to transparent)
CODECS = {
    "libmp3lame": ("mp3", (16_000, 24_000, 32_000, 64_000)),
    "libopus": ("ogg", (8_000, 12_000, 16_000, 24_000, 48_000)),
    "aac": ("adts", (24_000, 32_000, 64_000)),
    "mp2": ("mp2", (32_000, 64_000)),
}


def distort(waveform: np.ndarray, rate: int, seed: int) -> np.ndarray:
    """Apply a random chain: margins, reverberation, tilt, band limit, noise, gain, codec.

    rate must be one that speech codecs accept (8000, 12000, 16000, 24000 or 48000 Hz).
    """
    rng = np.random.default_rng(seed)
    sound = _margins(np.asarray(waveform, np.float32), rate, rng)
    if rng.random() < 0.6:
        sound = reverberate(sound, rate, rng.uniform(0.15, 0.9), rng.uniform(-3, 12), rng)
    if rng.random() < 0.6:
        sound = tilt(sound, rate, rng.uniform(-9, 9))
    if rng.random() < 0.25:
        low, high = rng.uniform(60, 300), rng.uniform(3_300, 0.48 * rate)
        sound = band_limit(sound, rate, low, high)
    if rng.random() < 0.85:
        sound = add_noise(sound, rate, rng.uniform(5, 35), rng.uniform(0, 2), rng)
    sound = gain(sound, rng.uniform(-24, 6))
    if rng.random() < 0.6:
        codec = str(rng.choice(list(CODECS)))
        sound = encode(sound, rate, codec, int(rng.choice(CODECS[codec][1])))
    return sound


def reverberate(
    waveform: np.ndarray, rate: int, decay: float, direct: float, rng: np.random.Generator
) -> np.ndarray:
    """Add a room: exponentially decaying noise after the direct sound. The level stays the same.

    decay: reverberation time (60 dB) in seconds.
    direct: ratio of direct to reverberant energy in dB.
    """
    n = max(int(decay * rate), 2)
    tail = rng.standard_normal(n) * np.exp(-6.9078 * np.arange(n) / n)  # ln(1000): 60 dB
    tail[: int(0.002 * rate)] = 0  # no reflection in the first 2 ms (about 70 cm of path)
    tail *= 10 ** (-direct / 20) / np.sqrt((tail**2).sum() + 1e-12)
    tail[0] = 1
    wet = fftconvolve(waveform, tail)[: len(waveform)]
    return (wet * (_rms(waveform) / _rms(wet))).astype(np.float32)


def tilt(waveform: np.ndarray, rate: int, decibels: float) -> np.ndarray:
    """Tilt the spectrum, linearly in log frequency: `decibels` more at 4 kHz than at 250 Hz.

    The level stays the same.
    """
    spectrum = np.fft.rfft(waveform)
    hertz = np.fft.rfftfreq(len(waveform), 1 / rate)
    octaves = np.log2(np.clip(hertz, 60, None) / 1_000)
    shaped = np.fft.irfft(spectrum * 10 ** (decibels / 4 * octaves / 20), len(waveform))
    return (shaped * (_rms(waveform) / _rms(shaped))).astype(np.float32)


def band_limit(waveform: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    """Band-pass the sound to [low, high] Hz; 300 to 3400 is the telephone band."""
    high = min(high, 0.49 * rate)
    sections = butter(4, (low, high), "bandpass", fs=rate, output="sos")
    return sosfilt(sections, waveform).astype(np.float32)


def add_noise(
    waveform: np.ndarray, rate: int, snr: float, slope: float, rng: np.random.Generator
) -> np.ndarray:
    """Add noise of power 1 / f^slope (0 white, 1 pink, 2 brown) at `snr` dB; none below 60 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(len(waveform)))
    hertz = np.fft.rfftfreq(len(waveform), 1 / rate)
    # without the limit most of the energy of brown noise is below what a microphone transmits
    shape = np.where(hertz < 60, 0, np.maximum(hertz, 60) ** (-slope / 2))
    noise = np.fft.irfft(spectrum * shape, len(waveform))
    level = _rms(waveform) / _rms(noise) * 10 ** (-snr / 20)
    return (waveform + noise * level).astype(np.float32)


def gain(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """Change the level; samples outside [-1, 1] are clipped, as a converter does."""
    return np.clip(waveform * 10 ** (decibels / 20), -1, 32767 / 32768).astype(np.float32)


def encode(waveform: np.ndarray, rate: int, codec: str, bits: int) -> np.ndarray:
    """Encode with a lossy codec at `bits` per second and decode again, in memory.

    codec: a key of CODECS. Raises MercError if this FFmpeg lacks the codec, or the codec does not
    support the sampling rate.
    """
    container = CODECS[codec][0]
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=container) as output:
            stream = output.add_stream(codec, rate=rate, layout="mono", bit_rate=bits)
            assert isinstance(stream, AudioStream)
            samples = np.clip(waveform * 32768, -32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = rate
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        file.seek(0)
        with av.open(file, "r", format="aac" if container == "adts" else None) as source:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            parts = []
            for decoded_frame in chain(source.decode(audio=0), [None]):
                parts += [part.to_ndarray()[0] for part in resampler.resample(decoded_frame)]
    except (av.FFmpegError, ValueError) as error:
        raise MercError(
            f"cannot encode sound of {rate} Hz with {codec} at {bits} bit/s: {error}",
            "install PyAV from its wheels, which have this codec, and use 16 kHz",
        ) from error
    decoded = np.concatenate(parts)[: len(waveform)]
    return np.pad(decoded, (0, len(waveform) - len(decoded))).astype(np.float32)


def _margins(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Cut up to 0.15 s off either end or add up to 0.5 s of silence, as cuts are never exact.

    At least 0.5 s of the clip remain.
    """
    spare = max(len(waveform) - rate // 2, 0) // 2
    shifts = [int(rng.uniform(-0.15, 0.5) * rate) for _ in range(2)]
    head, tail = (max(shift, -spare) for shift in shifts)
    middle = waveform[max(-head, 0) : len(waveform) - max(-tail, 0)]
    return np.pad(middle, (max(head, 0), max(tail, 0)))


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) + 1e-9
