"""`merc pretrain` and `merc ship`: make the weights that ship with merc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import INPUT, MODEL, OUTPUT, Jobs, Json, example, report_result
from pipeline.cli.terminal import print_line

__all__ = ["EPILOGS", "pretrain_app", "ship"]

EPILOGS = {
    "ship": example("merc ship runs/paired --data data --clips grid --out css_model/weights")
}
pretrain_app = typer.Typer(no_args_is_help=True, help="Train the weights that extractors need.")


@pretrain_app.callback()
def _group() -> None:
    # keeps `visual` a subcommand while it is the only one
    ...


def _to_stderr(line: str) -> None:
    print_line(line, error=True)


@pretrain_app.command(epilog=example("merc pretrain visual --data ferplus_48.npz --out runs/face"))
def visual(
    data: Annotated[
        Path,
        typer.Option(
            help="FER+ as npz: images (n, 48, 48), votes (n, 10), split (n,).",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of weights, log and checkpoint. An interrupted run continues.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ],
    stages: Annotated[
        str, typer.Option(help="Input size x epochs, in order.", rich_help_panel=MODEL)
    ] = "32x3,40x5,48x11,64x3",
    lr: Annotated[
        float, typer.Option(help="Peak learning rate of the cycle.", rich_help_panel=MODEL)
    ] = 2e-3,
    jitter: Annotated[
        float,
        typer.Option(
            help="Strength of rotation, shift and brightness changes; 0: none.",
            rich_help_panel=MODEL,
        ),
    ] = 1.0,
    start: Annotated[
        str,
        typer.Option(
            help="A model.safetensors of an earlier training to start from.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = "",
    distill: Annotated[
        float,
        typer.Option(
            help="Weight of the predictions of --start in the targets; the rest is the votes.",
            rich_help_panel=MODEL,
        ),
    ] = 0.0,
    seed: Annotated[
        int,
        typer.Option(help="Seed of weights, order and augmentation.", rich_help_panel=MODEL),
    ] = 0,
    json: Json = False,
) -> None:
    """Train the face network (DenseNet-BC, 342-d) on FER+."""

    def work() -> dict:
        from pipeline.recipes.face_network import PretrainConfig, parse_stages, pretrain_visual

        config = PretrainConfig(
            parse_stages(stages), lr=lr, jitter=jitter, start=start, distill=distill, seed=seed
        )
        return pretrain_visual(data, out, config, _to_stderr)

    report_result(work, json)


def ship(
    run: Annotated[
        Path,
        typer.Argument(help="A run of merc train --dataset paired.", show_default=False),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="The folder it was trained on.", rich_help_panel=INPUT, show_default=False
        ),
    ],
    clips: Annotated[
        Path,
        typer.Option(
            help="A folder of GRID clips (*.mpg), neutral read speech.",
            rich_help_panel=INPUT,
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of merc-offline.safetensors, its card and its figures.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ],
    jobs: Jobs = 1,
    json: Json = False,
) -> None:
    """Measure a run on the paired corpus and write it as merc-offline with its model card."""

    def work() -> dict:
        from pipeline.recipes.offline_card import ship as measure_and_write

        return measure_and_write(run, data, clips, out, jobs or 1, _to_stderr)

    report_result(work, json)
