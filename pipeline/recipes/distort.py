"""Voices as they come out of rooms, microphones and codecs; a function of the samples and the seed alone.

A model trained on studio recordings takes a phone call for sadness: every training clip is therefore
also heard through random rooms, equalisers, noise, gains and lossy codecs.  All waveforms are (n,) float32
mono, nominally in [-1, 1]; every function returns a new one, of the same length but for `distort`.
"""

from __future__ import annotations

import io

import av
import numpy as np
from av.audio.stream import AudioStream
from scipy.signal import butter, fftconvolve, sosfilt

__all__ = ["CODECS", "add_noise", "band_limit", "distort", "encode", "gain", "reverberate", "tilt"]

# codec of FFmpeg -> (container, bit rates in bit/s at 16 kHz mono: from hardly bearable to transparent)
CODECS = {
    "libmp3lame": ("mp3", (16_000, 24_000, 32_000, 64_000)),
    "libopus": ("ogg", (8_000, 12_000, 16_000, 24_000, 48_000)),
    "aac": ("adts", (24_000, 32_000, 64_000)),
    "mp2": ("mp2", (32_000, 64_000)),
}


def distort(waveform: np.ndarray, rate: int, seed: int) -> np.ndarray:
    """One random way from mouth to file: margins, room, equaliser, band, noise, gain, codec.

    rate must be one that speech codecs take (8000, 12000, 16000, 24000 or 48000 Hz).
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
    """A room: exponentially falling noise after the direct sound.

    decay: seconds until the room is 60 dB down; direct: direct to reverberant energy in dB.
    """
    n = max(int(decay * rate), 2)
    tail = rng.standard_normal(n) * np.exp(-6.9078 * np.arange(n) / n)  # ln(1000): 60 dB
    tail[: int(0.002 * rate)] = 0  # the first wall is not nearer than about 70 cm
    tail *= 10 ** (-direct / 20) / np.sqrt((tail**2).sum() + 1e-12)
    tail[0] = 1
    wet = fftconvolve(waveform, tail)[: len(waveform)]
    return (wet * (_rms(waveform) / _rms(wet))).astype(np.float32)


def tilt(waveform: np.ndarray, rate: int, decibels: float) -> np.ndarray:
    """A straight equaliser in log frequency: `decibels` more at 4 kHz than at 250 Hz; the level is kept."""
    spectrum = np.fft.rfft(waveform)
    hertz = np.fft.rfftfreq(len(waveform), 1 / rate)
    octaves = np.log2(np.clip(hertz, 60, None) / 1_000)
    shaped = np.fft.irfft(spectrum * 10 ** (decibels / 4 * octaves / 20), len(waveform))
    return (shaped * (_rms(waveform) / _rms(shaped))).astype(np.float32)


def band_limit(waveform: np.ndarray, rate: int, low: float, high: float) -> np.ndarray:
    """Nothing outside [low, high] Hz; 300 to 3400 is the telephone."""
    high = min(high, 0.49 * rate)
    return sosfilt(butter(4, (low, high), "bandpass", fs=rate, output="sos"), waveform).astype(
        np.float32
    )


def add_noise(
    waveform: np.ndarray, rate: int, snr: float, slope: float, rng: np.random.Generator
) -> np.ndarray:
    """Noise of power ~ 1 / f^slope (0 white, 1 pink, 2 brown), `snr` dB below the speech; none under 60 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(len(waveform)))
    hertz = np.fft.rfftfreq(len(waveform), 1 / rate)
    # without the limit most of brown noise is slower than anything a microphone passes on
    shape = np.where(hertz < 60, 0, np.maximum(hertz, 60) ** (-slope / 2))
    noise = np.fft.irfft(spectrum * shape, len(waveform))
    return (waveform + noise * (_rms(waveform) / _rms(noise) * 10 ** (-snr / 20))).astype(
        np.float32
    )


def gain(waveform: np.ndarray, decibels: float) -> np.ndarray:
    """Louder or softer; what leaves [-1, 1] is clipped, as a converter does."""
    return np.clip(waveform * 10 ** (decibels / 20), -1, 32767 / 32768).astype(np.float32)


def encode(waveform: np.ndarray, rate: int, codec: str, bits: int) -> np.ndarray:
    """To a lossy codec at `bits` per second and back, in memory.  `codec`: a key of CODECS.

    Raises ValueError when this FFmpeg lacks the codec or the codec does not take the rate.
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
            parts = [
                part.to_ndarray()[0]
                for frame in source.decode(audio=0)
                for part in resampler.resample(frame)
            ]
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.FFmpegError, ValueError) as error:
        raise ValueError(
            f"cannot encode sound of {rate} Hz with {codec} at {bits} bit/s: {error}"
        ) from error
    decoded = np.concatenate(parts)[: len(waveform)]
    return np.pad(decoded, (0, len(waveform) - len(decoded))).astype(np.float32)


def _margins(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Cuts are never exact: up to 0.15 s of the clip lost or 0.5 s of quiet gained at either end.

    At least 0.5 s of the clip stay.
    """
    spare = max(len(waveform) - rate // 2, 0) // 2
    shifts = [int(rng.uniform(-0.15, 0.5) * rate) for _ in range(2)]
    head, tail = (max(shift, -spare) for shift in shifts)
    kept = waveform[max(-head, 0) : len(waveform) - max(-tail, 0)]
    return np.pad(kept, (max(head, 0), max(tail, 0)))


def _rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) + 1e-9
