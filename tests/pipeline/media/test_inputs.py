"""Finding media below paths."""

from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.core.files import check_folder
from pipeline.media.inputs import find_media


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
    found, failures = find_media([tmp_path, tmp_path / "b" / "x.mp4"])
    assert not failures
    assert [(str(i.path.relative_to(tmp_path)), i.folder) for i in found] == [
        ("a/-dash é.wav", "a"),
        ("a/x.MOV", "a"),
        ("b/x.mp4", "b"),
    ]
    found, _ = find_media([tmp_path / "a" / "notes.txt"])  # named outright: its bytes decide later
    assert len(found) == 1


def test_missing_paths(tmp_path):
    clip = touch(tmp_path / "x.mp4")
    found, failures = find_media([tmp_path / "nowhere.mp4", clip, tmp_path / ("n" * 300)])
    assert [i.path for i in found] == [clip] and len(failures) == 2
    with pytest.raises(UsageError, match="no network names"):
        find_media([Path("https://example.org/x.mp4")])
    for alone in (tmp_path / "nowhere.mp4", touch(tmp_path / "empty" / "notes.txt").parent):
        with pytest.raises(UsageError, match=alone.name):
            find_media([alone])


def test_output_folder(tmp_path):
    check_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="is a file"):
        check_folder(touch(tmp_path / "file") / "below" / "it")
