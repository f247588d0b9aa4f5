"""The same features as people's scripts compute them today, with merc's own models, beam and picture size.

Per utterance: seek in the file and cut, detect faces in every frame, one network call per face, one per text, one
recogniser call per piece of speech, a new Smile per sound.  Models are opened once.  What merc does beyond that
(speaker turns, choice of the speaking face, tracking) is left out here, in favour of the naive side.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import opensmile
from measure import measured
from stages_of_merc import load

from extractors.detectors import find_detector
from extractors.faces import crop_face
from extractors.text import TextExtractor
from extractors.visual import VisualExtractor
from pipeline.core.dialogue import Dialogue, Utterance
from pipeline.media.decode import open_media
from pipeline.segmentation.voice_activity import speech_regions
from pipeline.training.predictor import Predictor

RATE = 16000  # Hz


def visual(clip: Path, said: list[Utterance], rate: float | None = None) -> np.ndarray:
    """Seek, then look at every frame, or at `rate` of them a second."""
    extractor, detector = VisualExtractor(), find_detector()
    rows = np.full((len(said), extractor.dim), np.nan, np.float32)
    for index, utterance in enumerate(said):
        film = cv2.VideoCapture(str(clip))
        film.set(cv2.CAP_PROP_POS_MSEC, 1000 * utterance.start)
        vectors, due = [], 0.0
        while True:
            whole, bgr = film.read()
            time = film.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not whole or time > utterance.end:
                break
            if rate and time < due:
                continue
            due = time + (1 / rate if rate else 0)
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            faces = detector.detect(rgb)
            if faces:
                face = max(faces, key=lambda face: face.box[2] * face.box[3])
                crop = crop_face(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), face.box)
                vectors.append(extractor.embed_faces(crop[None])[0])
        film.release()
        if vectors:
            rows[index] = np.mean(vectors, 0)
    return rows


def audio(clip: Path, said: list[Utterance]) -> np.ndarray:
    """Seek, decode, resample; a new Smile per call."""
    rows = np.full((len(said), 1582), np.nan, np.float32)
    for index, utterance in enumerate(said):
        samples = _cut(clip, utterance)
        if len(samples) >= RATE // 10:
            smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
            rows[index] = smile.process_signal(samples, RATE).to_numpy()[0]
    return rows


def text(said: list[Utterance]) -> np.ndarray:
    extractor = TextExtractor("minilm", batch=1)
    return np.stack([extractor.extract([utterance.text])[0] for utterance in said])


def utterances(clip: Path) -> list[str]:
    """Voice activity, then the recogniser once per region."""
    from faster_whisper import WhisperModel

    from pipeline.segmentation.recognition import Recogniser

    whisper = WhisperModel(str(Recogniser().folder), device="cpu", compute_type="int8")
    with open_media(clip) as media:
        found = []
        for start, end in speech_regions(media):
            segments, _ = whisper.transcribe(
                media.sound(start, end),
                language="en",
                beam_size=1,
                temperature=0.0,
                word_timestamps=True,
                condition_on_previous_text=False,
            )
            found.append("".join(segment.text for segment in segments))
    return found


def whole(clip: Path, said: list[Utterance]) -> None:
    utterances(clip)
    features = {"text": text(said), "audio": audio(clip, said), "visual": visual(clip, said)}
    dialogue = Dialogue(
        "clip",
        "test",
        [str(k) for k in range(len(said))],
        [u.speaker for u in said],
        [u.text for u in said],
        np.full(len(said), -1),
        features,
    )
    Predictor.load("merc-offline").probabilities(dialogue)


def _cut(clip: Path, utterance: Utterance) -> np.ndarray:
    resampler, pieces = av.AudioResampler("flt", "mono", RATE), []
    with av.open(str(clip)) as film:
        stream = film.streams.audio[0]
        film.seek(int(utterance.start / stream.time_base), stream=stream)
        for frame in film.decode(stream):
            if frame.time > utterance.end:
                break
            if frame.time >= utterance.start:
                pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    return np.clip(np.concatenate([np.zeros(0, np.float32), *pieces]), -1, 32767 / 32768)


def main(stage: str, clip: Path, place: Path) -> None:
    said = load(place).utterances
    work = {
        "utterances": lambda: utterances(clip),
        "text": lambda: text(said),
        "audio": lambda: audio(clip, said),
        "visual": lambda: visual(clip, said),
        "visual_10": lambda: visual(clip, said, 10.0),
        "whole": lambda: whole(clip, said),
    }
    print(json.dumps(measured(work[stage])))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
