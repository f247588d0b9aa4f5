"""Recordings for the benchmarks, made of real clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FPS, RATE = 640, 360, 25, 44100


def join(
    sources: list[Path], out: Path, seconds: float, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """Write clips one after the other, repeatedly, as H.264 and AAC with 25 frames per second."""
    with av.open(str(out), "w") as file:
        video = file.add_stream("libx264", FPS, options={"preset": "veryfast", "crf": "23"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = file.add_stream("aac", RATE, layout="mono")
        frames, samples, end = 0, 0, round(seconds * FPS)
        while frames < end:
            for source in sources:
                if frames >= end:
                    break
                count, parts = _add_frames(source, file, video, frames, end, size)
                frames += count
                samples = _add_samples(parts, file, audio, samples, round(frames / FPS * RATE))
        for stream in (video, audio):
            file.mux(stream.encode(None))
    return out


def repeat(source: Path, out: Path, seconds: float) -> Path:
    """Repeat a recording without encoding it again: an hour in a few seconds."""
    with av.open(str(source)) as file, av.open(str(out), "w") as longer:
        streams = (*file.streams.video, *file.streams.audio)
        copies = {s.index: longer.add_stream_from_template(s) for s in streams}
        packets = [p for p in file.demux() if p.dts is not None and p.stream.index in copies]
        start = min(Fraction(p.dts) * p.time_base for p in packets)
        end = max(Fraction(p.pts + (p.duration or 0)) * p.time_base for p in packets)
        content = [bytes(packet) for packet in packets]
        for turn in range(-int(-seconds // (end - start))):
            for packet, data in zip(packets, content, strict=True):
                copy = av.Packet(data)
                shift = round(turn * (end - start) / packet.time_base)
                copy.stream, copy.time_base = copies[packet.stream.index], packet.time_base
                copy.pts, copy.dts = packet.pts + shift, packet.dts + shift
                copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
                longer.mux_one(copy)
    return out


def _add_frames(
    source: Path, file, video, first: int, end: int, size: tuple[int, int]
) -> tuple[int, list]:
    """Encode one clip's frames, centred on black; return their number and the clip's audio."""
    resampler, parts, count = av.AudioResampler("fltp", "mono", RATE), [], 0
    width, height = size
    with av.open(str(source)) as clip:
        for frame in clip.decode(video=0):
            if first + count >= end:
                break
            scaled = round(frame.width * height / frame.height)
            image = frame.reformat(width=scaled, height=height, format="rgb24").to_ndarray()
            encoded = av.VideoFrame.from_ndarray(_centre(image, width, height), format="rgb24")
            encoded.pts, encoded.time_base = first + count, Fraction(1, FPS)
            file.mux(video.encode(encoded))
            count += 1
    with av.open(str(source)) as clip:
        for frame in clip.decode(audio=0):
            parts += resampler.resample(frame)
    return count, parts


def _centre(image: np.ndarray, width: int, height: int) -> np.ndarray:
    canvas = np.zeros((height, width, 3), np.uint8)
    image = image[:, :width]
    left = (width - image.shape[1]) // 2
    canvas[:, left : left + image.shape[1]] = image
    return canvas


def _add_samples(parts: list, file, audio, first: int, end: int) -> int:
    """Encode one clip's audio, cut or padded to the length of its video."""
    mono = np.concatenate([np.zeros(0, np.float32), *(part.to_ndarray()[0] for part in parts)])
    mono = np.pad(mono, (0, max(0, end - first - len(mono))))[: end - first]
    for start in range(0, len(mono), 1024):
        samples = mono[None, start : start + 1024]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, first + start, Fraction(1, RATE)
        file.mux(audio.encode(frame))
    return end
