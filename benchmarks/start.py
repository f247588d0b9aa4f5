"""CPU seconds and memory until `merc label` reads its first frame, and until all models are loaded.

    python benchmarks/start.py RECORDING

Steps of one new process, each with what it adds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import in_child, peak_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recording", type=Path)
    print(json.dumps(in_child("start.py", "steps", parser.parse_args().recording.absolute())))


def steps(recording: Path) -> dict[str, Any]:
    """Return CPU seconds and peak MiB after each step."""
    figures: dict[str, Any] = {}

    def step(name: str, work: Callable[[], Any]) -> Any:
        before = time.process_time()
        result = work()
        figures[name] = [round(time.process_time() - before, 2), round(peak_memory())]
        return result

    def make() -> Any:
        from pipeline.cli.label_work import LabelWork

        options = {"model": "merc-offline"}
        return LabelWork(options, None, ("json",), False).labeller

    def first_frame() -> None:
        from pipeline.media.decode import open_media

        with open_media(recording) as media:
            next(iter(media.frames()))

    def models() -> None:
        from extractors.talking import load_talking
        from extractors.voice import load_voice

        labeller.extractors["text"].extract(["Hello!"])
        assert labeller.extractors["audio"]._encoder and labeller.recogniser._whisper
        load_voice()
        load_talking()

    figures["python"] = [round(time.process_time(), 2), round(peak_memory())]
    labeller = step("the model that labels, and what is imported", make)
    step("first frame", first_frame)
    step("other models", models)
    figures["all"] = [round(time.process_time(), 2), round(peak_memory())]
    figures["imported"] = sorted({"torch", "scipy", "transformers"} & set(sys.modules))
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["steps"]:
        print(json.dumps(steps(Path(sys.argv[2]))))
    else:
        main()
