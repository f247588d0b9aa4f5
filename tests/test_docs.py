"""The documentation: the site builds, its commands exist, its examples run.

Blocks of `$ merc …` and of Python run as written; those of the README's commands run in
tests/chains/test_readme.py. All other commands, in blocks and in running text, are templates
(`merc train --data FILE`): their names, options and kinds of values are checked, not run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import av
import pytest
from markdown_it import MarkdownIt
from support.paths import ROOT
from typer.main import get_command
from typer.testing import CliRunner

import css_model
import merc
from pipeline.cli.app import app

FOLDERS = ("docs", "css_model/weights", "extractors/weights")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PAGES += sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
# programs that are not ours: only the part of the line from "merc" on is checked
FOREIGN = {
    "docker": "needs a daemon and an image",
    "env": "sets a variable for merc",
    "ffmpeg": "not installed with merc, which brings its libraries",
    "ray": "starts servers; tests/chains/test_ray.py has a cluster",
    "srun": "needs a Slurm cluster",
    "torchrun": "tests/pipeline/training runs two processes",
}
# blocks that are no commands, by their beginning
OUTPUT = {
    '{"time": ...,': "a line of --log json",
    "merc.py ": "the tree of folders",
}
# running text that begins with "merc" and is no command
PLACEHOLDERS = {"merc COMMAND --help": "stands for every command"}
COMMAND = get_command(app)
REMOTE = re.compile(
    r"""<(?!a\b)[^>]*\s(?:src|href)=["']?(?:https?:)?//[^>]*>|url\(["']?(?:https?:)?//"""
)


def blocks(kinds):
    """(page, language, text) of every block of code, "" for indented ones."""
    for page in PAGES:
        for token in MarkdownIt().enable("table").parse(page.read_text("utf-8")):
            if token.type in ("fence", "code_block") and token.info in kinds:
                yield page, token.info, token.content


def commands():
    """(page, line) of every command in a block."""
    for page, language, text in blocks(("", "console")):
        if text.startswith(tuple(OUTPUT)):
            continue
        for line in text.replace("\\\n", " ").splitlines():
            if language == "console" and not line.startswith("$ "):
                continue  # output; test_readme compares it
            if line.strip() and not line.startswith("#"):
                yield page, line.removeprefix("$ ")


def inline():
    """(page, text) of every `merc …` in running text and tables."""
    for page in PAGES:
        for token in MarkdownIt().enable("table").parse(page.read_text("utf-8")):
            for child in token.children or ():
                if child.type == "code_inline" and re.match(r"merc( |$)", child.content):
                    yield page, child.content


def check_merc(words, complete=True):
    """Parse the arguments of `merc` as far as they can be without running the command."""
    command, words = COMMAND, list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    try:
        command.make_context("merc", words)
    except Exception as error:
        if type(error).__name__ == "Exit":  # of --help, --version
            return
        if not complete and type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError"):
            return
        raise


def check_options(path, words):
    """The options of a Python program are in its text."""
    text = path.read_text("utf-8")
    assert not [word for word in words if word.startswith("-") and f'"{word}"' not in text]


def check(line):
    words = shlex.split(line, comments=True)
    program = words[0]
    if program in FOREIGN:
        words = words[words.index("merc") :] if "merc" in words else ["merc", "--help"]
        program = "merc"
    if program == "merc":
        check_merc(words[1:])
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        named = re.findall(r"\[(.*)\]", words[2])
        assert words[1] == "install"
        assert {name for part in named for name in part.split(",")} <= set(
            extras["optional-dependencies"]
        )
    elif program == "python" and words[1] == "-m":
        check_options((ROOT / words[2].replace(".", "/")).with_suffix(".py"), words[3:])
    elif program == "python":
        check_options(ROOT / words[1], [word for word in words[2:] if word != "--help"])
    elif program == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text("utf-8")
    else:
        assert program.startswith(".venv/bin/"), line
        assert Path(sys.executable).with_name(Path(program).name).exists()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's folder: recordings of four seconds, results of one of them, and a store."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "videos").mkdir()
    first_seconds(folder / "dialogue.mp4")
    first_seconds(folder / "recording.mkv")
    for name in ("other.mp4", "videos/talk.mp4"):
        shutil.copy(folder / "dialogue.mp4", folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = merc.label("dialogue.mp4")
        result.save("dialogue.merc.json")
        result.save("corrected.eaf")
        for name in ("anna", "ben"):
            (folder / name).mkdir()
            result.save(folder / name / "dialogue.json")
        merc.extract("videos", store="store", profile="offline")
    return folder


def first_seconds(path, seconds=4.2):
    with av.open(ROOT / "examples" / "dialogue.mp4") as source, av.open(path, "w") as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None and packet.pts * packet.time_base < seconds:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)


def wrong_of(found, check):
    """Map (page, command) to what is wrong with it."""
    wrong = {}
    for page, text in found:
        try:
            check(text)
        except Exception as error:
            wrong[page.name, text] = repr(error)
    return wrong


def test_commands_exist():
    found = list(commands())
    assert len(found) > 60 and not wrong_of(found, check)


def test_commands_in_running_text_exist():
    found = [(page, text) for page, text in inline() if text not in PLACEHOLDERS]
    assert len(found) > 50
    assert not wrong_of(found, lambda text: check_merc(shlex.split(text)[1:], complete=False))


@pytest.mark.parametrize(
    "page, text",
    [pytest.param(p, t, id=f"{p.stem}-{k}") for k, (p, _, t) in enumerate(blocks(("python",)))],
)
def test_python_runs(page, text, place, monkeypatch):
    monkeypatch.chdir(place)
    exec(compile(f"import merc\n{text}", page.name, "exec"), {})


def console():
    for page, _, text in blocks(("console",)):
        if page.name != "README.md":
            yield from ((page, line[2:]) for line in text.splitlines() if line.startswith("$ "))


@pytest.mark.parametrize(
    "page, line", [pytest.param(*found, id=f"{found[0].stem}: {found[1]}") for found in console()]
)
def test_command_runs(page, line, place, monkeypatch):
    monkeypatch.chdir(place)
    words = shlex.split(line, comments=True)
    done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_the_exceptions_are_needed():
    lines = [line for _, line in commands()]
    texts = [text for _, text in inline()]
    outputs = [text for _, _, text in blocks(("",))]
    assert all(any(line.startswith(name) for line in lines) for name in FOREIGN)
    assert all(any(text.startswith(start) for text in outputs) for start in OUTPUT)
    assert set(PLACEHOLDERS) <= set(texts)


def test_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    files = [path for kind in ("html", "css", "svg") for path in tmp_path.rglob(f"*.{kind}")]
    found = {path.name: REMOTE.findall(path.read_text("utf-8")) for path in files}
    assert len(files) > 30 and not {name: links for name, links in found.items() if links}
    api = "".join(
        (tmp_path / "docs" / name).read_text("utf-8") for name in ("api.html", "api-model.html")
    )
    names = [*merc.__all__, *css_model.__all__]
    assert not [
        name for name in names if name[0] != "_" and not re.search(rf'id="[\w.]*\b{name}"', api)
    ]
