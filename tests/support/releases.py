"""Raw releases built from real clips.

Faces are GRID's, with their own voices or acted ones, under the file names of the releases.
"""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from support.clips import grid_sentence, sound_of, write_wav

__all__ = ["HEADER", "build_iemocap", "build_meld", "meld_clip", "meld_row", "small_roberta"]

HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
).split(",")
FOLDERS = {
    "train": "train_splits",
    "dev": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}
CODES = {
    "happy": "hap",
    "sad": "sad",
    "neutral": "neu",
    "angry": "ang",
    "excited": "exc",
    "frustrated": "fru",
}
RATE = 16_000  # Hz
FPS = 25


def write_clip(
    path: Path,
    frames: list[np.ndarray],
    sound: np.ndarray,
    codec: str = "mpeg4",
    audio: str = "aac",
) -> Path:
    """Write frames (h, w, 3) uint8 at 25 per second and sound (n,) at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    container = "avi" if path.suffix.lower() == ".avi" else "mp4"
    with av.open(str(path), "w", format=container) as out:
        video = out.add_stream(codec, rate=FPS)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.bit_rate = "yuv420p", 1_500_000
        voice = out.add_stream(audio, rate=RATE, layout="mono")
        for image in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")))
        out.mux(video.encode(None))
        kind = "fltp" if audio == "aac" else "s16"
        for first in range(0, len(sound), 1024):
            samples = sound[None, first : first + 1024]
            samples = samples if kind == "fltp" else (samples * 32767).astype(np.int16)
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), kind, "mono")
            block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), first
            out.mux(voice.encode(block))
        out.mux(voice.encode(None))
    return path


def read_frames(
    clip: Path, seconds: float, size: tuple[int, int] | None = None
) -> list[np.ndarray]:
    """Decode the first seconds of a clip with 25 frames per second."""
    frames: list[np.ndarray] = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            size = size or (frame.width, frame.height)
            frames.append(frame.reformat(*size, format="rgb24").to_ndarray())
            if len(frames) >= round(FPS * seconds):
                break
    return frames


def meld_clip(path: Path, face: Path, voice: Path, seconds: float) -> Path:
    """Write a clip with the face of one clip and the voice of another."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    speech = sound_of(voice)[: len(sound)]
    sound[: len(speech)] = np.clip(speech, -1, 1)
    return write_clip(path, read_frames(face, seconds), sound)


def meld_row(
    dialogue: int, utterance: int, speaker: str, emotion: str, text: str, seconds: float = 2.0
) -> list:
    """Make a row of MELD's *_sent_emo.csv."""
    end = f"00:00:{10 + int(seconds):02d},{round(seconds % 1 * 1000):03d}"
    return [1, text, speaker, emotion, "neutral", dialogue, utterance, 1, 1, "0:00:10,000", end]


