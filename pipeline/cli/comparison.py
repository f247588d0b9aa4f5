"""What `merc compare` prints."""

from __future__ import annotations

from typing import Any

from pipeline.cli.terminal import print_line
from pipeline.core.counts import counted

__all__ = ["show_comparison"]

LEVEL = 0.05  # p below which a difference is called more than chance


def show_comparison(result: dict[str, Any]) -> None:
    """Print the weighted F1 of both runs, which one is better, and how sure that is."""
    first, second = result["first"], result["second"]
    names = [first["run"], second["run"]]
    if names[0] == names[1]:
        names = [f"{names[0]} (first)", f"{names[1]} (second)"]
    print_line("weighted F1 on the test part, mean over seeds")
    for name, run in zip(names, (first, second), strict=True):
        spread = f" ± {run['sd']:.4f}" if run["seeds"] > 1 else ""
        low, high = run["interval"]
        seeds, protocol = counted(run["seeds"], "seed"), f"protocol {run['protocol']}"
        print_line(
            f"  {name}: {run['mean']:.4f}{spread} ({seeds}, {protocol}; 95 % interval "
            f"{low:.4f} to {high:.4f})"
        )
    print_line(_verdict(result, names))
    if "warning" in result:
        print_line(f"! {result['warning']}")


def _verdict(result: dict[str, Any], names: list[str]) -> str:
    by, p = abs(result["difference"]), f"p {result['p']:.4f}"
    draws = f"{p}, {result['draws']} random swaps of dialogues"
    if result["better"] is None:
        return f"the runs are equally good ({draws})"
    better, other = names if result["better"] == "first" else reversed(names)
    if result["p"] < LEVEL:
        return f"{better} is better than {other} by {by:.4f} ({draws})"
    return f"{better} is ahead of {other} by {by:.4f}, which may be chance ({draws})"
