"""The command `merc`. Nothing heavy is imported before a command runs, so help is instant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipeline.cli import (
    agree,
    benchmark,
    doctor,
    export,
    extract,
    finetune,
    import_table,
    label,
    recipes,
    train,
)
from pipeline.cli.corpus import corpus_app
from pipeline.cli.stopping import stopping
from pipeline.cli.store import store_app
from pipeline.cli.terminal import clean, print_line

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Commands whose errors can be printed: arguments are often names of files."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _clean_usage_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _clean_usage_errors():
            return super().invoke(ctx)


@contextmanager
def _clean_usage_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        usage: Any = error  # click's, or the copy of click inside newer versions of typer
        if hasattr(error, "format_message"):
            usage.message = clean(usage.message)
        raise


app = typer.Typer(
    name="merc",
    cls=_Commands,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Emotion recognition in conversation: raw dialogue video in, labelled utterances out.",
    epilog="Start with: merc label dialogue.mp4",
)
COMMANDS: dict[
    str, dict[str, Any]
] = {  # panel of the help -> name -> the module that defines it, the function
    "Label": {
        "label": (label, label.label),
        "export": (export, export.export),
        "agree": (agree, agree.agree),
        "doctor": (doctor, doctor.doctor),
    },
    "Train and evaluate": {
        "train": (train, train.train),
        "evaluate": (train, train.evaluate),
        "compare": (train, train.compare),
        "ablate": (train, train.ablate),
        "benchmark": (benchmark, benchmark.benchmark),
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

        print_line(f"merc {__version__}")
        raise typer.Exit


@app.callback()
def _merc(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print_line(context.get_help())


def main() -> None:
    """Run the command line; Ctrl-C exits with 130, SIGTERM with 143, and no traceback."""
    with stopping() as stop:
        try:
            app()
        except BaseException:  # also what a library has made of KeyboardInterrupt
            if not stop.signal:
                raise
            stop.end()
