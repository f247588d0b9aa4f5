"""Recordings for the soak: real clips in many formats, lengths and sizes, some of them faulty."""

from __future__ import annotations

import os
import random
import shutil
from fractions import Fraction
from pathlib import Path

import av
from material import join

FORMATS = {  # extension -> codecs of the picture and the sound, samples per second
    "mp4": ("libx264", "aac", 44100),
    "avi": ("mpeg4", "libmp3lame", 44100),
    "webm": ("libvpx", "libopus", 48000),
    "wav": (None, "pcm_s16le", 16000),
    "mkv": ("libx264", "flac", 32000),
    "mpg": ("mpeg1video", "mp2", 44100),
    "mp3": (None, "libmp3lame", 44100),
    "mov": ("mpeg4", "pcm_s16le", 22050),
    "ts": ("mpeg2video", "mp2", 48000),
    "flac": (None, "flac", 16000),
    "opus": (None, "libopus", 48000),
}
FAULTS = ("truncated", "no sound", "empty", "zeros", "no picture", "wrong type", "flipped bits")
SIZES = ((176, 144), (320, 240), (360, 288), (640, 360))
MAX_CASE = 1_500_000  # bytes
TRANSCRIPT = "start,end,speaker,text\n0.3,1.4,Ann,bin blue at f\n1.5,2.8,Bo,two now\n"


def make_recordings(shared: Path, folder: Path, count: int, seed: int) -> None:
    """Make what is not there yet of `count` recordings of 2 to 8 s.

    One of ten is a file of `shared/cases` or `shared/media/edge` as it is, and one of three of the
    others has a fault. Half of them have a transcript.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem for path in folder.iterdir() if path.suffix != ".csv"}
    cases = case_files(shared)
    for number in range(count):
        name = f"{number:03}"
        if name in there:
            continue
        chance = random.Random(f"{seed}-{number}")
        if number % 10 == 9:
            case = cases[number // 10 % len(cases)]
            made = Path(shutil.copyfile(case, folder.parent / f"making{case.suffix}"))
        else:
            fault = FAULTS[number // 3 % len(FAULTS)] if number % 3 == 2 else ""
            made = make_one(shared / "media", folder.parent / "making", fault, chance)
        if chance.random() < 0.5:
            (folder / f"{name}.csv").write_text(TRANSCRIPT)
        os.replace(made, folder / f"{name}{made.suffix}")


def case_files(shared: Path) -> list[Path]:
    """List the recordings that merc once read wrongly, or that are special."""
    folders = (shared / "cases" / "media", shared / "cases" / "hostile", shared / "media" / "edge")
    files = sorted(path for folder in folders for path in folder.iterdir())
    return [f for f in files if f.suffix != ".pkl" and f.stat().st_size < MAX_CASE]


def make_one(clips: Path, making: Path, fault: str, chance: random.Random) -> Path:
    """Join parts of clips, write them in one of the formats, add the fault; return the file."""
    extension = chance.choice(list(FORMATS))
    video, audio, rate = FORMATS[extension]
    if fault in ("no sound", "no picture") and video is None:
        extension, (video, audio, rate) = "mp4", FORMATS["mp4"]
    sources = [*sorted((clips / "grid").glob("*.mpg")), clips / "hamilton.mp4"]
    chance.shuffle(sources)
    seconds = 2 + 6 * chance.random() ** 2
    joined = join(sources[:3], making.with_suffix(".joined.mp4"), seconds, chance.choice(SIZES))
    made = making.with_suffix(f".{extension}")
    wanted = (None if fault == "no picture" else video, None if fault == "no sound" else audio)
    transcode(joined, made, *wanted, rate)
    joined.unlink()
    damage(made, fault, chance)
    return made


def transcode(source: Path, out: Path, video: str | None, audio: str | None, rate: int) -> None:
    """Write a recording in another format, without its picture or sound if the codec is None."""
    options = {"fflags": "bitexact"}  # no random numbers in Matroska
    with av.open(str(source)) as clip, av.open(str(out), "w", options=options) as file:
        targets = {}
        if video:
            (picture,) = clip.streams.video
            # libvpx takes seconds for a second unless it is told to hurry
            stream = file.add_stream(video, 25, options={"deadline": "realtime", "cpu-used": "8"})
            stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
            targets[picture.index] = stream
        if audio:
            targets[clip.streams.audio[0].index] = file.add_stream(audio, rate, layout="mono")
        resampler = av.AudioResampler("s16" if audio != "aac" else "fltp", "mono", rate)
        count = 0
        for packet in clip.demux([clip.streams[index] for index in targets]):
            stream = targets[packet.stream.index]
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    for part in resampler.resample(frame):
                        file.mux(stream.encode(part))
                    continue
                frame.pts, frame.time_base, frame.pict_type = count, Fraction(1, 25), 0
                count += 1
                file.mux(stream.encode(frame))
        for stream in targets.values():
            file.mux(stream.encode(None))


def damage(path: Path, fault: str, chance: random.Random) -> None:
    """Give a file one of the faults that concern its bytes."""
    data = bytearray(path.read_bytes())
    if fault == "truncated":
        del data[int(len(data) * chance.uniform(0.2, 0.9)) :]
    elif fault == "empty":
        data.clear()
    elif fault == "zeros":
        first = int(len(data) * chance.uniform(0.2, 0.7))
        last = first + len(data) // 5
        data[first:last] = bytes(last - first)
    elif fault == "wrong type":
        data[:] = b"This is no recording.\n" * 100
    elif fault == "flipped bits":
        for _ in range(30):
            data[chance.randrange(len(data) // 10, len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
