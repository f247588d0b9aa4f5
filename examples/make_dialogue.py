"""Rebuild examples/dialogue.mp4: two public-domain portraits talk with synthetic voices.

Needs flite (Debian package `flite`; its voices are free to redistribute), scikit-image, matplotlib,
av and opencv. Portraits: Eileen Collins (NASA, scikit-image's `astronaut`) and Grace Hopper (US
Navy, matplotlib's sample data). The words are invented; neither of them said them.

    python examples/make_dialogue.py examples/dialogue.mp4
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import av
import cv2
import matplotlib.cbook
import numpy as np
from skimage.data import astronaut

FPS, RATE, HEIGHT, WIDTH = 25, 16000, 360, 320  # of one half of the frame: one speaker
PAUSE = 0.6  # s between turns

LINES = [  # (speaker, text); 0 = Collins on the left, 1 = Hopper on the right
    (0, "I got the job! I start on Monday, and I am so happy."),
    (1, "That is wonderful news. Congratulations!"),
    (0, "Thank you. There is one thing I have to tell you."),
    (1, "What is it? You are scaring me."),
    (0, "The office is in Berlin. I have to move next week."),
    (1, "Next week? You never told me that. How could you do this to me?"),
    (0, "I am sorry. I feel terrible about it."),
    (1, "I will miss you. I do not know what to say."),
]
VOICES = ("slt", "rms")


def portrait(
    image: np.ndarray, face: tuple[int, int, int, int]
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Crop an image such that its face is 150 px high; also return the mouth (x, y, width)."""
    x, y, w, h = face
    scale = 150 / h
    centre = np.array([x + w / 2, y + h / 2]) * scale
    move = np.array([[scale, 0, WIDTH / 2 - centre[0]], [0, scale, 150 - centre[1]]])
    picture = cv2.warpAffine(
        image, move, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    )
    return picture, (WIDTH / 2, 150 + 0.27 * 150, 0.42 * w * scale)


def speak(
    picture: np.ndarray, mouth: tuple[float, float, float], opening: float, time: float
) -> np.ndarray:
    """Open the mouth by `opening` pixels and move the chin; sway the head by a pixel or two."""
    mx, my, width = mouth
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x = x - np.float32(1.5 * np.sin(1.3 * time))
    y = y - np.float32(1.0 * np.sin(0.9 * time + 1))
    gap = opening * np.clip(1 - ((x - mx) / (0.62 * width)) ** 2, 0, 1)
    fade = np.clip(1 - (y - my) / 70, 0, 1)  # to nothing under the chin
    below = np.clip((y - my) / 1.5, 0, 1) * fade
    out = cv2.remap(picture, x, y - gap * below, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    inside = np.clip((gap - np.abs(y - my - gap / 2) * 2) / 2, 0, 1)[..., None]
    return (out * (1 - inside) + np.array([60, 25, 25]) * inside).astype(np.uint8)


def say(voice: str, text: str) -> np.ndarray:
    """Synthesise speech as (n,) float32 at 16 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
        with wave.open(str(path)) as file:
            rate, channels = file.getframerate(), file.getnchannels()
            if rate != RATE or channels != 1:
                raise ValueError(f"flite wrote {rate} Hz, {channels} channels")
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return samples.astype(np.float32) / 32768


def envelope(sound: np.ndarray) -> np.ndarray:
    """Return the loudness, 0 to 1, of each video frame."""
    hop = RATE // FPS
    frames = sound[: len(sound) // hop * hop].reshape(-1, hop)
    level = np.sqrt((frames**2).mean(1))
    return np.clip(level / np.percentile(level[level > 0.005], 90), 0, 1)


def main(target: Path) -> None:
    photograph = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = cv2.cvtColor(cv2.imread(str(photograph)), cv2.COLOR_BGR2RGB)
    people = [portrait(astronaut(), (178, 63, 89, 112)), portrait(hopper, (182, 121, 171, 211))]
    parts, levels = [], ([], [])
    for speaker, text in LINES:
        pause = np.zeros(int(PAUSE * RATE), np.float32)
        sound = np.concatenate([say(VOICES[speaker], text), pause])
        sound = np.pad(sound, (0, -len(sound) % (RATE // FPS)))
        parts.append(sound)
        levels[speaker].append(envelope(sound))
        levels[1 - speaker].append(np.zeros(len(sound) * FPS // RATE))
    sound = np.concatenate(parts)
    loud = [np.concatenate(level) for level in levels]

    with av.open(str(target), "w") as file:
        video = file.add_stream("libx264", rate=FPS, options={"crf": "26", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = 2 * WIDTH, HEIGHT, "yuv420p"
        audio = file.add_stream("aac", rate=RATE, options={"b": "48k"})
        for index in range(len(loud[0])):
            halves = [
                speak(picture, mouth, 14 * float(loud[k][index]), index / FPS + 7 * k)
                for k, (picture, mouth) in enumerate(people)
            ]
            frame = av.VideoFrame.from_ndarray(np.concatenate(halves, 1), "rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for start in range(0, len(sound), 1024):
            block = av.AudioFrame.from_ndarray(sound[None, start : start + 1024], "fltp", "mono")
            block.rate, block.pts, block.time_base = RATE, start, Fraction(1, RATE)
            file.mux(audio.encode(block))
        file.mux(audio.encode(None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
