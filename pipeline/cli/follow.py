"""`merc label --follow`: print the utterances of a growing file or a pipe as they end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.cli.common import fail
from pipeline.cli.stopping import describe_finished
from pipeline.cli.terminal import print_json, print_line

__all__ = ["follow"]


def follow(sources: Sequence[Path], options: dict[str, Any], others: Mapping[str, bool]) -> None:
    """Print one JSON object per utterance.

    sources: one file, or "-". options: of `Labeller`. others: option -> whether it was given, of
    those that need the whole recording.
    """
    from pipeline.core.counts import counted
    from pipeline.core.errors import UsageError
    from pipeline.core.files import json_ready
    from pipeline.core.resources import limit_memory_pools
    from pipeline.labelling import Labeller
    from pipeline.media.feed import Feed

    printed = 0
    try:
        if len(sources) != 1:
            raise UsageError(
                f"--follow: {len(sources)} recordings", "name one file, or - for standard input"
            )
        given = [name for name, is_given in others.items() if is_given]
        if given:
            raise UsageError(
                f"--follow: {', '.join(given)} needs the whole recording",
                "leave it out, or label the recording when it is complete",
            )
        source = str(sources[0])
        Feed(source)  # refuse what is no file before the models are loaded
        limit_memory_pools()
        labeller = Labeller(**options)
        with describe_finished(lambda: f"{counted(printed, 'utterance')} printed"):
            for row in labeller.follow(
                source, warn=lambda warning: print_line(f"merc: {warning}", error=True)
            ):
                print_json(json_ready(row))
                printed += 1
    except BrokenPipeError:  # whoever reads the lines has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except (ValueError, OSError) as error:
        fail(error)
