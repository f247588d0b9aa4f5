"""Write a copy of a recording with captions on its picture: MP4 with H.264, sound kept.

Every frame keeps its time, so variable frame rates and pauses stay. Frames are upright and have
square pixels. Memory does not grow with the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import MercError
from pipeline.media.captions import Caption, Painter
from pipeline.media.containers import frames_of, open_container
from pipeline.media.decode import Media, upright

__all__ = ["write_overlay"]

COPIED = ("aac", "mp3", "opus")  # codecs of sound that players of MP4 know; others become AAC
AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
BIT_RATE = 192_000  # of AAC
FINEST = 90_000  # ticks per second, if the times of the recording are not whole ticks of fewer
# constant quality; "veryfast" holds 10 frames instead of 40, 120 MB at 4K
OPTIONS = {"crf": "20", "preset": "veryfast"}
THREADS = 4  # each holds frames
ITU709, LIMITED = 1, 1  # colour space and range, as H.264 numbers them


def write_overlay(
    media: Media,
    captions: Sequence[Caption],
    path: Path,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write the recording with captions to an MP4 file.

    captions: in order of time. progress: called with the share that is done.

    Raises MercError if the recording has no picture, or if no frame of it can be decoded.
    """
    import av

    if media.video_stream is None:
        raise MercError(
            f"{media.path}: has no picture to draw on", "leave --overlay out for sound alone"
        )
    _, first = next(media.frames(), (0.0, None))
    if first is None:
        raise MercError(
            f"{media.path}: no video frame could be decoded", "leave --overlay out for this file"
        )
    # H.264 takes even sizes: an odd last row or column is cut off
    wide, high = (max(2, side - side % 2) for side in first.shape[1::-1])
    painter = Painter(captions, wide, high)
    with (
        open_container(media.path) as source,
        av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        video = source.streams[media.video_stream]
        picture = _Picture(video, out, media, painter, progress)
        streams = [source.streams[index] for index in media.sound_source["streams"]]
        sounds = {stream.index: _Sound(stream, out, media.zero) for stream in streams}
        for packet in media.packets(source, [video, *streams]):
            if packet.stream.index == video.index:
                picture.add(packet)
            else:
                sounds[packet.stream.index].add(packet)
        picture.finish()
        for sound in sounds.values():
            sound.finish()


class _Picture:
    """Decode frames, draw on them, and encode them at their times."""

    def __init__(
        self,
        source: Any,
        out: Any,
        media: Media,
        painter: Painter,
        progress: Callable[[float], None] | None,
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self.media, self.painter, self.progress = media, painter, progress
        self.out, self.stream = out, out.add_stream("libx264", rate=_rate(source), options=OPTIONS)
        base = source.time_base
        fine = base is not None and base.numerator == 1 and 1000 < base.denominator <= FINEST
        self.base = base if fine else Fraction(1, FINEST)
        source.thread_type = "AUTO"
        source.codec_context.thread_count = THREADS
        self.aspect = float(source.sample_aspect_ratio or 1)
        self.to_rgb, self.to_yuv = VideoReformatter(), VideoReformatter()
        self.first, self.last, self.frames = 0, -1, 0  # the times are in ticks of `base`
        context = self.stream.codec_context
        context.width, context.height, context.pix_fmt = painter.width, painter.height, "yuv420p"
        context.time_base = self.stream.time_base = self.base
        context.colorspace = context.color_primaries = context.color_trc = ITU709
        context.color_range = LIMITED
        context.thread_count = THREADS

    def add(self, packet: Any) -> None:
        for frame in frames_of(packet, []):
            if frame.time is not None:
                self._draw(frame, frame.time - self.media.zero)

    def finish(self) -> None:
        steps = self.last - self.first
        for packet in self.stream.encode(None):
            # the last frame is shown for the mean duration of a frame, as in `Media.duration`
            packet.duration = round(steps / (self.frames - 1)) if self.frames > 1 else 0
            self.out.mux(packet)

    def _draw(self, frame: Any, time: float) -> None:
        import av

        image = upright(self.to_rgb, frame, self.aspect)
        size = (self.painter.height, self.painter.width)
        if image.shape[:2] != size:
            image = _fit(image, size)
        self.painter.paint(image, time)
        drawn = av.VideoFrame.from_ndarray(image, "rgb24")
        drawn = self.to_yuv.reformat(
            drawn, format="yuv420p", dst_colorspace=ITU709, dst_color_range=LIMITED
        )
        # two frames of one time, as in damaged files, follow each other at once
        self.last = max(self.last + 1, round(time / self.base))
        self.first = self.first if self.frames else self.last
        drawn.pts, drawn.time_base = self.last, self.base
        drawn.pict_type = 0  # of the copy, not of the recording
        self.out.mux(self.stream.encode(drawn))
        self.frames += 1
        if self.progress and self.frames % 25 == 0:
            self.progress(min(1.0, max(0.0, time) / max(self.media.duration, 1e-6)))


class _Sound:
    """Copy the sound of one stream, or encode it as AAC."""

    def __init__(self, source: Any, out: Any, zero: float) -> None:
        import av

        self.zero, self.out, self.resampler = zero, out, None
        if source.codec_context.name in COPIED:
            self.stream = out.add_stream_from_template(source)
            return
        rate = source.codec_context.sample_rate
        rate = rate if rate in AAC_RATES else 48_000
        layout = source.codec_context.layout.name
        self.stream = out.add_stream("aac", rate=rate, layout=layout)
        self.stream.codec_context.bit_rate = BIT_RATE
        self.resampler = av.AudioResampler("fltp", layout, rate)
        self.base = Fraction(1, rate)
        self.written = 0  # samples

    def add(self, packet: Any) -> None:
        if self.resampler is None:
            self._copy(packet)
            return
        for frame in frames_of(packet, []):
            start = None if frame.time is None else round((frame.time - self.zero) / self.base)
            frame.pts = None  # the resampler would keep gaps, which the encoder does not know
            for part in self.resampler.resample(frame):
                self._encode(part, start)
                start = None

    def finish(self) -> None:
        if self.resampler is not None:
            for part in self.resampler.resample(None):
                self._encode(part, None)
            self.out.mux(self.stream.encode(None))

    def _copy(self, packet: Any) -> None:
        if packet.dts is None or not packet.size:
            return
        shift = round(self.zero / packet.time_base)
        packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
        packet.dts -= shift
        packet.stream = self.stream
        self.out.mux(packet)

    def _encode(self, frame: Any, start: int | None) -> None:
        """Encode samples; a gap before them becomes silence. start: in samples, if known."""
        import av

        gap = 0 if start is None else start - self.written
        if gap > self.stream.rate // 20:  # timestamps are rough
            for count in _parts(gap, self.stream.rate):
                planes = len(frame.layout.channels)
                silence = np.zeros((planes, count), np.float32)
                self._send(av.AudioFrame.from_ndarray(silence, "fltp", frame.layout.name))
        self._send(frame)

    def _send(self, frame: Any) -> None:
        frame.sample_rate, frame.time_base, frame.pts = self.stream.rate, self.base, self.written
        self.written += frame.samples
        self.out.mux(self.stream.encode(frame))


def _rate(stream: Any) -> Fraction:
    """Return the frame rate that the copy states; the times of its frames are what counts."""
    rate = stream.average_rate or stream.guessed_rate
    return rate if rate and 1 <= rate <= 1000 else Fraction(25)


def _fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut an odd row or column off; scale a picture whose size changed within the recording."""
    import cv2

    if 0 <= image.shape[0] - size[0] <= 1 and 0 <= image.shape[1] - size[1] <= 1:
        return np.ascontiguousarray(image[: size[0], : size[1]])
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def _parts(total: int, size: int) -> Iterator[int]:
    for first in range(0, total, size):
        yield min(size, total - first)
