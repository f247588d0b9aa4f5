"""Finding the recordings below paths."""

from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.files import check_folder
from pipeline.media.inputs import Input, check_transcript, find_media


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_walks_folders_once_and_in_order(tmp_path):
    for name in [
        "b/x.mp4",
        "a/x.MOV",
        "a/-dash é.wav",
        "a/.hidden.mp4",
        ".git/x.mp4",
        "a/x.merc.wav",
        "a/notes.txt",
    ]:
        touch(tmp_path / name)
    inputs, failures = find_media([tmp_path, tmp_path / "b" / "x.mp4"])
    assert not failures
    assert [(str(i.path.relative_to(tmp_path)), i.folder) for i in inputs] == [
        ("a/-dash é.wav", "a"),
        ("a/x.MOV", "a"),
        ("b/x.mp4", "b"),
    ]
    # a file that is named itself may have any extension
    inputs, _ = find_media([tmp_path / "a" / "notes.txt"])
    assert len(inputs) == 1


def test_missing_paths(tmp_path):
    clip = touch(tmp_path / "x.mp4")
    inputs, failures = find_media([tmp_path / "nowhere.mp4", clip, tmp_path / ("n" * 300)])
    assert [i.path for i in inputs] == [clip] and len(failures) == 2
    assert failures[0].reason == "no such file" and "check the name" in failures[0].remedy
    with pytest.raises(UsageError, match="no network addresses"):
        find_media([Path("https://example.org/x.mp4")])
    for path in (tmp_path / "nowhere.mp4", touch(tmp_path / "empty" / "notes.txt").parent):
        with pytest.raises(UsageError, match=path.name) as error:
            find_media([path])
        assert error.value.remedy.startswith("check the")


def test_a_transcript_belongs_to_one_recording(tmp_path):
    transcript = touch(tmp_path / "x.srt")
    one, two = [Input(tmp_path / "x.mp4")], [Input(tmp_path / name) for name in ("x.mp4", "y.mp4")]
    check_transcript(transcript, one)
    check_transcript(None, two)
    with pytest.raises(UsageError, match="2 recordings"):
        check_transcript(transcript, two)
    with pytest.raises(UsageError, match="no such file"):
        check_transcript(tmp_path / "y.srt", one)


def test_output_folder(tmp_path):
    check_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="is a file"):
        check_folder(touch(tmp_path / "file") / "below" / "it")


def test_time_is_linear_in_the_number_of_files(tmp_path):
    import time

    seconds = []
    for count in (2000, 8000):
        folder = tmp_path / str(count)
        for k in range(count):
            touch(folder / f"{k}.mp4")
        start = time.process_time()
        inputs, _ = find_media([folder])
        seconds.append(time.process_time() - start)
        assert len(inputs) == count
    assert seconds[1] < 4 * 3 * seconds[0] + 0.2
