"""Recordings as they come: joined, with broken clocks, several tracks, inverted channels."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def rewrite(
    source: Path,
    target: Path,
    move: Callable[[float], float],
    times: int = 1,
    keep: Callable[[str, float], bool] = lambda kind, time: True,
) -> Path:
    """Copy the packets of a clip `times` times, each time moved by `move(seconds of the copy)`.

    Packets are left out unless `keep("audio" or "video", seconds in the target)`.
    The container must accept times that go backwards; MPEG-TS and FLV do, one after the other.
    """
    with av.open(str(target), "w") as out:
        streams = {}
        for copy in range(times):
            last: dict[int, int] = {}  # libav gives two pictures of MPEG-1 video one decoding time
            with av.open(str(source)) as container:
                for stream in container.streams:
                    if stream.index not in streams:
                        streams[stream.index] = out.add_stream_from_template(stream)
                for packet in container.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    index = packet.stream.index
                    packet.dts = last[index] = max(packet.dts, last.get(index, packet.dts - 1) + 1)
                    shift = round(move(copy) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = streams[index]
                    if keep(packet.stream.type, float(packet.pts * packet.time_base)):
                        out.mux(packet)
    return target


def damage_video(source: Path, target: Path, every: int = 1) -> Path:
    """Copy a clip; every n-th packet of its video has other bytes."""
    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in container.streams}
        number = 0
        for packet in container.demux():
            if packet.dts is None:
                continue
            stream, copy = streams[packet.stream.index], packet
            if packet.stream.type == "video":
                number += 1
                if number % every == 0:
                    copy = av.Packet(bytes(range(1, 256)) * (packet.size // 255) + b"\1")
                    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.stream = stream
            out.mux(copy)
    return target


def concatenate(target: Path, parts: list[Path]) -> Path:
    """Join the bytes of files, as `cat` does."""
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target


def write_tracks(
    path: Path, tracks: list[np.ndarray], rate: int = 16_000, languages: tuple[str, ...] = ()
) -> Path:
    """Write one FLAC stream for each (channels, n) array of samples, full scale 1."""
    with av.open(str(path), "w") as out:
        streams = []
        for k, track in enumerate(tracks):
            layout = {1: "mono", 2: "stereo", 4: "4.0", 6: "5.1"}[len(track)]
            stream = out.add_stream("flac", rate=rate, layout=layout)
            if languages:
                stream.metadata["language"] = languages[k]
            streams.append(stream)
        for stream, track in zip(streams, tracks, strict=True):
            for first in range(0, track.shape[1], 4096):
                part = np.ascontiguousarray(track[:, first : first + 4096].T).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(
                    (part * 32767).astype(np.int16), "s16", stream.layout.name
                )
                frame.sample_rate, frame.pts = rate, first
                frame.time_base = Fraction(1, rate)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path
