"""The card of a run: card.md, what was trained on what, and how good it is."""

from __future__ import annotations

import json
from typing import Any

from pipeline.core.render import markdown_table
from pipeline.training.metrics import HEADLINES, best_single_seed
from pipeline.training.plots import PICTURES
from pipeline.training.printed_figures import CLASSES, PAPER

__all__ = ["run_card"]

PROTOCOLS = {
    "clean": "The epoch was chosen on the valid part; the test part was read once, at the end.",
    "published": "**Leaky, for comparison with printed tables only:** trained on train and valid, "
    "and the epoch with the best *test* score was kept, as the scripts behind the printed tables "
    "do.",
}
FEW = "No epoch was chosen; the test part was read once, at the end."
NAMES = {
    "accuracy": "accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "macro_recall": "macro recall",
}
USE = """\
`merc evaluate RUN --dataset TABLE` scores it on another table; `merc compare RUN OTHER` tests the \
difference of two runs. Confidences {fitted}are not calibrated for other recordings. Features and \
labels have their own terms (openSMILE features: non-commercial), which hold for this model too.
"""


def run_card(metrics: dict[str, Any]) -> str:
    """Return the card, Markdown, of what metrics.json holds."""
    sections = [
        _introduction(metrics),
        "## Figures\n",
        "Per cent; mean ± standard deviation over seeds. Macro averages run over the classes that "
        "occur in the part.\n",
        _headline_table(metrics),
        _interval(metrics),
        _calibration(metrics),
        _class_table(metrics),
        _seed_table(metrics),
        *([_speaker_table(metrics)] if metrics["per_speaker"] else []),
        _side_by_side(metrics),
    ]
    if metrics["dataset"] in PAPER:
        sections += ["## Beside the paper\n", _beside_paper(metrics)]
    sections += [
        "## Pictures\n",
        *(f"![{title}]({name}.png)\n" for name, title in PICTURES.items()),
        "## Data\n",
        _part_table(metrics),
        *(f"- {note}\n" for note in metrics["notes"]),
        _origin(metrics["fingerprints"]),
        "## Use\n",
        USE.format(fitted=_fitted(metrics)),
    ]
    return "\n".join(sections)


def _introduction(metrics: dict[str, Any]) -> str:
    seeds = len(metrics["seeds"])
    selected_on = "valid" if "valid" in metrics else "test"
    if few := metrics.get("few", False):
        selected_on = "valid, which it was trained on"
    protocol = metrics["protocol"]
    model = "CSS" if metrics["model"] == "css" else metrics["model"]
    title = "Cross-Space Synergy" if model == "CSS" else "A comparison model"
    return (
        f"# {model} on {metrics['dataset']}\n\n"
        f"{title}, {metrics['parameters']:,} parameters, {seeds} "
        f"seed{'s' * (seeds > 1)}; reads {', '.join(metrics['modalities'])}. "
        f"`model.safetensors` is seed {metrics['best_seed']}, the best on {selected_on}.\n\n"
        f"Protocol `{protocol}`. {FEW if few else PROTOCOLS[protocol]}\n"
    )


def _fitted(metrics: dict[str, Any]) -> str:
    if metrics["protocol"] == "published" or metrics.get("few") or not metrics["temperatures"]:
        return ""
    return "were fitted on the valid part of this corpus; they "


def _headline_table(metrics: dict[str, Any]) -> str:
    columns = {"test": metrics}
    if "valid" in metrics:
        columns["valid"] = metrics["valid"]
    majority = metrics["majority"]
    rows = []
    for name in HEADLINES:
        spreads = [_spread(part[name]) for part in columns.values()]
        rows.append([NAMES[name], *spreads, _percent(majority[name])])
    return markdown_table(["", *columns, f"always {majority['label']!r} (test)"], rows)


def _interval(metrics: dict[str, Any]) -> str:
    low, high = metrics["weighted_f1"]["interval"]
    return (
        "95 % interval of test weighted F1, bootstrap over dialogues crossed with seeds: "
        f"{_percent(low)} to {_percent(high)} (conditional on the "
        f"{metrics['parts']['test']['dialogues']} dialogues and the speakers of the test part).\n"
    )


def _calibration(metrics: dict[str, Any]) -> str:
    errors = metrics["calibration"]
    text = f"Expected calibration error on test ({errors['bins']} bins): {_spread(errors['error'])}"
    if not metrics["temperatures"]:
        why = "too few labelled utterances in valid"
        if metrics["protocol"] == "published":
            why = "there is no part to fit them on"
        return f"{text}. The model has no temperatures: {why}.\n"
    fitted = ", ".join(f"{name} {value:g}" for name, value in metrics["temperatures"].items())
    plain = _spread(errors["error_without_temperatures"])
    return f"{text}; without temperatures {plain}. Temperatures: {fitted}.\n"


