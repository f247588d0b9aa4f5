"""Every `$ merc …` of the README runs as written; the errors it shows are those a user gets."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from support.paths import ROOT


def transcripts():
    """(command, the lines shown under it) of every ```console block."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        command, shown = None, []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, shown
                command, shown = line[2:], []
            else:
                shown.append(line)
        if command:
            yield command, shown


@pytest.fixture(scope="module")
def place(tmp_path_factory, shared):
    """A user's folder: the examples, and videos of their own."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "videos").mkdir()
    shutil.copy(shared / "media" / "grid" / "bbaf2n.mpg", folder / "videos")
    shutil.copy(shared / "media" / "grid" / "lwbsza.mpg", folder / "videos")
    shutil.copy(ROOT / "examples" / "dialogue.mp4", folder)
    return folder


@pytest.mark.parametrize(
    "command, shown", [pytest.param(*t, id=t[0]) for t in transcripts() if t[0].startswith("merc ")]
)
def test_command_of_the_readme(command, shown, place):
    merc = [sys.executable, "-c", "from pipeline.cli.app import main; main()"]
    done = subprocess.run(
        [*merc, *shlex.split(command)[1:]], cwd=place, capture_output=True, text=True, timeout=600
    )
    said = [line for line in shown if line.startswith("merc: ")]
    if said:
        assert done.returncode == 2, done.stderr
        wanted = " ".join("\n".join(shown).split())
        assert wanted in " ".join(done.stderr.split())
    else:
        assert done.returncode == 0, done.stderr


def test_readme_shows_the_three_uses():
    commands = " ".join(command for command, _ in transcripts())
    assert all(use in commands for use in ("merc extract", "merc train", "merc label"))
