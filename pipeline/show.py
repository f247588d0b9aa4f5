"""What a person sees in the terminal: tables of results."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["figures", "utterances"]

COLOURS = {"neutral": "white", "joy": "yellow", "happy": "yellow", "excited": "bright_yellow", "surprise": "magenta",
           "sadness": "blue", "sad": "blue", "anger": "red", "angry": "red", "frustrated": "bright_red",
           "fear": "cyan", "disgust": "green"}


def utterances(result: dict[str, Any], console: Console) -> None:
    """One line an utterance; a modality that is missing is struck from t a v."""
    title = f"{result['media']}  ({result['model']}, profile {result['profile']})"
    table = Table(title=Text(title), title_justify="left")
    for name, justify in (("time", "right"), ("speaker", "left"), ("text", "left"), ("emotion", "left"),
                          ("p", "right"), ("from", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in result["utterances"]:
        colour = COLOURS.get(row["emotion"], "white")
        seen = "".join(name[0] if about["present"] else "-" for name, about in row["modalities"].items())
        table.add_row(f"{row['start']:.1f}-{row['end']:.1f}", Text(row["speaker"]), Text(row["text"]),
                      Text(row["emotion"], style=colour), f"{row['confidence']:.2f}", seen)
    console.print(table)
    for warning in result["warnings"]:
        console.print(Text(f"! {warning}", style="yellow"))


def figures(result: dict[str, Any]) -> None:
    """Numbers of a run or an evaluation, nested dicts indented."""
    console = Console()

    def lines(content: dict[str, Any], indent: str) -> None:
        for name, value in content.items():
            if isinstance(value, dict):
                console.print(Text(f"{indent}{name}"))
                lines(value, indent + "  ")
            else:
                shown = f"{value:.4f}" if isinstance(value, float) else value
                console.print(Text(f"{indent}{name}: {shown}"), soft_wrap=True)

    lines(result, "")
