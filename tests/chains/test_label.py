"""`merc label` on real clips, from the recording to the result files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.asserts import assert_distribution
from support.clips import join, tone, write_wav
from support.imports import run_alone
from support.paths import ROOT
from support.s3 import s3_server
from typer.testing import CliRunner

import merc
from pipeline.cli.app import app
from pipeline.cli.label_work import LabelWork
from pipeline.core.remote import RemoteFolder
from pipeline.labelling import Labeller

EXAMPLE = ROOT / "examples" / "dialogue.mp4"
TRUTH = ["job", "wonderful", "Thank you", "scaring", "Berlin", "never told", "sorry", "miss you"]


@pytest.fixture(scope="module")
def labeller():
    return Labeller()


@pytest.fixture(scope="module")
def example(labeller):
    return labeller.label(EXAMPLE)


def run_label(*arguments):
    return CliRunner().invoke(app, ["label", *map(str, arguments)])


def test_labelling_imports_no_torch():
    lines, modules = run_alone(
        "from pipeline.labelling import Labeller\n"
        f"print(len(Labeller().label({str(EXAMPLE)!r}).utterances))"
    )
    assert lines == [str(len(TRUTH))]
    assert not {"torch", "scipy", "transformers", "onnx"} & modules


def test_the_models_are_loaded_without_scipy():
    """To import it would take half a second of each start."""
    assert "scipy" not in run_alone("import merc; merc.Labeller()")[1]


def test_example_dialogue(example):
    """Words, turns, alternating speakers, all modalities, and the two clearest emotions."""
    assert len(example.utterances) == len(TRUTH)
    for utterance, words in zip(example.utterances, TRUTH, strict=True):
        assert words.lower() in utterance["text"].lower()
        assert all(about["present"] for about in utterance["modalities"].values())
    assert [u["speaker"] for u in example.utterances] == ["S1", "S2"] * 4
    assert example.utterances[0]["emotion"] == "joy"
    assert example.utterances[6]["emotion"] == "sadness"
    for utterance in example.utterances:
        words = utterance["words"]
        assert " ".join(word["text"] for word in words) == utterance["text"]
        times = [utterance["start"], *(w[k] for w in words for k in ("start", "end"))]
        assert times == sorted(times) and times[-1] <= utterance["end"] + 0.001
    starts = [u["start"] for u in example.utterances]
    assert starts == sorted(starts) and all(u["start"] < u["end"] for u in example.utterances)


def test_result_keeps_the_contract(example):
    content = json.loads(json.dumps(example.to_dict()))  # JSON-able throughout
    assert {"media", "model", "profile", "labels", "utterances", "warnings", "fingerprints"} <= set(
        content
    )
    assert content["media"] == "dialogue.mp4" and content["profile"] == "offline"
    assert str(EXAMPLE.parent) not in json.dumps(content)
    for utterance in content["utterances"]:
        p = np.array([utterance["probabilities"][name] for name in content["labels"]])
        assert_distribution(p)
        assert (
            utterance["emotion"] == content["labels"][p.argmax()]
            and utterance["confidence"] == p.max()
        )
        assert utterance["text"].strip()
    frame = example.to_dataframe()
    assert len(frame) == len(content["utterances"]) and {"p_joy", "has_visual"} <= set(
        frame.columns
    )
    assert (frame.face_confidence > 0).all() and frame.words[0] == content["utterances"][0]["words"]
    assert frame.boxes.map(len).min() > 1


def test_the_same_file_gives_the_same_result(media, labeller):
    clip = media / "grid" / "lwbsza.mpg"
    assert labeller.label(clip).to_dict() == Labeller().label(clip).to_dict()


def test_prior_is_separable(media):
    clip = media / "grid" / "lwbsza.mpg"
    trained = Labeller(prior="train")
    uniform = Labeller(prior="uniform")
    p, q = (
        np.array(list(each.label(clip).utterances[0]["probabilities"].values()))
        for each in (trained, uniform)
    )
    gained = np.log(q) - np.log(p)
    assert np.allclose(
        gained - gained.mean(),
        -(trained.predictor.checkpoint.log_prior - np.mean(trained.predictor.checkpoint.log_prior)),
        atol=1e-4,
    )


def test_evidence_counts(media, labeller):
    """Exchanging the face or the voice of an utterance moves its probabilities."""
    from dataclasses import replace

    from pipeline.core.dialogue import Dialogue
    from pipeline.features.compute import compute_features
    from pipeline.media.decode import open_media
    from pipeline.segmentation.segment import segment

    features = []
    for name in ("lwbsza", "id2_vcd_swwp2s"):
        with open_media(media / "grid" / f"{name}.mpg") as opened:
            features.append(
                compute_features(
                    opened, segment(opened, recogniser=labeller.recogniser), labeller.extractors
                )
            )
    mine, other = features
    own = Dialogue(
        "x",
        "test",
        ["0"],
        ["S1"],
        ["x"],
        np.array([-1]),
        {m: v[:1] for m, v in mine.vectors.items()},
    )
    before = labeller.predictor.probabilities(own)
    for modality in ("audio", "visual"):
        swapped = replace(own, features=own.features | {modality: other.vectors[modality][:1]})
        assert np.abs(labeller.predictor.probabilities(swapped) - before).max() > 1e-3, modality


@pytest.mark.parametrize("name", ["face_no_audio_stream.mp4", "face_silent_audio.mp4"])
def test_without_speech_there_are_no_utterances(media, labeller, name):
    result = labeller.label(media / "edge" / name)
    assert result.utterances == [] and any("speech" in warning for warning in result.warnings)


def test_sound_alone_is_labelled_without_a_face(media, labeller):
    result = labeller.label(media / "jfk.flac")
    assert "country" in " ".join(u["text"] for u in result.utterances)
    assert {u["speaker"] for u in result.utterances} == {"S1"}
    assert not any(u["modalities"]["visual"]["present"] for u in result.utterances)
    assert all(u["modalities"]["visual"]["reason"] for u in result.utterances)


def test_transcript_wins(media, tmp_path):
    clip = tmp_path / "a b ü.mpg"
    shutil.copy(media / "grid" / "bbaf2n.mpg", clip)
    (tmp_path / "a b ü.srt").write_text(
        "1\n00:00:00,500 --> 00:00:02,500\nAnna: What a wonderful day!\n"
    )
    done = run_label(clip, "--format", "json,csv,srt", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "a b ü.merc.json").read_text(encoding="utf-8"))
    (utterance,) = result["utterances"]
    assert (utterance["speaker"], utterance["text"]) == ("Anna", "What a wonderful day!")
    assert (utterance["start"], utterance["end"]) == (0.5, 2.5)
    with (tmp_path / "out" / "a b ü.merc.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


def test_words_in_another_language_come_with_a_warning(media, tmp_path):
    clip = shutil.copy(media / "grid" / "bbaf2n.mpg", tmp_path)
    (tmp_path / "bbaf2n.srt").write_text("1\n00:00:00,500 --> 00:00:02,500\nWas machst du da?\n")
    for language, expected in (("de", 1), ("en-GB", 0)):
        labeller, told = Labeller(language=language), []
        rows = list(labeller.follow(clip, idle=0, warn=told.append))
        assert rows
        for warnings in (labeller.label(clip).warnings, map(str, told)):
            assert sum("learned what words say from English" in w for w in warnings) == expected
    two = tmp_path / "two.wav"
    join(two, [media / "grid" / "bbaf2n.mpg"] * 2)
    told = []
    rows = list(Labeller(language="de").follow(two, idle=0, warn=told.append))
    assert len(rows) > 1
    for text in ("learned what words say from English", "knows English only"):
        assert sum(text in warning.text for warning in told) == 1, told


@pytest.mark.parametrize("name", ["cat.mkv", "inverted.flac"])
def test_a_live_recording_has_the_utterances_of_the_complete_one(name, shared, labeller):
    path, told = shared / "cases" / "media" / name, []
    rows = list(labeller.follow(path, idle=0, warn=told.append))
    complete = labeller.label(path)
    assert [row["start"] for row in rows] == pytest.approx(
        [u["start"] for u in complete.utterances], abs=0.3
    )
    assert [row["modalities"]["visual"]["present"] for row in rows] == [name == "cat.mkv"] * 2
    about = "clock restarts or jumps" if name == "cat.mkv" else "channel 2 inverted"
    for warnings in (complete.warnings, map(str, told)):
        assert sum(about in warning for warning in warnings) == 1


def test_a_live_recording_without_speech_says_so(labeller, tmp_path):
    path, told = write_wav(tmp_path / "x.wav", [tone(3, 16_000)], 16_000), []
    assert not list(labeller.follow(path, idle=0, warn=told.append))
    assert [str(warning) for warning in told] == ["x.wav: no speech found in 3.0 s"]


def test_recordings_and_results_at_urls(media, labeller, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(LabelWork, "labeller", labeller)  # loaded once, to save time
    Path("videos/deep").mkdir(parents=True)
    shutil.copy(media / "grid" / "bbaf2n.mpg", "videos/deep/a b.mpg")
    Path("videos/deep/a b.csv").write_text("start,end,speaker,text\n0.5,2.5,Ann,bin blue at f\n")
    done = run_label("videos", "--out", "local", "--format", "json,eaf", "--log", "json")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.exit_code == 0 and {event["event"] for event in events[1:-2]} == {"stage"}
    assert [events[k]["event"] for k in (0, -2, -1)] == ["start", "finished", "summary"]
    assert events[-1]["files"] == 1 and {"utterances", "write"} <= events[-1]["costs"].keys()
    with s3_server():
        bucket = RemoteFolder("s3://bucket")
        for name in ("a b.mpg", "a b.csv"):
            bucket.write(f"videos/deep/{name}", Path("videos/deep", name).read_bytes())
        command = ["s3://bucket/videos", "--out", "s3://bucket/out", "--format", "json,eaf"]
        done = run_label(*command)
        assert done.exit_code == 0 and "wrote s3://bucket/out/a b.merc.json" in done.output
        written = bucket.list("out")
        assert set(written) == {"out/a b.merc.json", "out/a b.merc.eaf"}
        local = Path("local/a b.merc.json").read_bytes()
        assert bucket.read("out/a b.merc.json") == local
        assert b'MEDIA_URL="./a b.mpg"' in bucket.read("out/a b.merc.eaf")
        bucket.write("out/a b.merc.eaf", b"edited")
        bucket.write("videos/text.mp4", b"no video")
        done = run_label(*command)
        assert "failed: s3://bucket/videos/text.mp4: not an audio or video file" in done.output
        assert "(stage: open)" in done.output
        assert done.exit_code == 1 and "s3://bucket/out/a b.merc.eaf: exists" in done.output
        assert bucket.read("out/a b.merc.eaf") == b"edited"
        for arguments, message in (
            (command[:1], "name a folder or a URL for them with --out"),
            ([*command[:1], "--out", "there", "--report"], "--embed"),
            ([*command, "--overlay"], "local folders only"),
            ([*command[:1], "--out", "s3://none/out"], "create the bucket"),
            (["s3://bucket/none"], "no recordings"),
        ):
            done = run_label(*arguments)
            assert done.exit_code == 2 and message in done.output, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failures.csv", "local", "videos"]


def test_bad_inputs_do_not_stop_the_good_one(media, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(media / "grid" / "bbaf2n.mpg", "good.mpg")
    Path("empty.mp4").write_bytes(b"")
    Path("text.mp4").write_text("#EXTM3U\nhttp://localhost/x.ts\n")
    Path("cut.mpg").write_bytes((media / "grid" / "bbaf2n.mpg").read_bytes()[:2000])
    done = run_label("good.mpg", "empty.mp4", "text.mp4", "missing.mp4", "cut.mpg", "--out", "out")
    assert done.exit_code == 1
    assert Path("out/good.merc.json").exists()
    with open("out/failures.csv", encoding="utf-8-sig", newline="") as file:
        rows = {row["input"]: row for row in csv.DictReader(file)}
    assert {"empty.mp4", "text.mp4", "missing.mp4"} <= set(rows)
    assert all(row["reason"] and row["remedy"] for row in rows.values())
    assert sorted(path.name for path in Path("out").iterdir() if "cut" not in path.name) == [
        "failures.csv",
        "good.merc.json",
    ]


def test_unusable_arguments_are_two_and_leave_nothing(media, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = media / "grid" / "bbaf2n.mpg"
    Path("file").write_text("x")
    for arguments in (
        ["missing.mp4"],
        [clip, "--format", "docx"],
        [clip, "--out", "file/below"],
        [clip, "--model", "nowhere"],
        [clip, "--transcript", "no.srt"],
        [clip, "--prior", "strange"],
        [clip, "--device", "abacus"],
    ):
        done = run_label(*arguments)
        assert done.exit_code == 2, (arguments, done.output)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_python_interface(media):
    result = merc.label(media / "grid" / "lwbsza.mpg")
    assert result.to_dataframe().loc[0, "emotion"] == result.utterances[0]["emotion"]
    with pytest.raises(ValueError, match="no_such"):
        merc.label(media / "no_such.mp4")
