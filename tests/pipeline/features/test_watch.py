"""Recordings are taken when they are complete, once, and again when they change."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.features.extract import Extraction
from pipeline.features.watch import arrivals, watch


def write(path: Path, text: str) -> Callable[[], None]:
    def act() -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        # a time of its own for each content: the clock of a file system may be coarse
        os.utime(path, ns=(0, next(TIMES)))

    return act


TIMES = itertools.count(10**18, 10**9)


def looks(folder: Path, *acts: Callable[[], None]) -> list[tuple[int, list[str]]]:
    """Watch a folder while things happen between looks; return (look, names) of each round."""
    steps = iter(acts)
    number = 0

    class Over(Exception):
        pass

    def wait() -> None:
        nonlocal number
        number += 1
        try:
            next(steps)()
        except StopIteration:
            raise Over from None

    rounds = []
    try:
        for inputs, failures in arrivals([folder], wait):
            assert not failures
            rounds.append((number, [item.path.name for item in inputs]))
    except Over:
        pass
    return rounds


def test_a_recording_is_taken_once_when_it_no_longer_grows(tmp_path: Path) -> None:
    def nothing() -> None: ...

    a, b = tmp_path / "a.mp4", tmp_path / "deep" / "b.wav"
    acts = [
        write(a, "x"),  # seen at look 1
        write(a, "xx"),  # still growing at look 2
        write(b, "y"),  # a is complete at look 3, b is new
        nothing,  # b at look 4
        nothing,
        write(a, "xxx"),  # changed at look 6, complete at look 7
        nothing,
        write(tmp_path / "note.txt", "no recording"),
        nothing,
    ]
    assert looks(tmp_path, *acts) == [(3, ["a.mp4"]), (4, ["b.wav"]), (7, ["a.mp4"])]


def test_what_is_there_at_the_start_is_taken(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", "x")()
    assert looks(tmp_path, lambda: None) == [(1, ["a.mp4"])]


def test_only_folders_are_watched(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        next(watch([tmp_path / "none"], Extraction(tmp_path / "store")))
