"""Where the results of each input go."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.media.inputs import Input

__all__ = ["output_bases"]


def output_bases(inputs: Sequence[Input], out: Path | None) -> list[Path]:
    """Return the path of each input's results without their extensions.

    Results go next to the input, or into `out`. Inputs of the same name in `out` keep the folders
    below the folder named on the command line, or else below the folder that all inputs share.
    x.wav next to x.mp4 keep their extensions.
    """
    if not inputs:
        return []
    paths = [item.path.absolute() for item in inputs]
    if out is None:
        names = [[path.with_name(path.stem), path] for path in paths]
    else:
        try:
            common = Path(os.path.commonpath([path.parent for path in paths]))
        except ValueError:  # two drives
            common = Path(paths[0].anchor)
        below = [
            Path(*path.parts[len(common.parts) :])
            if path.is_relative_to(common)
            else Path(*path.parts[1:])
            for path in paths
        ]
        names = [
            [
                out / path.stem,
                out / item.folder / path.stem,
                out / short.with_name(path.stem),
                out / short,
            ]
            for item, path, short in zip(inputs, paths, below, strict=True)
        ]
    level = [0] * len(inputs)
    while True:
        taken: dict[str, list[int]] = {}
        for index, choice in enumerate(names):
            taken.setdefault(str(choice[level[index]]).casefold(), []).append(index)
        clashes = [
            index
            for group in taken.values()
            if len(group) > 1
            for index in group
            if level[index] + 1 < len(names[index])
        ]
        if not clashes:
            return [choice[level[index]] for index, choice in enumerate(names)]
        for index in clashes:
            level[index] += 1
