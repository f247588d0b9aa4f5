"""`merc store`: look at features, check them, hand them on."""

from __future__ import annotations

import json as json_lines
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["store_app"]

store_app = typer.Typer(
    no_args_is_help=True, help="Look at extracted features, check them, export them."
)

Root = Annotated[
    Path | None,
    typer.Argument(help="Folder of the store; default: $MERC_STORE, else merc's cache."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@store_app.command()
def ls(store: Root = None, json: Json = False) -> None:
    """Media of the store, their features and what made them."""
    from pipeline.features.store import DamagedError

    opened = _open(store)
    rows: list[dict[str, Any]] = []
    for medium in opened.media():
        for path in opened.files(medium):
            about = {
                "medium": medium,
                "names": opened.names(medium),
                "file": str(path.relative_to(opened.root)),
            }
            try:
                rows.append(about | _about(opened.load(path)))
            except DamagedError as error:
                rows.append(about | {"damaged": str(error)})
    if json:
        print(json_lines.dumps({"store": str(opened.root), "files": rows}, ensure_ascii=False))
        return
    _show(opened, rows)


@store_app.command()
def verify(store: Root = None, json: Json = False) -> None:
    """Read every file of the store; exit code 1 names those that are damaged."""
    from pipeline.features.store import DamagedError

    opened = _open(store)
    checked, damaged = 0, []
    for medium in opened.media():
        for path in [*opened.files(medium), *opened.segment_files(medium)]:
            checked += 1
            try:
                if path.suffix == ".json":
                    opened.load_segmentation(path)
                else:
                    opened.load(path)
            except DamagedError as error:
                damaged.append({"file": str(path), "reason": str(error)})
    if json:
        print(
            json_lines.dumps(
                {"store": str(opened.root), "checked": checked, "damaged": damaged},
                ensure_ascii=False,
            )
        )
    else:
        for row in damaged:
            print(row["reason"])
        print(f"{opened.root}: {checked} files checked, {len(damaged)} damaged")
    raise typer.Exit(1 if damaged else 0)


@store_app.command()
def export(
    store: Root = None,
    out: Annotated[
        Path, typer.Option(help="Folder to write (parquet and pickles: or a file name).")
    ] = Path("table"),
    format: Annotated[
        str,
        typer.Option(
            help="table: a data set folder for merc train; parquet: one file; sdt, mmgcn, "
            "cosmic: the pickle of that repository's loader."
        ),
    ] = "table",
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(
            help="Id, as ls shows it, of the features to take where the store holds several kinds; repeatable."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
    json: Json = False,
) -> None:
    """Write the whole store as a table data set (labels empty) or Parquet."""
    from pipeline.core.files import check_folder
    from pipeline.features.store_export import export as run

    try:
        check_folder(out.parent if out.suffix else out)
        corpus, notes = run(_open(store), out, format, fingerprint or [], overwrite)
    except (ValueError, OSError) as error:
        print(f"merc: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    told = {
        "out": str(out),
        "dialogues": len(corpus.dialogues),
        "widths": corpus.widths,
        "utterances": sum(len(dialogue.utterances) for dialogue in corpus.dialogues),
    }
    if json:
        print(json_lines.dumps(told | {"notes": notes}, ensure_ascii=False))
    else:
        for note in notes:
            print(note)
        print(f"{told['utterances']} utterances of {told['dialogues']} dialogues in {out}")


def _open(root: Path | None) -> Any:
    from pipeline.features.store import Store, default_store

    folder = root or default_store()
    if not folder.is_dir():
        print(
            f"merc: {folder}: no such store; make one with: merc extract VIDEOS --out {folder}",
            file=sys.stderr,
        )
        raise typer.Exit(2)
    return Store(folder)


def _show(store: Any, rows: list[dict[str, Any]]) -> None:
    """A line per medium and segmentation; features as present/utterances with the id of their extractor, told below."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    modalities = ("text", "audio", "visual")
    table = Table(title=Text(str(store.root)), title_justify="left")
    for name in ("medium", "name", "utterances from", *modalities):
        table.add_column(name, overflow="fold")
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        if "damaged" not in row:
            cell = cells.setdefault(
                (row["medium"], f"{row['segmentation']} {row['segmentation_id'][:6]}"), {}
            )
            cell.setdefault(row["modality"], []).append(
                f"{row['present']}/{row['utterances']} {row['extractor_id'][:6]}"
            )
    for (medium, source), cell in cells.items():
        table.add_row(
            medium[:8],
            Text(", ".join(store.names(medium))),
            Text(source),
            *("\n".join(cell.get(modality, [])) for modality in modalities),
        )
    console = Console(highlight=False)
    console.print(table)
    for name in sorted(
        {
            f"{row['extractor_id'][:6]}  {row['modality']}, {row['width']} wide: {row['extractor']}"
            for row in rows
            if "damaged" not in row
        }
    ):
        console.print(Text(name), soft_wrap=True)
    for row in rows:
        if "damaged" in row:
            console.print(Text(row["damaged"], style="red"), soft_wrap=True)


def _about(features: Any) -> dict[str, Any]:
    import numpy as np

    from pipeline.core.fingerprints import fingerprint_id

    extractor, source = features.fingerprint["extractor"], features.fingerprint["segmentation"]
    told = [
        f"{key}={value}"
        for key, value in sorted(extractor.get("options", {}).items())
        if isinstance(value, str) and len(value) < 20
    ]
    return {
        "modality": features.modality,
        "id": features.id,
        "fingerprint": features.fingerprint,
        "extractor": " ".join([extractor["extractor"], *told]),
        "extractor_id": fingerprint_id(extractor),
        "segmentation": source.get("kind", "?"),
        "segmentation_id": fingerprint_id(source),
        "utterances": len(features.utterances),
        "present": int((~np.isnan(features.vectors).all(1)).sum()),
        "width": int(features.vectors.shape[1]),
    }
