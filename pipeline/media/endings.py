"""Tell recordings that end too early, where libav does not: it takes what is there for the whole.

RIFF (WAV, AVI), Wave64 and CAF say how many bytes their chunks have, Matroska how many its segment
has. MPEG streams state no length: only a last packet that is incomplete shows that they were cut.

Sources: RIFF (Microsoft and IBM 1991), EBU Tech 3306 (RF64), Sony Wave64, Apple Core Audio Format,
RFC 8794 (EBML) and 9559 (Matroska),
ISO/IEC 13818-1 (MPEG-2 systems) and 11172-1 (MPEG-1 systems).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["describe_cut"]

TOLERANCE = 1024  # bytes; some programs count the header as content
UNKNOWN = 0x7FFFF000  # bytes; 32-bit sizes from here on, and 0, come from writing to a pipe
MAX_CHUNKS = 10_000  # before the sound; a damaged file may have chunks without end
TAIL = 1 << 18  # bytes; packets of a program stream have at most 64 KiB
TS_PACKETS = (188, 192, 204)  # bytes; with a time code (M2TS), with error correction
SYNC, SYNCS = 0x47, 8  # first byte of a transport stream packet; packets to be sure
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # marks of Matroska
PACK, END = 0xBA, 0xB9  # last bytes of start codes 00 00 01 xx


def describe_cut(path: Path, names: str) -> str:
    """Say why a recording must have been cut short, on one line; "" if nothing shows it.

    names: the name of its format in libav, such as "wav" or "mov,mp4".
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if names in ("wav", "w64", "caf", "avi", "matroska,webm"):
            missing = max(_ends(file, names), default=0) - size
            if missing > TOLERANCE:
                return f"its header says that {missing:,} more bytes follow"
        if (names == "mpegts" and _cuts_packet(file, size)) or (
            names == "mpeg" and _cuts_program_packet(file, size)
        ):
            return "its last packet is incomplete"
    return ""


def _ends(file: BinaryIO, name: str) -> Iterator[int]:
    """Yield where the chunks that hold sound and pictures end, in bytes from the file's start."""
    if name == "matroska,webm":
        yield _segment_end(file)
        return
    if name == "avi":  # the parts of a long file follow each other
        for tag, start, size in _chunks(file, 0, "<4sI"):
            if tag == b"RIFF" and 0 < size < UNKNOWN:
                yield start + size
        return
    if name == "wav":
        big = file.read(4) == b"RIFX"
        chunks = _chunks(file, 12, ">4sI" if big else "<4sI")
    elif name == "w64":
        chunks = _chunks(file, 40, "<16sQ")
    else:
        chunks = _chunks(file, 8, ">4sq")
    long = 0  # bytes of the sound of RF64, whose 32-bit size says nothing
    for tag, start, size in chunks:
        if tag == b"ds64":
            long = int.from_bytes(file.read(16)[8:], "little")
        if tag[:4] == b"data":
            known = name != "wav" or 0 < size < UNKNOWN
            yield start + (size if known else long)
            return


def _chunks(file: BinaryIO, position: int, form: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield tag, start of the content, and bytes of each chunk; the file is at the content."""
    length = struct.calcsize(form)
    last = os.fstat(file.fileno()).st_size - length
    for _ in range(MAX_CHUNKS):
        if position > last:
            return
        file.seek(position)
        tag, size = struct.unpack(form, file.read(length))
        if form == "<16sQ":  # Wave64: the size includes the head
            size = max(0, size - length)
        yield tag, position + length, size
        pad = {"<16sQ": 8, ">4sq": 1}.get(form, 2)
        position += length + -(-max(0, size) // pad) * pad


def _segment_end(file: BinaryIO) -> int:
    """Return where the segment of a Matroska file ends, in bytes; 0 if the file does not say."""
    position = 0
    for mark in (EBML, SEGMENT):
        file.seek(position)
        head = file.read(12)
        width = 9 - head[4].bit_length() if len(head) == 12 else 9  # bytes of its size
        if not head.startswith(mark) or width > 8:
            return 0
        limit = (1 << 7 * width) - 1
        size = int.from_bytes(head[4 : 4 + width], "big") & limit
        if size == limit:  # unknown, as in live recordings
            return 0
        position += 4 + width + size
    return position


def _cuts_packet(file: BinaryIO, size: int) -> bool:
    """Whether the last packet of a transport stream is incomplete."""
    head = file.read(2 * SYNCS * TS_PACKETS[-1])
    for length in TS_PACKETS:
        for start in range(length):
            syncs = head[start : start + SYNCS * length : length]
            if syncs == bytes([SYNC]) * SYNCS:
                lead = 4 if length == 192 else 0  # the time code is before the packet
                return (size - start + lead) % length > 0
    return False


def _cuts_program_packet(file: BinaryIO, size: int) -> bool:
    """Whether the last packet of a program stream is incomplete."""
    file.seek(max(0, size - TAIL))
    tail = file.read(TAIL)
    start = tail.find(b"\0\0\1" + bytes([PACK]))
    while start >= 0:
        end = _end_of_packets(tail, start)
        if end is not None:
            return end > len(tail)
        start = tail.find(b"\0\0\1" + bytes([PACK]), start + 1)
    return False


def _end_of_packets(data: bytes, position: int) -> int | None:
    """Follow the packets to the end of the last one; None if something else is between them."""
    while position + 4 <= len(data):
        head = data[position : position + 14]
        if head[:3] != b"\0\0\1" or head[3] < END:
            return None
        if head[3] == END:
            position += 4
        elif head[3] != PACK:
            position += 6 + int.from_bytes(head[4:6], "big")
        elif len(head) < 14 or head[4] >> 6 != 1:  # MPEG-1
            position += 12
        else:
            position += 14 + (head[13] & 7)  # stuffing
    return position
