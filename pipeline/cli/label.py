"""What `merc label` prints, writes and returns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.cli.outputs import output_bases
from pipeline.cli.progress import RunProgress
from pipeline.cli.tables import utterances
from pipeline.core.failures import run_each, write_failures
from pipeline.core.files import check_folder
from pipeline.exports import parse_formats, write_result
from pipeline.labelling import Labeller, LabelOptions
from pipeline.media.inputs import Input, check_transcript, find_media

__all__ = ["run"]


def run(
    media: list[Path],
    options: LabelOptions,
    *,
    transcript: Path | None,
    formats: str,
    out: Path | None,
    jobs: int,
    overwrite: bool,
    as_json: bool,
) -> int:
    """The exit code; unusable arguments are 2 and leave nothing behind."""
    try:
        names = parse_formats(formats)
        inputs, failures = find_media(media)
        check_transcript(transcript, inputs)
        if out:
            check_folder(out)
        tasks = [
            _Task(item, base) for item, base in zip(inputs, output_bases(inputs, out), strict=True)
        ]
        work = _Work(options, transcript, tuple(names), overwrite)
        if tasks:
            work.prepare()
    except (ValueError, OSError) as error:
        print(f"merc: {error}", file=sys.stderr)
        return 2
    with RunProgress() as progress:
        progress.start(len(tasks))
        for failure in failures:
            progress.report(failure)
        results, failed = run_each(tasks, work, jobs=jobs, progress=progress)
    failures += failed
    labelled = [result for result in results if result is not None]
    if as_json:
        print(
            json.dumps(
                {
                    "results": [asdict(result) for result in labelled],
                    "failures": [asdict(failure) for failure in failures],
                },
                ensure_ascii=False,
            )
        )
    else:
        console = Console()
        for result in labelled:
            utterances(result.content, console)
            for path in result.files:
                console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    code = 1 if failures else 0
    try:
        if listed := write_failures(failures, out or Path.cwd()):
            print(
                f"merc: {len(failures)} of {len(labelled) + len(failures)} inputs failed, see {listed}",
                file=sys.stderr,
            )
    except OSError as error:
        print(f"merc: {error}", file=sys.stderr)
        code = 1
    return code


@dataclass(frozen=True)
class _Task:
    item: Input
    base: Path

    def __str__(self) -> str:
        return str(self.item)


@dataclass(frozen=True)
class _Labelled:
    content: dict[str, Any]
    files: list[str]


@dataclass(frozen=True)
class _Work:
    """Label one medium and write its files; the models are opened once per process."""

    options: LabelOptions
    transcript: Path | None
    formats: tuple[str, ...]
    overwrite: bool

    def __getstate__(self) -> dict[str, Any]:
        return {
            item.name: getattr(self, item.name) for item in fields(self)
        }  # models stay in their process

    @cached_property
    def labeller(self) -> Labeller:
        return Labeller(self.options)

    def prepare(self) -> None:
        """Raise here, once, what would go wrong with every medium."""
        assert self.labeller

    def __call__(self, task: _Task, tell: Callable[..., None]) -> _Labelled:
        result = self.labeller.label(task.item.path, self.transcript, tell)
        tell("write")
        written = write_result(
            result.content, task.item.path, task.base, self.formats, self.overwrite
        )
        return _Labelled(result.content, [str(path) for path in written])