def build_meld(
    root: Path,
    shared: Path,
    dialogues: dict[str, list[int]],
    seconds: float = 2.0,
    nested: bool = True,
) -> dict[str, Path]:
    """Build a MELD release with faces of GRID and voices of TESS that act each line's emotion.

    dialogues: part -> ids of dialogues in MELD's own transcripts (those of dev for test).
    Returns the folder of each part's clips.
    """
    voices = _acted_voices(shared)
    faces = sorted((shared / "media" / "grid").glob("*.mpg"))
    folders, count = {}, 0
    for part, ids in dialogues.items():
        folders[part] = root / part / FOLDERS[part] if nested else root / FOLDERS[part]
        rows = []
        for row in _meld_lines(shared, part, ids):
            key = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
            rows.append(meld_row(*key, row["Speaker"], row["Emotion"], row["Utterance"], seconds))
            acted = voices[row["Emotion"] if row["Emotion"] in voices else "neutral"]
            face, voice = faces[count % len(faces)], acted[(7 * count) % len(acted)]
            meld_clip(folders[part] / f"dia{key[0]}_utt{key[1]}.mp4", face, voice, seconds)
            count += 1
        with open(root / f"{part}_sent_emo.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
    return folders


def _acted_voices(shared: Path) -> dict[str, list[Path]]:
    folder = shared / "data" / "speech"
    voices: dict[str, list[Path]] = {}
    with open(folder / "labels.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            voices.setdefault(row["emotion"], []).append(folder / row["file"])
    return voices


def _meld_lines(shared: Path, part: str, ids: list[int]) -> list[dict[str, str]]:
    source = shared / "data" / "meld" / f"{'dev' if part == 'test' else part}_sent_emo.csv"
    with open(source, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["Dialogue_ID"]) in ids]


def build_iemocap(
    root: Path,
    shared: Path,
    names: list[str],
    turns: int = 4,
    seconds: float = 2.0,
    swap: bool = False,
) -> None:
    """Build dialogues of two GRID speakers side by side; the one who listens does not move.

    The actor of the letter in the dialogue's name sits on the left (with `swap` on the right).
    Words are GRID's; labels go round.
    """
    clips = sorted((shared / "media" / "grid").glob("*.mpg"))
    for number, name in enumerate(names):
        pair = clips[(2 * number) % len(clips)], clips[(2 * number + 5) % len(clips)]
        _build_dialogue(root / f"Session{name[4]}", name, number, pair, turns, seconds, swap)


def _build_dialogue(
    session: Path,
    name: str,
    number: int,
    pair: tuple[Path, Path],
    turns: int,
    seconds: float,
    swap: bool,
) -> None:
    faces = [read_frames(clip, seconds, (360, 240)) for clip in pair]
    voices = [sound_of(clip)[: round(seconds * RATE)] for clip in pair]
    codes = list(CODES.values())
    frames, sounds, lines = [], [], []
    evaluation = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
    for turn in range(turns):
        who = turn % 2
        for k in range(round(FPS * seconds)):
            halves = [faces[side][k if side == who else 0] for side in (0, 1)]
            both = np.concatenate(halves[::-1] if swap else halves, 1)
            frames.append(np.pad(both, ((120, 120), (0, 0), (0, 0))))
        sounds.append(voices[who])
        letter = name[5] if who == 0 else {"F": "M", "M": "F"}[name[5]]
        utterance = f"{name}_{letter}{turn:03d}"
        start, end = f"{turn * seconds:.4f}", f"{turn * seconds + seconds:.4f}"
        text = f"{grid_sentence(pair[who]).capitalize()}."
        lines.append(f"{utterance} [{start.zfill(8)}-{end.zfill(8)}]: {text}")
        code = codes[(turn + number) % 6]
        scores = "[2.5000, 2.5000, 2.5000]"
        evaluation.append(f"[{start} - {end}]\t{utterance}\t{code}\t{scores}")
        evaluation += ["C-E2:\tNeutral;\t()", ""]
        voice = session / "sentences" / "wav" / name / f"{utterance}.wav"
        voice.parent.mkdir(parents=True, exist_ok=True)
        write_wav(voice, [np.clip(voices[who], -1, 1)], RATE)
    dialog = session / "dialog"
    for folder in ("transcriptions", "EmoEvaluation", "wav"):
        (dialog / folder).mkdir(parents=True, exist_ok=True)
    (dialog / "transcriptions" / f"{name}.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (dialog / "EmoEvaluation" / f"{name}.txt").write_text("\n".join(evaluation) + "\n", "utf-8")
    sound = np.clip(np.concatenate(sounds), -1, 1)
    write_wav(dialog / "wav" / f"{name}.wav", [sound, sound], RATE)
    write_clip(dialog / "avi" / "DivX" / f"{name}.avi", frames, sound, audio="pcm_s16le")


def small_roberta(folder: Path, texts: list[str]) -> Path:
    """Save a RoBERTa of a few thousand weights, with a tokenizer of these texts."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        texts, vocab_size=400, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    )
    bpe.save_model(str(folder))
    RobertaTokenizerFast.from_pretrained(folder, model_max_length=64).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
    )
    RobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
