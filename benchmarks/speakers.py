"""Measure who speaks: speech that is missed, and speakers by voice and by face.

    python benchmarks/speakers.py speech|voices|faces SHARED
    python benchmarks/speakers.py meetings FOLDER

FOLDER is `tests/data` of the source distribution of pyannote.audio 4.0.7: 14 half-minutes of AMI
meetings, with who speaks when (CC BY 4.0). SHARED holds `data/speech/cremad` and `media`.
Conversations are made of CREMA-D actors that nothing was fitted to or chosen on. Rates are shares
of the time of speech.
"""

from __future__ import annotations

import sys
import tempfile
import unicodedata
import wave
from collections import defaultdict
from itertools import permutations
from pathlib import Path

import numpy as np
from mixtures import CONDITIONS, Conversation, actors_of, make_conversation, sounds_without_speech
from scipy.optimize import linear_sum_assignment

from extractors.visual import VisualExtractor
from pipeline.core.dialogue import Utterance
from pipeline.media.decode import RATE, open_media
from pipeline.segmentation.recognition import Recogniser
from pipeline.segmentation.segment import segment
from pipeline.segmentation.speakers_by_voice import assign_speakers, voice_vectors

__all__ = ["diarisation_error"]

STEP = 100  # frames per second in which time is counted
SPEAKERS = range(1, 7)
MEETING = 30.0  # s of each excerpt
PIECES = ((0.3, 1.0), (1.0, 1.7), (1.7, 2.4))  # s of GRID clips, which speak from 0.4 to 2.3

Turn = tuple[float, float, str]


def diarisation_error(truth: list[Turn], found: list[Turn], collar: float = 0.0) -> np.ndarray:
    """Return missed speech, false alarms and confusion as shares of the time of speech, (3,).

    Overlapping speech counts once for each speaker. Speakers are matched so that the error is the
    smallest. collar: seconds on each side of the ends of true turns that do not count.

    >>> diarisation_error([(0, 2, "a"), (2, 4, "b")], [(0, 3, "x"), (3, 4, "y")]).tolist()
    [0.0, 0.0, 0.25]
    """
    return _errors(truth, found, collar)[0]


def measure_speech(shared: Path) -> None:
    """Print errors of whole recordings, and what is heard where nobody speaks."""
    recogniser = Recogniser()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.wav"
        for condition in CONDITIONS:
            errors = defaultdict(list)
            for count in (2, 3, 4):
                talk = _conversation(shared, count, condition, 0)
                _write(path, talk.sound)
                for told in (None, count):
                    found = _found(path, recogniser, told)
                    for collar in (0.0, 0.25):
                        error = diarisation_error(talk.turns, found, collar)
                        errors["told" if told else "free", collar].append(error)
            for (name, collar), values in errors.items():
                missed, false, confused = np.mean(values, axis=0)
                print(
                    f"{condition.name:6} {name} collar {collar:.2f}  missed {missed:.3f}  "
                    f"false {false:.3f}  confused {confused:.3f}"
                )
        for name, sound in sounds_without_speech().items():
            _write(path, sound)
            with open_media(path) as media:
                heard = [u.text for u in segment(media, recogniser=recogniser).utterances]
            print(f"{name:16} {heard or 'nothing'}")


