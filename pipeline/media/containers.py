"""Open a local container through PyAV, and nothing else: libavformat's own allow-list, the `file` protocol alone.

A playlist under any name (HLS, concat, SDP, DASH, image sequences) is refused before one of its entries is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["CONTAINERS", "MediaError", "check_local", "frames_of", "open_container", "packets"]

# Demuxers that read nothing but the file they are given.
CONTAINERS = (
    "mov,mp4,m4a,3gp,matroska,webm,avi,mpeg,mpegts,mpegvideo,m4v,flv,asf,ogg,wav,w64,flac,mp3,aac,ac3,eac3,"
    "dts,aiff,au,caf,amr,amrnb,amrwb,mxf,gxf,h264,hevc,ivf,wv,tta,ape,nut,dv,obu,av1"
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
_NETWORK = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]+:")


class MediaError(ValueError):
    """A medium that cannot be read: which, why, and what to do."""


def check_local(path: str | Path) -> None:
    """Raise MediaError for a name that is missing, a folder, empty, on a network, or a playlist."""
    name = str(path)
    try:
        exists, regular = Path(path).exists(), Path(path).is_file()
    except (
        OSError,
        ValueError,
    ) as error:  # no permission on the folder, a name too long, a zero byte
        raise MediaError(f"{name!r}: cannot be looked at: {error}") from error
    if not exists:
        if _NETWORK.match(name):
            raise MediaError(
                f"{name}: not a local file (merc opens no network names or protocols); download the "
                f"medium and give the path of the file"
            )
        raise MediaError(f"{name}: no such file; check the name and the current folder")
    if not regular:
        raise MediaError(f"{name}: a folder or a device, not a file; name the media in it")
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise MediaError(
            f"{name}: cannot be read: {error.strerror}; check its permissions"
        ) from error
    if not head:
        raise MediaError(f"{name}: the file is empty; copy or record it again")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS):
        raise MediaError(
            f"{name}: a playlist, not a medium, whatever its name says; merc opens no files through "
            f"others: give the media themselves"
        )


def open_container(path: Path) -> Any:
    """A PyAV container of a file that `check_local` let through.  Raises MediaError for what is not on the allow-list.

    The `file:` prefix keeps names such as `http:x.mp4` or `-x.mp4` what they are: local files.
    """
    import av

    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    try:
        return av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except (av.error.FFmpegError, UnicodeError) as error:
        raise MediaError(_reason(path, error)) from error


def packets(container: Any, streams: list[Any], damaged: list[str]) -> Iterator[Any]:
    """Packets of the streams up to the end or to where the file breaks off (noted in `damaged`)."""
    import av

    demuxer = container.demux(streams)
    while True:
        try:
            packet = next(demuxer)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            damaged.append(str(error))
            return
        yield packet


def frames_of(packet: Any, damaged: list[str]) -> list[Any]:
    """Decoded frames of a packet; a damaged one gives none and is noted."""
    import av

    try:
        return packet.decode()
    except av.error.FFmpegError as error:
        damaged.append(str(error))
        return []


def _reason(path: Path, error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    with open(path, "rb") as file:
        head = file.read(64)
    if head[4:8] == b"ftyp":
        return (
            f"{path}: an MP4/MOV file whose index is missing or damaged ({text}); it was cut short: copy or record "
            f"it again"
        )
    return (
        f"{path}: not a sound or video file that merc reads ({text}); if a player opens it, convert it: "
        f"ffmpeg -i INPUT -c:v libx264 -c:a flac OUTPUT.mkv"
    )
