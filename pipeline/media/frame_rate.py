"""The frame rate of a recording, which turns frame numbers into times."""

from __future__ import annotations

from pathlib import Path

from pipeline.media.containers import open_container

__all__ = ["frame_rate_of"]


def frame_rate_of(path: Path) -> float | None:
    """Return the frames per second of a recording's video; None without video.

    >>> frame_rate_of(Path("examples/dialogue.mp4"))
    25.0
    """
    with open_container(path) as container:
        for stream in container.streams.video:
            cover = "attached_pic" in str(stream.disposition).lower()
            if not cover and stream.average_rate:
                return float(stream.average_rate)
    return None
