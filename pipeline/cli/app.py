"""The command `merc`. Nothing heavy is imported before a command runs, so help is instant."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from pipeline.cli import doctor, extract, finetune, import_table, label, recipes, train
from pipeline.cli.corpus import corpus_app
from pipeline.cli.store import store_app

__all__ = ["app", "main"]

app = typer.Typer(
    name="merc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Emotion recognition in conversation: raw dialogue video in, labelled utterances out.",
    epilog="Start with: merc label dialogue.mp4",
)
COMMANDS: dict[
    str, dict[str, Any]
] = {  # panel of the help -> name -> the module that defines it, the function
    "Label": {"label": (label, label.label), "doctor": (doctor, doctor.doctor)},
    "Train and evaluate": {
        "train": (train, train.train),
        "evaluate": (train, train.evaluate),
        "compare": (train, train.compare),
        "ablate": (train, train.ablate),
    },
    "Features and corpora": {
        "extract": (extract, extract.extract),
        "import": (import_table, import_table.import_),
    },
    "Weights that ship with merc": {"ship": (recipes, recipes.ship)},
}
GROUPS: dict[str, dict[str, typer.Typer]] = {
    "Features and corpora": {"store": store_app, "corpus": corpus_app},
    "Train and evaluate": {"finetune": finetune.finetune_app},
    "Weights that ship with merc": {"pretrain": recipes.pretrain_app},
}
for panel, commands in COMMANDS.items():
    for name, (module, function) in commands.items():
        epilog = module.EPILOGS[name]
        app.command(name, rich_help_panel=panel, epilog=epilog)(function)
for panel, groups in GROUPS.items():
    for name, group in groups.items():
        app.add_typer(group, name=name, rich_help_panel=panel)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pipeline import __version__

        print(f"merc {__version__}")
        raise typer.Exit


@app.callback()
def _merc(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None: ...


def main() -> None:
    """Run the command line; Ctrl-C exits with 130 and no traceback."""
    try:
        app()
    except KeyboardInterrupt:
        print("merc: interrupted; what was finished is written", file=sys.stderr)
        raise SystemExit(130) from None
