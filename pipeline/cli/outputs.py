"""Where the results of each input go."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.core.errors import MercError
from pipeline.core.remote import RemoteFolder, split_url, url_of
from pipeline.media.inputs import Input

__all__ = ["failures_folder", "output_bases", "uploaded"]


def failures_folder(out: Path | None) -> Path:
    """Return the folder of `failures.csv`: that of the results if it is a local one."""
    return out if out and not url_of(out) else Path.cwd()


@contextmanager
def uploaded(base: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the base of a recording's files; if it is at a URL, a local one to be uploaded.

    names: of the files. Those that are there already are copied, so that the usual rules say
    whether they may be replaced. What is new or changed is uploaded if the block succeeds.
    """
    url = url_of(base)
    if not url:
        yield base
        return
    folder, name = split_url(url)
    remote = RemoteFolder(folder)
    before: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="merc-output-") as local:
        for file in names:
            with suppress(FileNotFoundError):
                before[file] = remote.read(file)
                (Path(local) / file).write_bytes(before[file])
        try:
            yield Path(local) / name
        except MercError as error:  # names the file that must not be replaced
            raise MercError(error.reason.replace(local, folder), error.remedy) from error
        for file in names:
            data = (Path(local) / file).read_bytes()
            if data != before.get(file):
                remote.write(file, data)


def output_bases(inputs: Sequence[Input], out: Path | None) -> list[Path]:
    """Return the path of each input's results without their extensions.

    Results go next to the input, or into `out`. Inputs of the same name in `out` keep the folders
    below the folder named on the command line, or else below the folder that all inputs share.
    x.wav next to x.mp4 keep their extensions.
    """
    if not inputs:
        return []
    paths = [_place(item) for item in inputs]
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


def _place(item: Input) -> Path:
    """Return an absolute path; for a URL one that no file has, with the same folders."""
    if not item.url:
        return item.path.absolute()
    scheme, _, rest = item.url.partition("://")
    return Path("/", f"{scheme}:", rest.lstrip("/"))
