"""Raw releases built from real clips: GRID's faces with their own voices or acted ones, under the right names."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from support.clips import sound_of, write_wav

__all__ = ["build_iemocap", "build_meld", "meld_clip", "small_roberta"]

HEADER = [
    "Sr No.",
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
]
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


def write_film(
    path: Path,
    frames: list[np.ndarray],
    sound: np.ndarray,
    rate: int = 25,
    codec: str = "mpeg4",
    audio: str = "aac",
) -> Path:
    """Frames (h, w, 3) uint8 at `rate` a second and sound (n,) at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "avi" if path.suffix.lower() == ".avi" else "mp4"
    with av.open(str(path), "w", format=kind) as out:
        video = out.add_stream(codec, rate=rate)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.bit_rate = "yuv420p", 1_500_000
        voice = out.add_stream(audio, rate=RATE, layout="mono")
        for image in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")))
        out.mux(video.encode(None))
        kind = "fltp" if audio == "aac" else "s16"
        for first in range(0, len(sound), 1024):
            part = sound[None, first : first + 1024]
            part = part if kind == "fltp" else (part * 32767).astype(np.int16)
            block = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), kind, "mono")
            block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), first
            out.mux(voice.encode(block))
        out.mux(voice.encode(None))
    return path


def frames_of(clip: Path, seconds: float, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """The first seconds of a clip of 25 frames a second."""
    with av.open(str(clip)) as container:
        found = []
        for frame in container.decode(video=0):
            size = size or (frame.width, frame.height)
            found.append(frame.reformat(*size, format="rgb24").to_ndarray())
            if len(found) >= round(25 * seconds):
                break
    return found


def meld_clip(path: Path, face: Path, voice: Path, seconds: float) -> Path:
    """A face with another's voice."""
    sound = np.zeros(round(seconds * RATE), np.float32)
    said = sound_of(voice)[: len(sound)]
    sound[: len(said)] = np.clip(said, -1, 1)
    return write_film(path, frames_of(face, seconds), sound)


def meld_row(
    dialogue: int, utterance: int, speaker: str, emotion: str, text: str, seconds: float = 2.0
) -> list:
    end = f"00:00:{10 + int(seconds):02d},{round(seconds % 1 * 1000):03d}"
    return [1, text, speaker, emotion, "neutral", dialogue, utterance, 1, 1, "0:00:10,000", end]


def build_meld(
    root: Path,
    shared: Path,
    dialogues: dict[str, list[int]],
    seconds: float = 2.0,
    nested: bool = True,
) -> dict[str, Path]:
    """part -> dialogue ids: lines of MELD's own transcripts (test's: of dev), faces of GRID, voices of TESS.

    Every line's emotion is heard.  Returns the folder of each part's clips.
    """
    voices: dict[str, list[Path]] = {}
    with open(shared / "data" / "speech" / "labels.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            voices.setdefault(row["emotion"], []).append(shared / "data" / "speech" / row["file"])
    faces = sorted((shared / "media" / "grid").glob("*.mpg"))
    places, count = {}, 0
    for part, wanted in dialogues.items():
        places[part] = root / part / FOLDERS[part] if nested else root / FOLDERS[part]
        source = shared / "data" / "meld" / f"{'dev' if part == 'test' else part}_sent_emo.csv"
        with open(source, encoding="utf-8", newline="") as file:
            own = [row for row in csv.DictReader(file) if int(row["Dialogue_ID"]) in wanted]
        rows = []
        for row in own:
            key = int(row["Dialogue_ID"]), int(row["Utterance_ID"])
            rows.append(meld_row(*key, row["Speaker"], row["Emotion"], row["Utterance"], seconds))
            spoken = voices[row["Emotion"] if row["Emotion"] in voices else "neutral"]
            meld_clip(
                places[part] / f"dia{key[0]}_utt{key[1]}.mp4",
                faces[count % len(faces)],
                spoken[(7 * count) % len(spoken)],
                seconds,
            )
            count += 1
        with open(root / f"{part}_sent_emo.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([HEADER, *rows])
    return places


def build_iemocap(
    root: Path,
    shared: Path,
    names: list[str],
    turns: int = 4,
    seconds: float = 2.0,
    swap: bool = False,
) -> None:
    """Dialogues of two GRID speakers side by side: one talks, the other's picture stands still.

    The actor of the name's letter sits left (right with `swap`).  Words are GRID's, labels go round.
    """
    from support.clips import grid_sentence

    clips = sorted((shared / "media" / "grid").glob("*.mpg"))
    labels = list(CODES)
    for number, name in enumerate(names):
        session = root / f"Session{name[4]}"
        pair = clips[(2 * number) % len(clips)], clips[(2 * number + 5) % len(clips)]
        films = [frames_of(clip, seconds, (360, 240)) for clip in pair]
        sounds = [sound_of(clip)[: round(seconds * RATE)] for clip in pair]
        pictures, heard, lines, told = (
            [],
            [],
            [],
            ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""],
        )
        for turn in range(turns):
            who, start = turn % 2, turn * seconds
            for k in range(round(25 * seconds)):
                halves = [films[side][k if side == who else 0] for side in (0, 1)]
                both = np.concatenate(halves[::-1] if swap else halves, 1)
                pictures.append(np.pad(both, ((120, 120), (0, 0), (0, 0))))
            heard.append(sounds[who])
            letter = name[5] if who == 0 else {"F": "M", "M": "F"}[name[5]]
            said = f"{name}_{letter}{turn:03d}"
            span = f"{start:.4f}", f"{start + seconds:.4f}"
            lines.append(
                f"{said} [{span[0].zfill(8)}-{span[1].zfill(8)}]: {grid_sentence(pair[who]).capitalize()}."
            )
            code = CODES[labels[(turn + number) % 6]]
            told += [
                f"[{span[0]} - {span[1]}]\t{said}\t{code}\t[2.5000, 2.5000, 2.5000]",
                "C-E2:\tNeutral;\t()",
                "",
            ]
            voice = session / "sentences" / "wav" / name / f"{said}.wav"
            voice.parent.mkdir(parents=True, exist_ok=True)
            write_wav(voice, [np.clip(sounds[who], -1, 1)], RATE)
        for folder in ("transcriptions", "EmoEvaluation", "wav"):
            (session / "dialog" / folder).mkdir(parents=True, exist_ok=True)
        (session / "dialog" / "transcriptions" / f"{name}.txt").write_text(
            "\n".join(lines) + "\n", "utf-8"
        )
        (session / "dialog" / "EmoEvaluation" / f"{name}.txt").write_text(
            "\n".join(told) + "\n", "utf-8"
        )
        whole = np.clip(np.concatenate(heard), -1, 1)
        write_wav(session / "dialog" / "wav" / f"{name}.wav", [whole, whole], RATE)
        write_film(
            session / "dialog" / "avi" / "DivX" / f"{name}.avi", pictures, whole, audio="pcm_s16le"
        )


def small_roberta(folder: Path, texts: list[str]) -> Path:
    """A RoBERTa of a few thousand weights, with a tokenizer of these texts."""
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