def _class_table(metrics: dict[str, Any]) -> str:
    rows = []
    for label in metrics["labels"]:
        figures = metrics["per_class"][label]
        spreads = [_spread(figures[name]) for name in ("precision", "recall", "f1")]
        rows.append([label, *spreads, str(figures["support"])])
    return markdown_table(["class (test)", "precision", "recall", "F1", "support"], rows)


def _seed_table(metrics: dict[str, Any]) -> str:
    header = ["seed", "best epoch", "test accuracy", "test weighted F1", "valid weighted F1"]
    rows = []
    for entry in metrics["per_seed"]:
        test = [_percent(entry["test"][name]) for name in ("accuracy", "weighted_f1")]
        valid = _percent(entry["valid"]["weighted_f1"]) if "valid" in entry else "-"
        rows.append([str(entry["seed"]), str(entry["best_epoch"]), *test, valid])
    return markdown_table(header, rows)


def _speaker_table(metrics: dict[str, Any]) -> str:
    rows = [
        [name, str(figures["utterances"]), _spread(figures["weighted_f1"])]
        for name, figures in metrics["per_speaker"].items()
    ]
    return markdown_table(["speaker (test)", "utterances", "weighted F1"], rows)


def _part_table(metrics: dict[str, Any]) -> str:
    columns = ["dialogues", "utterances", "labelled"]
    rows = [[name, *(str(size[k]) for k in columns)] for name, size in metrics["parts"].items()]
    return markdown_table(["part", *columns], rows)


def _side_by_side(metrics: dict[str, Any]) -> str:
    """Compare the protocols on the test part; empty for a clean run alone."""
    leaky = metrics if metrics["protocol"] == "published" else metrics.get("published")
    if leaky is None:
        return ""
    clean = None if leaky is metrics else metrics
    single = leaky["single"] if clean else best_single_seed(metrics)
    columns: dict[str, list[str]] = {"": [NAMES[name] for name in HEADLINES]}
    if clean:
        columns["clean"] = [_spread(clean[name]) for name in HEADLINES]
    columns["published (leaky)"] = [_spread(leaky[name]) for name in HEADLINES]
    if clean:
        columns["gap"] = [f"{100 * clean['gap'][name]:+.2f}" for name in HEADLINES]
    title = f"published, best single seed ({single['seed']})"
    columns[title] = [_percent(single[name]) for name in HEADLINES]
    if "attached" in leaky:
        attached = leaky["attached"]
        columns["published, teacher not detached"] = [_spread(attached[n]) for n in HEADLINES]
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return "## Protocols side by side\n\n" + markdown_table(list(columns), rows)


def _beside_paper(metrics: dict[str, Any]) -> str:
    printed = PAPER[metrics["dataset"]]
    runs = {metrics["protocol"]: metrics}
    if "published" in metrics:
        runs["published"] = metrics["published"]
    totals = [
        [f"{name} (printed)", f"{accuracy:.2f}", f"{f1:.2f}"]
        for name, (accuracy, f1) in printed["total"].items()
    ]
    for protocol, run in runs.items():
        figures = [run["accuracy"], run["weighted_f1"]]
        totals.append([f"this run, {protocol}", *map(_spread, figures)])
        if protocol == "published":
            single = run.get("single") or best_single_seed(run)
            percents = [_percent(single[name]) for name in ("accuracy", "weighted_f1")]
            totals.append(["this run, published, best single seed", *percents])
    header = ["class", "CSS precision (printed as ACC)", "CSS F1 (printed)"]
    header += [f"{figure}, {protocol}" for protocol in runs for figure in ("precision", "F1")]
    classes = []
    for label, (precision, f1) in CLASSES[metrics["dataset"]]["CSS"].items():
        if label in metrics["per_class"]:
            row = [label, f"{precision:.2f}", f"{f1:.2f}"]
            for run in runs.values():
                row += [_spread(run["per_class"][label][name]) for name in ("precision", "f1")]
            classes.append(row)
    return (
        markdown_table(["", "accuracy", "weighted F1"], totals)
        + "\n"
        + markdown_table(header, classes)
        + "\nPrinted figures are the best test epoch of one seed; compare them with protocol "
        "`published` only.\n"
    )


def _origin(fingerprints: Any) -> str:
    if fingerprints == "unknown":
        return (
            "- Features: of unknown origin (the table has no fingerprints.json); only widths can "
            "be checked, and `merc label` refuses this model.\n"
        )
    return "".join(
        f"- Features, {modality}: `{json.dumps(fingerprint, sort_keys=True)}`\n"
        for modality, fingerprint in fingerprints.items()
    )


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _spread(value: dict[str, float]) -> str:
    # one seed has no spread
    return _percent(value["mean"]) + (f" ± {_percent(value['sd'])}" if value["sd"] else "")
