"""`merc label`: print and write the labels of recordings."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import (
    INPUT,
    MODEL,
    OUTPUT,
    Device,
    Formats,
    Jobs,
    Json,
    Language,
    Log,
    Overwrite,
    Prior,
    Speakers,
    TextModel,
    Transcript,
    Whisper,
    example,
    fail,
    finish,
    workers,
)
from pipeline.cli.terminal import print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.cli.label_work import Labelled
    from pipeline.media.inputs import Input

__all__ = ["EPILOGS", "label"]

EPILOGS = {
    "label": example(
        "merc label dialogue.mp4",
        "merc label dialogue.mp4 --speakers 2 --format json,csv,srt",
        "merc label videos/ --out results --jobs 2",
        "merc label s3://bucket/videos --out s3://bucket/results",
        "merc label dialogue.mp4 --report --overlay",
        "ffmpeg -i rtsp://camera -c copy -f matroska - | merc label --follow -",
    )
}


def label(
    recordings: Annotated[
        list[Path],
        typer.Argument(
            help="Video or sound files; folders are searched. Also URLs: s3://, file://.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Label a file that still grows, or - for standard input: print each utterance "
            "as a line of JSON when it has ended.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    transcript: Transcript = None,
    speakers: Speakers = None,
    model: Annotated[
        str,
        typer.Option(
            help="A run folder, a model file, or the model that ships with merc.",
            rich_help_panel=MODEL,
        ),
    ] = "merc-offline",
    format: Formats = "json",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results, or its URL. Default: next to each recording.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Also write a page to watch, check and correct the labels: NAME.merc.html.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    embed: Annotated[
        bool,
        typer.Option(
            "--embed", help="Put the recording into the page of --report.", rich_help_panel=OUTPUT
        ),
    ] = False,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay",
            help="Also write the video with face boxes, names, words and emotions on it: "
            "NAME.merc.mp4.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    prior: Prior = "auto",
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Utterances below this confidence are marked as uncertain.",
            rich_help_panel=MODEL,
        ),
    ] = 0.0,
    language: Language = None,
    whisper: Whisper = "tiny.en",
    text_model: TextModel = None,
    device: Device = "cpu",
    jobs: Jobs = None,
    overwrite: Overwrite = False,
    log: Log = "text",
    json: Json = False,
) -> None:
    """Say who speaks, what is said and which emotion it carries, for every utterance."""
    from pipeline.cli.label_work import LabelTask, LabelWork
    from pipeline.cli.log import log_progress, log_summary
    from pipeline.cli.outputs import failures_folder, output_bases
    from pipeline.core.errors import UsageError
    from pipeline.core.failures import failure_of, run_each
    from pipeline.core.files import check_folder
    from pipeline.core.remote import output_url
    from pipeline.core.temporary import remove_stale
    from pipeline.exports import parse_formats
    from pipeline.media.inputs import check_transcript, find_media

    options = {
        "model": model,
        "whisper": whisper,
        "language": language,
        "speakers": speakers,
        "prior": prior,
        "min_confidence": min_confidence,
        "device": device,
        "text_model": text_model,
    }
    if follow:
        from pipeline.cli.follow import follow as follow_one

        whole = {
            "--transcript": transcript is not None,
            "--format": format != "json",
            "--out": out is not None,
            "--report": report,
            "--embed": embed,
            "--overlay": overlay,
            "--jobs": (jobs or 1) > 1,
            "--log": log != "text",
        }
        follow_one(recordings, options, whole)
        return
    try:
        formats = parse_formats(format)
        inputs, failures = find_media(recordings, remote=True)
        check_transcript(transcript, inputs)
        out_url = output_url(out) if out else ""
        _check_urls(inputs, out, out_url, report, embed, overlay)
        if out and not out_url:
            check_folder(out)
        bases = output_bases(inputs, out)
        tasks = [LabelTask(item, base) for item, base in zip(inputs, bases, strict=True)]
        if embed and not report:
            raise UsageError("--embed: there is no page to put the recording into", "add --report")
        index = _index_folder(bases) if report and len(bases) > 1 else None
        remove_stale({base.parent for base in bases})
        work = LabelWork(
            options, transcript, tuple(formats), overwrite, report, embed, index, overlay, out_url
        )
        costs: dict[str, float] = {}
        with log_progress(log) as progress:
            progress.start(len(tasks))
            for failure in failures:
                progress.report(failure)
            results, failed = run_each(
                tasks,
                work,
                progress=progress,
                size=lambda task: task.item.size,
                costs=costs,
                **workers(jobs),
            )
            failures += failed
            counts = {"files": len(tasks) - len(failed), "failures": len(failures)}
            log_summary(progress, costs, **counts)
    except (ValueError, OSError) as error:
        fail(error)
    labelled = [result for result in results if result is not None]
    index_file = None
    if index and labelled:
        try:
            index_file = _write_index(index, labelled, overwrite)
        except (ValueError, OSError) as error:
            failures.append(failure_of(str(index), "index", error))
    if json:
        print_json(
            {
                "results": [asdict(result) for result in labelled],
                "failures": [asdict(failure) for failure in failures],
            }
        )
    else:
        _show(labelled, index_file)
    given = [*recordings, *([index] if index else [])]
    total = len(labelled) + len(failures)
    raise typer.Exit(finish(failures, total, failures_folder(out), given))


def _check_urls(
    inputs: Sequence[Input],
    out: Path | None,
    out_url: str,
    report: bool,
    embed: bool,
    overlay: bool,
) -> None:
    """Raise UsageError for results that cannot be where they would have to be."""
    from pipeline.core.errors import UsageError

    url = next((item.url for item in inputs if item.url), "")
    if url and not out:
        raise UsageError(
            f"{url}: results are not written next to a recording at a URL",
            "name a folder or a URL for them with --out",
        )
    if url and report and not embed:
        raise UsageError(
            f"--report: the page cannot show a recording at a URL: {url}",
            "put the recording into the page with --embed",
        )
    if out_url and (report or overlay):
        raise UsageError(
            f"--out {out_url}: --report and --overlay write to local folders only",
            "name a folder with --out, or leave them out",
        )


def _index_folder(bases: list[Path]) -> Path | None:
    """Return the folder that holds all results, if they lie on one drive."""
    try:
        return Path(os.path.commonpath([base.absolute().parent for base in bases]))
    except ValueError:
        return None


def _write_index(folder: Path, results: list[Labelled], overwrite: bool) -> Path:
    from pipeline.reporting import write_index

    pages = []
    for result in results:
        page = next(Path(file) for file in result.files if file.endswith(".merc.html"))
        pages.append((page, result.content))
    return write_index(folder, pages, overwrite)


def _show(results: list[Labelled], index: Path | None = None) -> None:
    from pipeline.cli.tables import show_utterances
    from pipeline.cli.terminal import console as make_console

    console = make_console()
    for result in results:
        show_utterances(result.content, console)
        for path in result.files:
            console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    if index:
        console.print(f"wrote {index}", markup=False, highlight=False, soft_wrap=True)
