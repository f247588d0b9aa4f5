"""Clips for the benchmarks, made of real ones: a 60 s dialogue, and long films by repeating packets."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av

WIDTH, HEIGHT, FPS, RATE = 640, 360, 25, 44100


def join(
    sources: list[Path], out: Path, seconds: float, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """Real clips one after the other, over and over, as H.264 and AAC of that width and height at 25 frames/s."""
    with av.open(str(out), "w") as film:
        picture = film.add_stream("libx264", FPS, options={"preset": "veryfast", "crf": "23"})
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        sound = film.add_stream("aac", RATE, layout="mono")
        frames = samples = 0
        while frames < seconds * FPS:
            for source in sources:
                if frames >= seconds * FPS:
                    break
                count, pieces = _frames(source, film, picture, frames, round(seconds * FPS), size)
                frames += count
                samples = _samples(pieces, film, sound, samples, round(frames / FPS * RATE))
        for stream in (picture, sound):
            film.mux(stream.encode(None))
    return out


def repeat(source: Path, out: Path, seconds: float) -> Path:
    """One film over and over without coding it again: an hour in a few seconds."""
    with av.open(str(source)) as film, av.open(str(out), "w") as longer:
        copies = {
            s.index: longer.add_stream_from_template(s)
            for s in (*film.streams.video, *film.streams.audio)
        }
        packets = [p for p in film.demux() if p.dts is not None and p.stream.index in copies]
        length = max(Fraction(p.pts + (p.duration or 0)) * p.time_base for p in packets) - min(
            Fraction(p.dts) * p.time_base for p in packets
        )
        told = [(p, p.stream.index, p.pts, p.dts, bytes(p), p.is_keyframe) for p in packets]
        for turn in range(-int(-seconds // length)):
            for packet, index, pts, dts, data, key in told:
                copy = av.Packet(data)
                shift = round(turn * length / packet.time_base)
                copy.stream, copy.time_base, copy.duration = (
                    copies[index],
                    packet.time_base,
                    packet.duration,
                )
                copy.pts, copy.dts, copy.is_keyframe = pts + shift, dts + shift, key
                longer.mux_one(copy)
    return out


def _frames(
    source: Path, film, picture, at: int, most: int, size: tuple[int, int]
) -> tuple[int, list]:
    """Encode one clip's frames, centred on black; return their number and the clip's sound."""
    from av.audio.resampler import AudioResampler

    resampler, pieces, count = AudioResampler("fltp", "mono", RATE), [], 0
    with av.open(str(source)) as clip:
        for frame in clip.decode(video=0):
            if at + count >= most:
                break
            image = frame.reformat(
                width=round(frame.width * size[1] / frame.height), height=size[1], format="rgb24"
            )
            canvas = image.to_ndarray()
            wide = _centred(canvas, *size)
            encoded = av.VideoFrame.from_ndarray(wide, format="rgb24")
            encoded.pts, encoded.time_base = at + count, Fraction(1, FPS)
            film.mux(picture.encode(encoded))
            count += 1
    with av.open(str(source)) as clip:
        for frame in clip.decode(audio=0):
            pieces += resampler.resample(frame)
    return count, pieces


def _centred(image, width: int, height: int):
    import numpy as np

    canvas = np.zeros((height, width, 3), np.uint8)
    image = image[:, :width]
    left = (width - image.shape[1]) // 2
    canvas[:, left : left + image.shape[1]] = image
    return canvas


def _samples(pieces: list, film, sound, at: int, until: int) -> int:
    """Encode a clip's sound, cut or padded to end with its picture."""
    import numpy as np

    mono = np.concatenate([np.zeros(0, np.float32), *(piece.to_ndarray()[0] for piece in pieces)])
    mono = np.pad(mono, (0, max(0, until - at - len(mono))))[: until - at]
    for start in range(0, len(mono), 1024):
        frame = av.AudioFrame.from_ndarray(
            mono[None, start : start + 1024], format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, at + start, Fraction(1, RATE)
        film.mux(sound.encode(frame))
    return until
