"""Plans of raw releases: which recordings serve an utterance, in which order."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from pipeline.corpora.release import RawCorpus, RawUtterance
from pipeline.features.release_plan import plan_release
from pipeline.segmentation.transcripts import read_transcript

CLIP, VIDEO, SOUND, WHOLE = (Path(name) for name in ("a.mp4", "a.avi", "a.wav", "whole.wav"))


def utterance(name: str = "u0", clip: Path | None = None, **more) -> RawUtterance:
    return RawUtterance("d", name, "train", "Ann", "Oh,  “no”\n", 0, 0.5, 2.25, clip, **more)


def places(corpus: RawCorpus, index: int = 0) -> dict[str, list[str]]:
    plan = plan_release(corpus)
    return {m: [piece.name for piece, _ in some] for m, some in plan.places[index].items()}


def test_a_clip_serves_all_modalities_and_text_falls_back_to_words_alone():
    served = places(RawCorpus("meld", [utterance(clip=CLIP)]))
    assert served == {
        "text": ["train-a.mp4", "train-u0 (words)"],
        "audio": ["train-a.mp4"],
        "visual": ["train-a.mp4"],
    }
    assert places(RawCorpus("meld", [utterance()])) == {
        "text": ["train-u0 (words)"],
        "audio": [],
        "visual": [],
    }


def test_the_sound_file_of_an_utterance_replaces_the_sound_of_the_video():
    line = utterance(clip=VIDEO, sound=SOUND, side="left")
    assert places(RawCorpus("iemocap", [line]))["audio"] == ["a.wav"]
    # without one, it comes from the sound of the dialogue, else from the video
    whole = utterance("u1", clip=VIDEO, sound=WHOLE, side="right", whole_sound=True)
    corpus = RawCorpus("iemocap", [line, whole])
    assert places(corpus, 0)["audio"] == ["a.wav"] and places(corpus, 1)["audio"] == ["whole.wav"]
    corpus = RawCorpus("iemocap", [line, utterance("u1", clip=VIDEO, side="right")])
    assert places(corpus, 0)["audio"] == ["a.wav", "a.avi"]
    assert places(corpus, 1)["audio"] == ["a.avi"]
    video = next(piece for piece in plan_release(corpus).pieces if piece.path == VIDEO)
    assert video.sides == "lr" and len(video.utterances) == 2


def test_unwanted_modalities_need_no_recording():
    corpus = RawCorpus("iemocap", [utterance(clip=VIDEO, sound=SOUND, side="left")])
    assert [piece.path for piece in plan_release(corpus, ("audio",)).pieces] == [SOUND]


def test_the_transcript_reads_back_as_the_utterances(tmp_path):
    corpus = RawCorpus("meld", [utterance(clip=CLIP)])
    (piece, *_) = plan_release(corpus).pieces
    path = tmp_path / "a.csv"
    path.write_bytes(piece.transcript)
    assert read_transcript(path) == list(piece.utterances)
    assert piece.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_utterances_are_clipped_to_the_recording():
    corpus = RawCorpus("meld", [utterance(clip=CLIP)])
    (piece, *_) = plan_release(corpus).pieces
    for duration, span in ((9.0, (0.5, 2.25)), (1.0, (0.5, 1.0)), (0.25, (0.25, 0.25))):
        (clipped,) = piece.segmentation(duration).utterances
        assert (clipped.start, clipped.end) == span
    unknown = RawUtterance("d", "u", "train", "Ann", "Oh", 0, 0.0, math.inf, CLIP)
    (piece, *_) = plan_release(RawCorpus("meld", [unknown])).pieces
    assert piece.utterances[0].end == 0.0