def measure_voices(shared: Path) -> None:
    """Print the confusion of speakers, given the true turns."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.wav"
        for count in SPEAKERS:
            for condition in CONDITIONS:
                talk = _conversation(shared, count, condition, 1)
                _write(path, talk.sound)
                spans = [Utterance(start, end, "x") for start, end, _ in talk.turns]
                with open_media(path) as media:
                    vectors, seconds = voice_vectors(media, spans)
                free = assign_speakers(vectors, seconds)
                told = assign_speakers(vectors, seconds, count)
                errors = [_confusion(talk.turns, numbers) for numbers in (free, told)]
                rows.append((count, *errors, len(set(free) - {-1})))
    for count in SPEAKERS:
        part = np.array([row for row in rows if row[0] == count])
        print(
            f"{count} speakers: free {part[:, 1].mean():.3f}  told {part[:, 2].mean():.3f}  "
            f"found {part[:, 3].mean():.1f}"
        )
    table = np.array(rows)
    print(
        f"all: free {table[:, 1].mean():.3f}  told {table[:, 2].mean():.3f}  "
        f"number right {np.mean(table[:, 0] == table[:, 3]):.2f}"
    )


def measure_meetings(folder: Path) -> None:
    """Print errors of half-minutes of meetings, as shares of the speech of all of them together."""
    recogniser = Recogniser()
    truth = defaultdict(list)
    for path in folder.glob("debug.*.rttm"):
        for line in path.read_text(encoding="utf-8").splitlines():
            _, name, _, start, length, _, _, speaker, *_ = line.split()
            end = min(float(start) + float(length), MEETING)
            truth[name].append((float(start), end, speaker))
    errors = defaultdict(list)
    right = defaultdict(list)
    for path in sorted(folder.glob("*.wav")):
        name = unicodedata.normalize("NFKD", path.stem).encode("ascii", "ignore").decode()
        turns = truth.get(name)
        if not turns:
            continue  # one recording is empty
        count = len({speaker for _, _, speaker in turns})
        part = "train" if name.startswith("trn") else "development and test"
        for told in (None, count):
            found = _found(path, recogniser, told)
            known = "told" if told else "free"
            right[part, known].append(len({speaker for _, _, speaker in found}) == count)
            for collar in (0.0, 0.25):
                shares, seconds = _errors(turns, found, collar)
                errors[part, known, collar].append([*(shares * seconds), seconds])
    for (part, known, collar), rows in errors.items():
        *seconds, speech = np.sum(rows, axis=0)
        missed, false, confused = np.array(seconds) / speech
        print(
            f"{part:20} {known} collar {collar:.2f}  missed {missed:.3f}  false {false:.3f}  "
            f"confused {confused:.3f}  DER {missed + false + confused:.3f}  "
            f"number right {sum(right[part, known])} of {len(rows)}"
        )


def measure_faces(shared: Path) -> None:
    """Print how often the face that speaks is chosen of two GRID clips side by side."""
    extractor = VisualExtractor()
    clips = []
    for path in sorted((shared / "media" / "grid").glob("*.mpg")):
        with open_media(path) as media:
            clips.append(([*media.frames()], media.sound()))
    alone, pooled = [], []
    for number, ((one, sound), (other, _)) in enumerate([*permutations(clips, 2)][::4]):
        left = number % 2 == 0
        frames = [
            (time, np.hstack([a, b] if left else [b, a]))
            for (time, a), (_, b) in zip(one, other, strict=False)
        ]
        for correct, speakers in ((alone, None), (pooled, ["S1"] * len(PIECES))):
            for reading in extractor.read(frames, PIECES, (sound, RATE), speakers):
                if reading.centre:
                    correct.append((reading.centre[0] < 0.5) == left)
    print(f"each piece alone {np.mean(alone):.3f}, pooled {np.mean(pooled):.3f} of {len(pooled)}")


def _errors(truth: list[Turn], found: list[Turn], collar: float) -> tuple[np.ndarray, float]:
    """Return the shares of `diarisation_error`, and the seconds of speech that they are of."""
    frames = round(STEP * max(end for _, end, _ in [*truth, *found])) + 1
    one, other = _activity(truth, frames), _activity(found, frames)
    counted = np.ones(frames, bool)
    for start, end, _ in truth:
        for edge in (start, end) if collar else ():
            counted[max(0, round(STEP * (edge - collar))) : round(STEP * (edge + collar))] = False
    one, other = one[:, counted], other[:, counted]
    together = one.astype(int) @ other.T.astype(int)
    rows, columns = linear_sum_assignment(-together)
    speaking, heard = one.sum(0), other.sum(0)
    missed = np.maximum(speaking - heard, 0).sum()
    false = np.maximum(heard - speaking, 0).sum()
    confused = np.minimum(speaking, heard).sum() - together[rows, columns].sum()
    total = max(int(speaking.sum()), 1)
    return np.array([missed, false, confused]) / total, total / STEP


def _conversation(shared: Path, count: int, condition, seed: int) -> Conversation:
    folder = shared / "data" / "speech" / "cremad"
    # the recipe of the voice encoder leaves out [2::3]; speech was chosen on [::2]
    actors = actors_of(folder)[5::6]
    number = 100 * count + 10 * CONDITIONS.index(condition) + seed
    chosen = np.random.default_rng(number).choice(actors, count, replace=False)
    return make_conversation(folder, [str(actor) for actor in chosen], condition, number)


def _found(path: Path, recogniser: Recogniser, told: int | None) -> list[Turn]:
    with open_media(path) as media:
        utterances = segment(media, recogniser=recogniser, speakers=told).utterances
    return [(u.start, u.end, u.speaker) for u in utterances]


def _confusion(turns: list[Turn], numbers: list[int]) -> float:
    """Return the share of the time of turns that gets a wrong speaker."""
    names = sorted({speaker for _, _, speaker in turns})
    seconds = np.zeros((len(names), max(numbers) + 2))
    for (start, end, speaker), number in zip(turns, numbers, strict=True):
        seconds[names.index(speaker), number] += end - start
    right = seconds[:, :-1]  # the last column holds turns without a speaker
    return float(1 - right[linear_sum_assignment(-right)].sum() / seconds.sum())


def _activity(turns: list[Turn], frames: int) -> np.ndarray:
    names = sorted({speaker for _, _, speaker in turns})
    active = np.zeros((max(1, len(names)), frames), bool)
    for start, end, speaker in turns:
        active[names.index(speaker), round(STEP * start) : round(STEP * end)] = True
    return active


def _write(path: Path, sound: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())


if __name__ == "__main__":
    measures = {
        "speech": measure_speech,
        "voices": measure_voices,
        "faces": measure_faces,
        "meetings": measure_meetings,
    }
    measures[sys.argv[1]](Path(sys.argv[2]))
