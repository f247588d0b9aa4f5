"""Tables of results in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.terminal import console as make_console
from pipeline.cli.terminal import plain
from pipeline.core.counts import counted

__all__ = [
    "show_ablation",
    "show_agreement",
    "show_benchmark",
    "show_figures",
    "show_finetuning",
    "show_run",
    "show_utterances",
]

WIDE = 100  # columns
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


def show_utterances(result: dict[str, Any], console: Console) -> None:
    """Print one line per utterance.

    The column "from" has the initials of the modalities present, in capitals where the emotion
    depends on them. On a wide terminal "but" has the modalities that say something else alone.
    """
    title = f"{result['media']}  ({result['model']}, profile {result['profile']})"
    table = _table(title)
    table.add_column("time", justify="right")
    for name in ("speaker", "text", "emotion"):
        table.add_column(name)
    table.add_column("p", justify="right")
    table.add_column("from")
    wide = console.width >= WIDE
    if wide:
        table.add_column("but")
    for row in result["utterances"]:
        colour = COLOURS.get(row["emotion"], "white")
        initials, others = "", []
        for modality, about in row["modalities"].items():
            initial = modality[0].upper() if modality in row.get("decisive", ()) else modality[0]
            initials += initial if about["present"] else "-"
            if about.get("emotion", row["emotion"]) != row["emotion"]:
                others.append(f"{modality[0]} {about['emotion']}")
        table.add_row(
            f"{row['start']:.1f}-{row['end']:.1f}",
            plain(row["speaker"]),
            plain(row["text"]),
            plain(row["emotion"] + "?" * row.get("uncertain", False), style=colour),
            f"{row['confidence']:.2f}",
            initials,
            *([plain(", ".join(others))] if wide else []),
        )
    console.print(table)
    if result["utterances"]:
        initials = ", ".join(f"{name[0]} {name}" for name in result["utterances"][0]["modalities"])
        meaning = f"p: confidence; from: {initials}, - missing; a capital: decisive"
        console.print(plain(meaning, style="dim"), soft_wrap=True)
    for warning in result["warnings"]:
        console.print(plain(f"! {warning}", style="yellow"))


def show_figures(result: dict[str, Any]) -> None:
    """Print the numbers of an evaluation, nested dicts indented."""
    console = make_console()

    def show(content: dict[str, Any], indent: str) -> None:
        for name, value in content.items():
            if isinstance(value, dict):
                console.print(plain(f"{indent}{name}"))
                show(value, indent + "  ")
            else:
                text = f"{value:.4f}" if isinstance(value, float) else value
                console.print(plain(f"{indent}{name}: {text}"), soft_wrap=True)

    show(result, "")


def show_run(metrics: dict[str, Any]) -> None:
    """Print the headline figures of a run; its card has the rest."""
    console = make_console()
    seeds = len(metrics["seeds"])
    table = _table(
        f"{metrics['dataset']}, protocol {metrics['protocol']}, {counted(seeds, 'seed')}"
    )
    columns = {
        "test": metrics,
        "valid": metrics.get("valid"),
        "published (leaky)": metrics.get("published"),
    }
    columns = {title: part for title, part in columns.items() if part}
    majority = metrics["majority"]
    for title in ("", *columns, f"always {majority['label']}"):
        table.add_column(plain(title))
    for name in ("accuracy", "weighted_f1", "macro_f1", "macro_recall"):
        cells = [_mean_sd(part[name], seeds) for part in columns.values()]  # type: ignore[index]
        table.add_row(name, *cells, f"{majority[name]:.4f}")
    console.print(table)
    low, high = metrics["weighted_f1"]["interval"]
    interval = f"{low:.4f} to {high:.4f}"
    console.print(f"test weighted F1, 95 % interval over dialogues and seeds: {interval}")
    errors = metrics["calibration"]
    console.print(
        f"expected calibration error on test: {_mean_sd(errors['error'], seeds)}; "
        f"without temperatures {_mean_sd(errors['error_without_temperatures'], seeds)}"
    )
    _show_notes(console, metrics["notes"])


def show_finetuning(metrics: dict[str, Any]) -> None:
    """Print the weighted F1 of a fine-tuned encoder beside the baselines it has to beat."""
    console = make_console()
    seeds = len(metrics["seeds"])
    names = f"{metrics['model']}, {metrics['method']}, {metrics['dataset']}"
    table = _table(f"{names}, {counted(seeds, 'seed')}: weighted F1")
    splits = [split for split in ("train", "valid", "test") if split in metrics["parts"]]
    for title in ("", *splits):
        table.add_column(title)
    probe = "its vectors, logistic regression"
    for name, parts in (("fine-tuned", metrics), (probe, metrics["probe"])):
        table.add_row(name, *(_mean_sd(parts[split]["weighted_f1"], seeds) for split in splits))
    for name, parts in metrics["baselines"].items():
        table.add_row(plain(name), *(f"{parts[split]['weighted_f1']:.4f}" for split in splits))
    console.print(table)
    against = metrics["against_frozen"]["valid"]
    console.print(
        f"valid, against the frozen encoder: {against['difference']:+.4f}, p {against['p']:.4f}, "
        f"better in {against['better_seeds']} of {counted(seeds, 'seed')}; "
        "valid chose epochs and seed"
    )
    _show_notes(console, metrics["notes"])


def show_ablation(result: dict[str, Any]) -> None:
    """Print one line per row of an ablation."""
    console = make_console()
    seeds = result["seeds"]
    table = _table(f"{result['dataset']}, protocol {result['protocol']}, {counted(seeds, 'seed')}")
    for title in ("row", "accuracy", "weighted F1", "difference", "p (Holm)"):
        table.add_column(title)
    for row in result["rows"]:
        cells = []
        for name in ("accuracy", "weighted_f1"):
            figure = {"mean": row[f"{name}_mean"], "sd": row[f"{name}_sd"]}
            cells.append(_mean_sd(figure, seeds))
        p = "" if row["row"] == "css" else f"{row['p_holm']:.4f}"
        table.add_row(plain(row["title"]), *cells, f"{row['difference']:+.4f}", p)
    console.print(table)
    _show_notes(console, [f"{name} was not run: {why}" for name, why in result["not_run"].items()])


def show_benchmark(result: dict[str, Any], out: Path) -> None:
    """Print one line per model of a benchmark; `out` has the tables."""
    console = make_console()
    table = _table("test part, mean ± standard deviation over seeds")
    for title in ("model", "parameters", "accuracy", "weighted F1", "p (Holm)", "step", "memory"):
        table.add_column(title, justify="left" if title == "model" else "right")
    for name, figures in result["models"].items():
        for label, row in ((name, figures), (f"{name}, published", figures.get("published"))):
            if not row or "parameters" not in row:  # failed, or in protocol published alone
                continue
            cells = [
                _mean_sd(row[figure], 1 + bool(row[figure]["sd"]))
                for figure in ("accuracy", "weighted_f1")
            ]
            p = f"{row['p_holm']:.4f}" if "p_holm" in row else ""
            costs = [f"{row[key]:.2f}" if key in row else "" for key in ("step", "memory")]
            table.add_row(plain(label), f"{row['parameters']:,}", *cells, p, *costs)
    console.print(table)
    console.print(plain(f"{out / 'benchmark.md'} has the figures of each class"), soft_wrap=True)


def show_agreement(result: dict[str, Any]) -> None:
    """Print the figures of two annotations, their confusion and where they disagree."""
    from pipeline.exports.page import named_figures

    console = make_console()
    counts = result["utterances"]
    table = _table(f"{counts['pairs']} pairs of {counts['a']} (A) and {counts['b']} (B) utterances")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in named_figures(result).items():
        table.add_row(name, "not defined" if value is None else f"{value:.3f}")
    console.print(table)
    table = _table("emotions (rows A, columns B)")
    for title in ("", *result["labels"]):
        table.add_column(plain(title), justify="right" if title else "left")
    for label, row in zip(result["labels"], result["confusion"], strict=True):
        table.add_row(plain(label), *map(str, row))
    if result["labels"]:
        console.print(table)
    if result["disagreements"]:
        table = _table("disagreements")
        for title in ("recording", "time", "speaker", "text", "A", "B"):
            table.add_column(title)
        for row in result["disagreements"]:
            time = f"{row['start']:.1f}-{row['end']:.1f}"
            names = ("recording", "speaker", "text", "a", "b")
            cells = [plain(row[name]) for name in names]
            table.add_row(cells[0], time, *cells[1:])
        console.print(table)
    _show_notes(console, result["warnings"])
    if "page" in result:
        console.print(plain(f"wrote {result['page']}"), soft_wrap=True)


def _table(title: str) -> Table:
    return Table(title=plain(title), title_justify="left")


def _mean_sd(figure: dict[str, float], seeds: int) -> str:
    """Format a figure over seeds; one seed has no spread."""
    return f"{figure['mean']:.4f}" + (f" ± {figure['sd']:.4f}" if seeds > 1 else "")


def _show_notes(console: Console, notes: list[str]) -> None:
    for note in notes:
        console.print(plain(f"! {note}", style="yellow"))
