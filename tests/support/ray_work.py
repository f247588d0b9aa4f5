"""What the workers of the Ray tests do. Their processes import it by this name."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.errors import MercError


def work(item: str, stage: Any) -> str:
    """Work on an item, or fail in the way that it names."""
    stage("open")
    if item == "bad":
        raise MercError("bad: has no sound", "give a transcript")
    if item == "crash":
        os._exit(7)
    if item == "hang":
        stage.allow(-9.9)  # MERC_TIME_LIMIT x 0.1 s
        time.sleep(600)
    return item.upper()


@dataclass(frozen=True)
class Unloadable:
    """Work whose models are missing."""

    def check(self) -> None:
        raise MercError("no weights", "install them")

    def __call__(self, item: str, stage: Any) -> str:
        raise AssertionError("no item may be given to it")


@dataclass(frozen=True)
class Noted:
    """Work that notes its beginning and its end, and goes on when `folder/go` exists."""

    folder: Path

    def __call__(self, item: str, stage: Any) -> str:
        stage("begun")
        while not (self.folder / "go").exists():
            time.sleep(0.05)
        with (self.folder / "done").open("a") as file:
            file.write(item)
        return item
