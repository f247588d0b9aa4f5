"""Text from files never reaches the terminal with control characters; printing never fails."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli import terminal

HOSTILE = "\x1b[2J\x1b]0;x\x07 \x9b31m \u202eabc\u202c \u2066x\u2069 \x7f \r\b \udcff [red]x[/]"
# what merc itself may send: styles, cursor movements of progress bars
ALLOWED = re.compile(r"\x1b\[[0-9;?]*[mKAhlJ]")
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def run_in_terminal(code: str, environment: dict[str, str] | None = None) -> str:
    """Run Python code with a pseudo-terminal as its standard output and error."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=child,
        stderr=child,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"} | (environment or {}),
    )
    os.close(child)
    chunks = []
    try:
        while chunk := os.read(parent, 65536):
            chunks.append(chunk)
    except OSError:  # Linux: the other side is closed
        pass
    os.close(parent)
    assert process.wait() == 0, b"".join(chunks)
    return b"".join(chunks).decode("utf-8").replace("\r\n", "\n")


@given(text=st.text(max_size=60))
def test_clean_text_has_no_control_characters(text: str) -> None:
    cleaned = terminal.clean(text)
    assert not CONTROL.search(cleaned)
    cleaned.encode("utf-8")
    assert terminal.clean(cleaned) == cleaned


@given(text=st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp", "Cn"))))
def test_ordinary_text_is_unchanged(text: str) -> None:
    assert terminal.clean(text) == text


@given(value=st.text(max_size=40))
def test_json_means_the_same_and_has_no_control_characters(value: str) -> None:
    stream, before = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict"), sys.stdout
    sys.stdout = stream
    try:
        terminal.print_json({value: [value]})
    finally:
        sys.stdout = before
    printed = stream.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
    assert not CONTROL.search(printed)
    assert json.loads(printed) == {value: [value]}


PRINTERS = """
import sys
from pipeline.cli import terminal
from pipeline.cli.progress import RunProgress, training_progress
from pipeline.cli.tables import show_figures, show_utterances
from pipeline.core.failures import Failure
bad = {bad!r}
terminal.print_line(bad)
terminal.print_line(bad, error=True)
terminal.print_json({{bad: bad}})
show_figures({{bad: {{bad: 1.0}}, "x": bad}})
row = dict(start=0.0, end=1.0, speaker=bad, text=bad, emotion=bad, confidence=.5,
           modalities={{"text": {{"present": True}}}})
content = dict(media=bad, model=bad, profile=bad, utterances=[row], warnings=[bad])
show_utterances(content, terminal.console())
with RunProgress() as progress:
    progress.start(1)
    progress.update(0, bad, bad, .5)
    progress.bars.refresh()
    progress.finish(0, bad, Failure(bad, bad, bad, bad))
with training_progress() as report:
    figures = {{f"{{n}}{{k}}": 1.0 for n in ("loss", "gamma") for k in (1, 2, 3)}}
    report(figures | dict(row=bad, seed=0, epoch=1, epochs=2, select_weighted_f1=.5))
try:
    raise ValueError(bad)
except ValueError as error:
    terminal.show_traceback(type(error), error, error.__traceback__)
"""


def test_no_way_of_printing_sends_control_characters_to_a_terminal() -> None:
    shown = run_in_terminal(PRINTERS.format(bad=HOSTILE))
    rest = ALLOWED.sub("", shown).replace("\r", "")
    assert not CONTROL.search(rest), CONTROL.findall(rest)
    assert rest.count("\\x1b[2J") >= 15
    assert "[red]x[/]" in rest


def test_a_terminal_without_utf8_shows_escapes() -> None:
    shown = run_in_terminal(
        PRINTERS.format(bad="caf\u00e9 \u4f60"), {"PYTHONIOENCODING": "ascii:strict"}
    )
    assert "caf\\xe9 \\u4f60" in shown


@pytest.mark.parametrize("arguments", [["{bad}"], ["doctor", "{bad}"], ["label", "{bad}"]])
def test_arguments_in_messages_are_clean(arguments: list[str]) -> None:
    bad = "x\x1b[31m\u202e"
    code = "from pipeline.cli.app import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, *(a.format(bad=bad) for a in arguments)],
        capture_output=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert run.returncode == 2
    text = (run.stdout + run.stderr).decode("utf-8")
    assert not CONTROL.search(text)
    assert "Traceback" not in text


def test_a_name_that_is_not_utf8_is_printed_on_strict_output(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/t\xff\x1b[31m.wav"
    Path(os.fsdecode(name)).write_bytes(b"not sound")
    code = "from pipeline.cli.app import main; main()"
    for options in ([], ["--json"]):
        run = subprocess.run(
            [sys.executable, "-c", code, "label", name, *options],
            capture_output=True,
            cwd=tmp_path,
            env=os.environ
            | {"PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(Path(__file__).parents[3])},
            check=False,
        )
        text = (run.stdout + run.stderr).decode("utf-8")
        assert run.returncode == 1, text
        assert "Traceback" not in text
        assert not CONTROL.search(text)


def test_nothing_else_prints() -> None:
    folder = Path(terminal.__file__).parent
    for path in folder.glob("*.py"):
        if path.name != "terminal.py":
            text = path.read_text("utf-8")
            assert not re.search(
                r"(?<![\w.])(?<!def )print\(|Console\(|sys\.stdout|sys\.stderr", text
            ), path
