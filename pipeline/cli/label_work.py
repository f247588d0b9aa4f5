"""Label one recording and write its files: what the workers of `merc label` do.

Apart from `label`, so that a worker does not import the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cli.outputs import uploaded
from pipeline.core.remote import RemoteFolder, url_of
from pipeline.media.inputs import Input

if TYPE_CHECKING:
    from pipeline.labelling import Labeller

__all__ = ["Labelled", "LabelTask", "LabelWork"]


@dataclass(frozen=True)
class LabelTask:
    """A recording, and the path of its files without their extensions."""

    item: Input
    base: Path

    def __str__(self) -> str:
        return str(self.item)


@dataclass(frozen=True)
class Labelled:
    """What the JSON file of a recording holds, and the paths of the files that were written."""

    content: dict[str, Any]
    files: list[str]


@dataclass(frozen=True)
class LabelWork:
    """Label one recording and write its files; the models are loaded once per process.

    options: arguments of `Labeller`. index: folder of the page of all recordings, if there is one.
    out: URL of the folder of all results, if they do not stay on this machine.
    """

    options: dict[str, Any]
    transcript: Path | None
    formats: tuple[str, ...]
    overwrite: bool
    report: bool = False
    embed: bool = False
    index: Path | None = None
    overlay: bool = False
    out: str = ""

    def __getstate__(self) -> dict[str, Any]:
        # without the loaded models: each process loads its own
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def labeller(self) -> Labeller:
        from pipeline.labelling import Labeller

        return Labeller(**self.options)

    def check(self) -> None:
        """Load the models: raise once what would go wrong with every recording."""
        assert self._writable and self.labeller

    @cached_property
    def _writable(self) -> bool:
        """Asked once per process."""
        if self.out:
            RemoteFolder(self.out).check_writable()
        return True

    def __call__(self, task: LabelTask, stage: Callable[..., None]) -> Labelled:
        if task.item.url:
            stage("download")
        with task.item.local() as recording:
            stage("open")
            content = self.labeller.label(recording, self.transcript, stage).content
            return Labelled(content, self._write(content, recording, task, stage))

    def _write(
        self, content: dict[str, Any], recording: Path, task: LabelTask, stage: Callable[..., None]
    ) -> list[str]:
        """Write the files of a recording; return their paths or URLs."""
        from pipeline.exports import output_path, write_result

        if self.overlay:
            from pipeline.reporting import overlay_warnings

            content["warnings"] += overlay_warnings(content)
        stage("write")
        paths = [output_path(task.base, name) for name in self.formats]
        link = None if task.item.url or self.out else recording
        with uploaded(task.base, [path.name for path in paths]) as base:
            write_result(content, link, base, self.formats, self.overwrite)
        files = [url_of(path) or str(path) for path in paths]
        if self.report:
            from pipeline.core.files import relative_path
            from pipeline.reporting import INDEX, write_page

            stage("page")
            folder = task.base.parent
            page = write_page(
                content,
                recording,
                task.base,
                embed=self.embed,
                index=relative_path(self.index / INDEX, folder) if self.index else "",
                overwrite=self.overwrite,
            )
            files.append(str(page))
        if self.overlay and content["picture"]:
            from pipeline.reporting import write_overlay

            stage("overlay")
            video = write_overlay(
                content, recording, task.base, overwrite=self.overwrite, stage=stage
            )
            files.append(str(video))
        return files
