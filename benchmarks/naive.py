"""The same features as typical scripts compute them, with merc's models, beam and frame size.

For each utterance: seek in the file and cut, detect faces in every frame, one network call per
face, one per text, one recogniser call per region of speech, a new Smile object per sound. Models
are loaded once. Speaker turns, the choice of the speaking face and tracking, which merc does too,
are left out, in favour of the naive side.
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

from extractors.crops import crop_face
from extractors.detectors import find_detector
from extractors.text import TextExtractor
from extractors.visual import VisualExtractor
from pipeline.core.dialogue import Dialogue, Segmentation, Utterance
from pipeline.media.decode import open_media
from pipeline.segmentation.voice_activity import find_speech
from pipeline.training.predictor import Predictor

RATE = 16000  # Hz


def visual(clip: Path, utterances: list[Utterance], rate: float | None = None) -> np.ndarray:
    """Seek, then look at every frame, or at `rate` frames per second."""
    extractor, detector = VisualExtractor(), find_detector()
    rows = np.full((len(utterances), extractor.dim), np.nan, np.float32)
    for index, utterance in enumerate(utterances):
        video = cv2.VideoCapture(str(clip))
        video.set(cv2.CAP_PROP_POS_MSEC, 1000 * utterance.start)
        vectors, due = [], 0.0
        while True:
            decoded, bgr = video.read()
            time = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if not decoded or time > utterance.end:
                break
            if rate and time < due:
                continue
            due = time + (1 / rate if rate else 0)
            faces = detector.detect(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            if faces:
                face = max(faces, key=lambda face: face.box[2] * face.box[3])
                crop = crop_face(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), face.box)
                vectors.append(extractor.embed_faces(crop[None])[0])
        video.release()
        if vectors:
            rows[index] = np.mean(vectors, 0)
    return rows


def audio(clip: Path, utterances: list[Utterance]) -> np.ndarray:
    """Seek, decode, resample; a new Smile object per utterance."""
    rows = np.full((len(utterances), 1582), np.nan, np.float32)
    for index, utterance in enumerate(utterances):
        samples = _cut(clip, utterance)
        if len(samples) >= RATE // 10:
            smile = opensmile.Smile(opensmile.FeatureSet.IS10, opensmile.FeatureLevel.Functionals)
            rows[index] = smile.process_signal(samples, RATE).to_numpy()[0]
    return rows


def text(utterances: list[Utterance]) -> np.ndarray:
    """One call per text."""
    extractor = TextExtractor("minilm", batch=1)
    return np.stack([extractor.extract([utterance.text])[0] for utterance in utterances])


def recognise(clip: Path) -> list[str]:
    """Detect voice activity, then call the recogniser once per region."""
    from faster_whisper import WhisperModel

    from pipeline.segmentation.recognition import Recogniser

    whisper = WhisperModel(str(Recogniser().folder), device="cpu", compute_type="int8")
    with open_media(clip) as media:
        texts = []
        for start, end in find_speech(media).regions:
            segments, _ = whisper.transcribe(
                media.sound(start, end),
                language="en",
                beam_size=1,
                temperature=0.0,
                word_timestamps=True,
                condition_on_previous_text=False,
            )
            texts.append("".join(segment.text for segment in segments))
    return texts


def whole(clip: Path, segmentation: Segmentation) -> None:
    utterances = segmentation.utterances
    recognise(clip)
    features = {
        "text": text(utterances),
        "audio": audio(clip, utterances),
        "visual": visual(clip, utterances),
    }
    dialogue = Dialogue.from_segmentation("clip", segmentation, features)
    Predictor.load("merc-offline").probabilities(dialogue)


def _cut(clip: Path, utterance: Utterance) -> np.ndarray:
    resampler, parts = av.AudioResampler("flt", "mono", RATE), []
    with av.open(str(clip)) as file:
        stream = file.streams.audio[0]
        file.seek(int(utterance.start / stream.time_base), stream=stream)
        for frame in file.decode(stream):
            if frame.time > utterance.end:
                break
            if frame.time >= utterance.start:
                parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    return np.clip(np.concatenate([np.zeros(0, np.float32), *parts]), -1, 32767 / 32768)


def main(stage: str, clip: Path, folder: Path) -> None:
    segmentation = load(folder)
    utterances = segmentation.utterances
    work = {
        "utterances": lambda: recognise(clip),
        "text": lambda: text(utterances),
        "audio": lambda: audio(clip, utterances),
        "visual": lambda: visual(clip, utterances),
        "visual_10": lambda: visual(clip, utterances, 10.0),
        "whole": lambda: whole(clip, segmentation),
    }
    print(json.dumps(measured(work[stage])))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
