"""Open local media containers through PyAV.

Only the demuxers in `CONTAINERS` and the `file` protocol are allowed. A playlist (HLS, concat,
SDP, DASH, image sequences) is refused, whatever its name, before any of its entries is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import MercError
from pipeline.core.remote import as_typed

__all__ = [
    "CONTAINERS",
    "MediaError",
    "best_first",
    "check_local",
    "frames_of",
    "is_cover",
    "open_container",
    "packets",
    "stated_duration",
]

# demuxers that read nothing but the file they are given
CONTAINERS = (
    "mov,mp4,m4a,3gp,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,flv,asf,ogg,wav,w64,flac,mp3,aac,"
    "ac3,eac3,dts,aiff,au,caf,amr,amrnb,amrwb,mxf,gxf,h264,hevc,ivf,wv,tta,ape,nut,dv,obu,av1"
)
_PLAYLISTS = (
    b"#EXTM3U",
    b"ffconcat",
    b"v=0",
    b"[playlist]",
    b"<?xml",
    b"<MPD",
    b"<smil",
    b"<asx",
    b"[Reference]",
)
# formats whose header states the duration; for others, libav guesses it from the bit rate
_STATING = frozenset("mov avi asf wav w64 flac caf aiff au mxf gxf tta ape wv ivf nut".split())
# formats whose header may state it, and the mark in front of it
_MARKS = {
    "mp3": (b"Xing", b"Info", b"VBRI"),
    "matroska": (b"\x44\x89",),
    "flv": (b"duration",),
}
# formats whose header states when the content ends on its own clock, which may start anywhere
_STATING_ENDS = frozenset({"matroska", "nut"})
_HEAD = 1 << 16  # bytes in which such a mark is looked for
_NETWORK = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+:")


class MediaError(MercError):
    """A recording that cannot be read."""


def check_local(path: str | Path) -> None:
    """Check that a path is a local file that may be opened.

    Raises MediaError if it does not exist, is a folder or device, is empty, names a network
    address, or is a playlist.
    """
    name = str(path)
    try:
        exists, regular = Path(path).exists(), Path(path).is_file()
    except (OSError, ValueError) as error:
        # no permission on its folder, a name that is too long, a null byte
        raise MediaError(f"{name!r}: cannot be accessed: {error}", "check the path") from error
    if not exists:
        if as_typed(name).endswith("://"):
            raise MediaError(f"{as_typed(name)}: names no file", "add the bucket or the folder")
        if _NETWORK.match(name):
            raise MediaError(
                f"{as_typed(name)}: not a local file (merc opens no network addresses)",
                "download the recording and give the path of the file",
            )
        raise MediaError(f"{name}: no such file", "check the name and the current folder")
    if not regular:
        raise MediaError(f"{name}: not a file but a folder or device", "name the recordings in it")
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        reason = f"{name}: cannot be read: {error.strerror}"
        raise MediaError(reason, "check its permissions") from error
    if not head:
        raise MediaError(f"{name}: the file is empty", "copy or record it again")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS):
        raise MediaError(
            f"{name}: a playlist, not a recording",
            "name the recordings themselves; merc does not open files through others",
        )


def open_container(path: Path) -> Any:
    """Open a file that has passed `check_local` as a PyAV container.

    Raises MediaError for a format that is not on the allow-list.
    """
    import av

    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    # with the prefix, libav takes names such as `http:x.mp4` or `-x.mp4` for local files
    url = f"file:{path.absolute()}"
    try:
        return av.open(url, options=options, metadata_errors="replace")
    except (av.error.FFmpegError, UnicodeError) as error:
        raise _unreadable(path, error) from error


def stated_duration(path: Path, container: Any) -> float:
    """Return the duration that the header of a file states, in seconds; 0 if it states none."""
    names = container.format.name.split(",")
    marks = [mark for name in names for mark in _MARKS.get(name, ())]
    if marks:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
            if head.startswith(b"ID3"):  # a tag, whose length is in four bytes of 7 bits
                length = sum((byte & 127) << 7 * (3 - k) for k, byte in enumerate(head[6:10]))
                file.seek(10 + length)
                head = file.read(_HEAD)
        stated = any(mark in head for mark in marks)
    else:
        stated = not _STATING.isdisjoint(names)
    if not stated:
        return 0.0
    start = 0 if _STATING_ENDS.isdisjoint(names) else max(0, container.start_time or 0)
    return max(0, (container.duration or 0) - start) / 1e6


def best_first(container: Any, kind: str, streams: list[Any]) -> list[Any]:
    """Return streams with the one that libav prefers first."""
    best = container.streams.best(kind)
    return sorted(streams, key=lambda stream: best is None or stream.index != best.index)


def is_cover(stream: Any) -> bool:
    """Whether a video stream is a cover picture."""
    return bool(stream.disposition & stream.disposition.__class__.attached_pic)


def packets(container: Any, streams: list[Any], errors: list[str]) -> Iterator[Any]:
    """Yield the packets of the streams until the file ends or breaks off.

    The reason why it breaks off is appended to `errors`.
    """
    import av

    demuxer = container.demux(streams)
    while True:
        try:
            packet = next(demuxer)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            errors.append(str(error))
            return
        except IndexError:  # PyAV: a packet of a stream that the header does not name
            errors.append("a packet of an unknown stream")
            return
        yield packet


def frames_of(packet: Any, errors: list[str]) -> list[Any]:
    """Decode the frames of a packet; a damaged packet has none and appends to `errors`."""
    import av

    try:
        return packet.decode()
    except av.error.FFmpegError as error:
        errors.append(str(error))
        return []


def _unreadable(path: Path, error: Exception) -> MediaError:
    text = getattr(error, "strerror", None) or str(error)
    with open(path, "rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp":
        return MediaError(
            f"{path}: the file was cut short: the index of this MP4/MOV file is missing or damaged "
            f"({text})",
            "copy or record it again",
        )
    return MediaError(
        f"{path}: not an audio or video file that merc can read ({text})",
        "if a media player opens it, convert it: ffmpeg -i INPUT -c:v libx264 -c:a flac OUTPUT.mkv",
    )
