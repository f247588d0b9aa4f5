"""Conversations with exact turns, made from acted clips of single speakers (CREMA-D).

Each speaker has a place in a simulated room. Some turns overlap.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfilt

from pipeline.media.decode import RATE, open_media
from pipeline.recipes.rooms import CONDITIONS, Condition, Place, coloured_noise
from pipeline.recipes.speech_spans import SpokenClip, spoken_clips

__all__ = [
    "CONDITIONS",
    "Condition",
    "Conversation",
    "actors_of",
    "make_conversation",
    "sounds_without_speech",
]

Turn = tuple[float, float, str]  # start and end in seconds, speaker


@dataclass(frozen=True)
class Conversation:
    """Samples (n,) float32 at 16 kHz, and its turns in order of time."""

    sound: np.ndarray
    turns: list[Turn]


def actors_of(folder: Path) -> list[str]:
    """Return the actors of CREMA-D in `folder`, in order."""
    return sorted(path.stem for path in folder.glob("*.opus"))


@lru_cache(maxsize=24)
def clips_of(folder: Path, actor: str) -> list[SpokenClip]:
    """Return the clips of an actor, without the silence around them, and their speech."""
    with open_media(folder / f"{actor}.opus") as media:
        sound = media.sound()
    with open(folder / "labels.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["actor"] == actor]
    sounds = (sound[round(float(r["start"]) * RATE) : round(float(r["end"]) * RATE)] for r in rows)
    return spoken_clips(sounds)


def make_conversation(
    folder: Path, actors: list[str], condition: Condition, seed: int, seconds: float = 30.0
) -> Conversation:
    """Let actors speak in turn for about `seconds`, each at least twice; some turns overlap."""
    rng = np.random.default_rng(seed)
    total = round((seconds + 8) * RATE)
    mixture = np.zeros(total)
    places = {actor: Place.draw(condition, rng) for actor in actors}
    order = [actors[k] for k in rng.permutation(len(actors))] * 2
    turns: list[Turn] = []
    end, last, count = rng.uniform(0.3, 1.5), "", 0
    while end < seconds:
        others = [actor for actor in actors if actor != last] or actors
        actor = order[count] if count < len(order) else str(rng.choice(others))
        last, count = actor, count + 1
        gap = float(np.clip(rng.normal(0.35, 0.5), -0.8, 2.0)) if turns else 0.0
        start = max(0.1, end + gap)
        clips = clips_of(folder, actor)
        for _ in range(int(rng.integers(1, 4))):
            clip, spans = clips[int(rng.integers(len(clips)))]
            heard = places[actor].hear(clip, rng)
            first = round(start * RATE)
            heard = heard[: total - first]
            mixture[first : first + len(heard)] += heard
            for span_start, span_end in spans:
                turns.append((start + span_start, start + span_end, actor))
            end = max(end, start + len(clip) / RATE)
            start = start + len(clip) / RATE + float(rng.uniform(0.05, 0.5))
            if end >= seconds:
                break
    mixture = mixture[: round((end + 1.0) * RATE)]
    mixture += 10 ** (condition.noise / 20) * coloured_noise(len(mixture), rng)
    return Conversation(np.clip(mixture, -1, 1).astype(np.float32), sorted(turns))


def sounds_without_speech(seconds: float = 20.0) -> dict[str, np.ndarray]:
    """Return noise, music and other sounds (n,) without speech, which should give no utterance."""
    rng = np.random.default_rng(0)
    count = round(seconds * RATE)
    times = np.arange(count) / RATE
    white = rng.standard_normal(count)
    sounds = {"silence": np.zeros(count), "white noise": 0.1 * white}
    sounds["room noise"] = 0.01 * coloured_noise(count, rng)
    sounds["loud room noise"] = 0.2 * coloured_noise(count, rng)
    beat = (times * 2) % 1
    sounds["drums"] = 0.5 * white * np.exp(-20 * beat)
    sounds["clicks"] = np.where(rng.random(count) < 2e-4, 0.8, 0.0)
    sounds["applause"] = 0.2 * white * (0.5 + rng.random(count // 400 + 1).repeat(400)[:count])
    sounds["siren"] = 0.4 * np.sin(np.cumsum(2 * np.pi * (700 + 300 * np.sin(times))) / RATE)
    for name, harmonics, vibrato in (("organ", 3, 0.0), ("strings", 12, 5.0), ("lead", 20, 6.0)):
        notes = 220 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12], count // 6000 + 1) / 12)
        hertz = notes.repeat(6000)[:count] * (1 + 0.01 * np.sin(2 * np.pi * vibrato * times))
        phase = 2 * np.pi * np.cumsum(hertz) / RATE
        fade = np.minimum(1, np.arange(count) % 6000 / 400) * np.exp(
            -(np.arange(count) % 6000) / 6e3
        )
        tone = sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))
        sounds[name] = 0.2 * np.asarray(tone) * fade
    sounds["band"] = 0.5 * (sounds["strings"] + sounds["drums"] + sounds["organ"])
    hum = np.cumsum(2 * np.pi * (140 + 20 * np.sin(2 * np.pi * 0.3 * times))) / RATE
    hum = sum(np.sin(k * hum) / k for k in range(1, 25))
    formants = sum(
        sosfilt(butter(2, (f * 0.9, f * 1.1), "band", fs=RATE, output="sos"), hum)
        for f in (350, 800, 2400)
    )
    sounds["humming"] = 0.2 * formants * (np.sin(2 * np.pi * 0.4 * times) > -0.7)
    return {name: np.clip(sound, -1, 1).astype(np.float32) for name, sound in sounds.items()}
