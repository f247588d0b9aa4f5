"""What a person sees in the terminal: tables of results."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["ablation", "figures", "finetune_figures", "run_figures", "utterances"]

COLOURS = {
    "neutral": "white",
    "joy": "yellow",
    "happy": "yellow",
    "excited": "bright_yellow",
    "surprise": "magenta",
    "sadness": "blue",
    "sad": "blue",
    "anger": "red",
    "angry": "red",
    "frustrated": "bright_red",
    "fear": "cyan",
    "disgust": "green",
}


def utterances(result: dict[str, Any], console: Console) -> None:
    """One line an utterance; a modality that is missing is struck from t a v."""
    title = f"{result['media']}  ({result['model']}, profile {result['profile']})"
    table = Table(title=Text(title), title_justify="left")
    for name, justify in (
        ("time", "right"),
        ("speaker", "left"),
        ("text", "left"),
        ("emotion", "left"),
        ("p", "right"),
        ("from", "left"),
    ):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for row in result["utterances"]:
        colour = COLOURS.get(row["emotion"], "white")
        seen = "".join(
            name[0] if about["present"] else "-" for name, about in row["modalities"].items()
        )
        table.add_row(
            f"{row['start']:.1f}-{row['end']:.1f}",
            Text(row["speaker"]),
            Text(row["text"]),
            Text(row["emotion"], style=colour),
            f"{row['confidence']:.2f}",
            seen,
        )
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


def run_figures(metrics: dict[str, Any]) -> None:
    """The headlines of a run; its card has the rest."""
    console = Console()
    table = Table(
        title=Text(
            f"{metrics['dataset']}, protocol {metrics['protocol']}, {len(metrics['seeds'])} seeds"
        ),
        title_justify="left",
    )
    columns = {
        "test": metrics,
        "valid": metrics.get("valid"),
        "published (leaky)": metrics.get("published"),
    }
    shown = {title: part for title, part in columns.items() if part}
    for title in ("", *shown, f"always {metrics['majority']['label']}"):
        table.add_column(title)
    for name in ("accuracy", "weighted_f1", "macro_f1", "macro_recall"):
        table.add_row(
            name,
            *(f"{part[name]['mean']:.4f} ± {part[name]['sd']:.4f}" for part in shown.values()),
            f"{metrics['majority'][name]:.4f}",
        )
    console.print(table)
    low, high = metrics["weighted_f1"]["interval"]
    console.print(f"test weighted F1, 95 % over dialogues and seeds: {low:.4f} to {high:.4f}")
    for note in metrics["notes"]:
        console.print(Text(f"! {note}", style="yellow"))


def finetune_figures(metrics: dict[str, Any]) -> None:
    """Weighted F1 of a fine-tuned encoder beside what it had to beat."""
    console = Console()
    table = Table(
        title=Text(
            f"{metrics['model']}, {metrics['method']}, {metrics['dataset']}, {len(metrics['seeds'])} "
            f"seeds: weighted F1"
        ),
        title_justify="left",
    )
    splits = [split for split in ("train", "valid", "test") if split in metrics["parts"]]
    for title in ("", *splits):
        table.add_column(title)
    for name, parts in (
        ("fine-tuned", metrics),
        ("its vectors, logistic regression", metrics["probe"]),
    ):
        table.add_row(
            name,
            *(
                f"{parts[split]['weighted_f1']['mean']:.4f} ± {parts[split]['weighted_f1']['sd']:.4f}"
                for split in splits
            ),
        )
    for name, parts in metrics["baselines"].items():
        table.add_row(name, *(f"{parts[split]['weighted_f1']:.4f}" for split in splits))
    console.print(table)
    against = metrics["against_frozen"]["valid"]
    console.print(
        f"valid, against the frozen encoder: {against['difference']:+.4f}, p {against['p']:.4f}, better in "
        f"{against['better_seeds']} of {len(metrics['seeds'])} seeds; valid chose epochs and seed"
    )
    if "folds" in metrics:
        values = metrics["folds"]["probe_valid_weighted_f1"]
        console.print(
            f"{metrics['folds']['folds']} folds: logistic regression reaches {values['folds']:.4f} on valid, "
            f"{values['finished encoder']:.4f} from the encoder's own training features"
        )
    for note in metrics["notes"]:
        console.print(Text(f"! {note}", style="yellow"))


def ablation(result: dict[str, Any]) -> None:
    table = Table(
        title=Text(f"{result['dataset']}, protocol {result['protocol']}, {result['seeds']} seeds"),
        title_justify="left",
    )
    for title in ("row", "accuracy", "weighted F1", "difference", "p (Holm)"):
        table.add_column(title)
    for row in result["rows"]:
        table.add_row(
            row["title"],
            *(
                f"{row[k + '_mean']:.4f} ± {row[k + '_sd']:.4f}"
                for k in ("accuracy", "weighted_f1")
            ),
            f"{row['difference']:+.4f}",
            "" if row["row"] == "css" else f"{row['p_holm']:.4f}",
        )
    console = Console()
    console.print(table)
    for name, reason in result["not_run"].items():
        console.print(Text(f"! {name} was not run: {reason}", style="yellow"))
