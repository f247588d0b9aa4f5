"""Draw docs/label.svg: what `merc label examples/dialogue.mp4` shows in a terminal.

python examples/make_picture.py docs/label.svg
"""

import io
import sys
from pathlib import Path

from rich.console import Console

import merc
from pipeline.cli.tables import show_utterances

console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
result = merc.label(Path(__file__).with_name("dialogue.mp4"))
show_utterances(result.to_dict(), console)
console.save_svg(sys.argv[1], title="merc label dialogue.mp4")
