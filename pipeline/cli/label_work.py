"""Label one recording and write its files: what the workers of `merc label` do.

Apart from `label`, so that a worker does not import the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    """

    options: dict[str, Any]
    transcript: Path | None
    formats: tuple[str, ...]
    overwrite: bool
    report: bool = False
    embed: bool = False
    index: Path | None = None
    overlay: bool = False

    def __getstate__(self) -> dict[str, Any]:
        # without the loaded models: each process loads its own
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @cached_property
    def labeller(self) -> Labeller:
        from pipeline.labelling import Labeller

        return Labeller(**self.options)

    def check(self) -> None:
        """Load the models: raise once what would go wrong with every recording."""
        assert self.labeller

    def __call__(self, task: LabelTask, stage: Callable[..., None]) -> Labelled:
        from pipeline.exports import write_result

        content = self.labeller.label(task.item.path, self.transcript, stage).content
        if self.overlay:
            from pipeline.reporting import overlay_warnings

            content["warnings"] += overlay_warnings(content)
        stage("write")
        files = write_result(content, task.item.path, task.base, self.formats, self.overwrite)
        if self.report:
            from pipeline.core.files import relative_path
            from pipeline.reporting import INDEX, write_page

            stage("page")
            folder = task.base.parent
            page = write_page(
                content,
                task.item.path,
                task.base,
                embed=self.embed,
                index=relative_path(self.index / INDEX, folder) if self.index else "",
                overwrite=self.overwrite,
            )
            files.append(page)
        if self.overlay and content["picture"]:
            from pipeline.reporting import write_overlay

            stage("overlay")
            files.append(
                write_overlay(
                    content, task.item.path, task.base, overwrite=self.overwrite, stage=stage
                )
            )
        return Labelled(content, [str(path) for path in files])
