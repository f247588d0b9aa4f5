"""`merc store`: list, verify, tidy and export extracted features."""

from __future__ import annotations

import atexit
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pipeline.cli.common import OUTPUT, Json, example, fail
from pipeline.cli.terminal import print_json, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.features.store import Features, Store

__all__ = ["store_app"]

store_app = typer.Typer(no_args_is_help=True, help="List, verify, tidy and export features.")

Root = Annotated[
    Path | None,
    typer.Argument(
        help="Folder of the store, or its URL. Default: $MERC_STORE, else ~/.cache/merc/store.",
        show_default=False,
    ),
]


@store_app.command(epilog=example("merc store ls store"))
def ls(store: Root = None, json: Json = False) -> None:
    """List the recordings of a store, their features and what made them."""
    from pipeline.features.store import DamagedError

    opened = _open(store)
    rows: list[dict[str, Any]] = []
    for recording in opened.recordings():
        for path in opened.files(recording):
            row = {
                "medium": recording,
                "names": opened.names(recording),
                "file": str(path.relative_to(opened.root)),
            }
            try:
                rows.append(row | _describe(opened.load(path)))
            except DamagedError as error:
                rows.append(row | {"damaged": _shown(opened, error)})
    if json:
        print_json({"store": _shown(opened, opened.root), "files": rows})
    else:
        _show(opened, rows)


@store_app.command(epilog=example("merc store stats store"))
def stats(store: Root = None, json: Json = False) -> None:
    """Count the recordings, features and bytes of a store, by extractor."""
    from pipeline.features.store_upkeep import stats as count

    opened = _open(store)
    try:
        content = count(opened)
    except (ValueError, OSError) as error:
        fail(error)
    if json:
        print_json({"store": _shown(opened, opened.root), **content})
    else:
        _show_stats(opened, content)


@store_app.command(epilog=example("merc store verify store", "merc store verify store --repair"))
def verify(
    store: Root = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Remove the damaged files; the next merc extract makes them again.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Check every file of a store; exit with code 1 if any is damaged."""
    from pipeline.core.counts import counted
    from pipeline.features.store_upkeep import repair as run_repair

    left: dict[str, int] = {}
    try:
        if repair:
            with _edited(store) as (opened, left):
                checked, faults = run_repair(opened)
        else:
            opened = _open(store)
            checked, faults = opened.verify()
    except (ValueError, OSError) as error:
        fail(error)
    damaged = [
        {"file": _shown(opened, path), "reason": _shown(opened, reason)} for path, reason in faults
    ]
    name = _shown(opened, opened.root)
    if json:
        content = {"store": name, "checked": checked, "damaged": damaged}
        print_json(content | {"repaired": repair, "left": list(left)})
    else:
        for row in damaged:
            print_line(row["reason"])
        removed = sum(path.relative_to(opened.root).as_posix() not in left for path, _ in faults)
        done = f"{removed} removed" if repair else f"{len(damaged)} damaged"
        print_line(f"{name}: {counted(checked, 'file')} checked, {done}")
    _end(left, failed=bool(damaged) and not repair)


@store_app.command(
    epilog=example("merc store gc store --dry-run", "merc store gc store --remove 3f9a1c")
)
def gc(
    store: Root = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            help="Id, as ls shows it, of an extractor, of features or of utterances: also remove "
            "what it made; repeatable.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be removed.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove what no extraction reads again: remains of killed runs, features without utterances.

    Do not run it while merc extract writes to the store.
    """
    from pipeline.core.counts import counted
    from pipeline.features.store_upkeep import collect_garbage

    try:
        with _edited(store) as (opened, left):
            paths, size = collect_garbage(opened, remove or [], dry_run)
    except (ValueError, OSError) as error:
        fail(error)
    name = _shown(opened, opened.root)
    unchanged = {opened.root / file: size for file, size in left.items()}
    files = [_shown(opened, path) for path in paths if path not in unchanged]
    size -= sum(unchanged.get(path, 0) for path in paths)
    if json:
        content = {"store": name, "removed": files, "bytes": size, "dry_run": dry_run}
        print_json(content | {"left": list(left)})
    else:
        for path in files:
            print_line(path)
        verb = "would be removed" if dry_run else "removed"
        print_line(f"{name}: {counted(len(files), 'file')}, {_size_text(size)} {verb}")
    _end(left)


@store_app.command(
    epilog=example(
        "merc store export store --format table --out table",
        "merc store export store --format parquet --out features.parquet",
    )
)
def export(
    store: Root = None,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder to write to; for parquet and pickles, a folder or a file name.",
            rich_help_panel=OUTPUT,
        ),
    ] = Path("table"),
    format: Annotated[
        str,
        typer.Option(
            help="table: a dataset folder for merc train; parquet: one file; sdt, mmgcn, "
            "cosmic, cfn-esa, m3net: the pickle that this repository's loader reads.",
            rich_help_panel=OUTPUT,
        ),
    ] = "table",
    fingerprint: Annotated[
        list[str] | None,
        typer.Option(
            help="Id, as ls shows it, of the features to export if the store holds several kinds; "
            "repeatable.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Split of every dialogue: train, valid or test. In a table, the column split can "
            "be edited.",
            rich_help_panel=OUTPUT,
        ),
    ] = "test",
    incomplete: Annotated[
        bool,
        typer.Option(
            "--incomplete",
            help="Also export recordings that lack features which others have.",
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace existing files.", rich_help_panel=OUTPUT),
    ] = False,
    json: Json = False,
) -> None:
    """Export a whole store as a table dataset (with empty labels) or in another format."""
    from pipeline.cli.export import WITHOUT_LABELS
    from pipeline.core.counts import counted
    from pipeline.core.files import check_folder
    from pipeline.corpora.published_writer import FORMATS as LAYOUTS
    from pipeline.features.store_export import IncompleteError
    from pipeline.features.store_export import export as run

    try:
        check_folder(out.parent if out.suffix else out)
        if format in LAYOUTS:  # a store has no labels
            print_line(f"! {WITHOUT_LABELS}", error=True)
        chosen = fingerprint or []
        corpus, notes = run(_open(store), out, format, chosen, overwrite, split, incomplete)
    except IncompleteError as error:
        fail(error, code=1)
    except (ValueError, OSError) as error:
        fail(error)
    utterances = sum(len(dialogue.utterances) for dialogue in corpus.dialogues)
    dialogues = len(corpus.dialogues)
    counts = f"{counted(utterances, 'utterance')} of {counted(dialogues, 'dialogue')}"
    if json:
        print_json(
            {
                "out": str(out),
                "dialogues": dialogues,
                "widths": corpus.widths,
                "utterances": utterances,
                "split": split,
                "notes": notes,
            }
        )
        return
    for note in notes:
        print_line(note)
    print_line(f"{counts} in {out}, all in the split {split}")


def _end(left: dict[str, int], failed: bool = False) -> NoReturn:
    """Say which files of a store at a URL were not removed, and exit."""
    for name in left:
        print_line(f"! {name}: its recording has changed meanwhile; left as it is", error=True)
    raise typer.Exit(1 if left or failed else 0)


_COPIES: dict[Path, str] = {}  # folder -> URL of the store that it is a copy of


def _shown(store: Store, text: object) -> str:
    """Name files by the URL of their store, and not by the copy of it."""
    url = _COPIES.get(store.root)
    return str(text).replace(str(store.root), url) if url else str(text)


@contextmanager
def _edited(root: Path | None) -> Iterator[tuple[Store, dict[str, int]]]:
    """Open a store to change it. Yield it, and the files that `edited_copy` has left."""
    from pipeline.core.remote import url_of
    from pipeline.features.remote_store import edited_copy
    from pipeline.features.store import default_store

    url = url_of(root or default_store())
    if not url:
        yield _open(root), {}
        return
    with edited_copy(url) as (folder, left):
        _COPIES[folder] = url
        yield _open(folder), left


def _open(root: Path | None) -> Store:
    """Open a store; of one at a URL, a local copy until this process ends."""
    from pipeline.core.remote import url_of
    from pipeline.features.remote_store import local_copy
    from pipeline.features.store import Store, default_store
    from pipeline.features.store_format import check_format

    folder = root or default_store()
    if url := url_of(folder):
        copies = ExitStack()
        atexit.register(copies.close)
        try:
            folder = copies.enter_context(local_copy(url))
        except (ValueError, OSError) as error:
            fail(error)
        _COPIES[folder] = url
    name = _COPIES.get(folder, str(folder))
    if not folder.is_dir():
        fail(f"{name}: no such store; make one with: merc extract VIDEOS --out {name}")
    store = Store(folder)
    if not store.is_store():
        fail(
            f"{name}: not a store, or an empty one; name the folder that merc extract wrote to "
            f"(by default {default_store()})"
        )
    try:
        check_format(folder)
    except ValueError as error:
        fail(_shown(store, error))
    return store


def _size_text(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} KB"


def _show_stats(store: Store, content: dict[str, Any]) -> None:
    from rich.table import Table

    from pipeline.cli.terminal import console as make_console
    from pipeline.cli.terminal import plain
    from pipeline.core.counts import counted

    table = Table(title=plain(_shown(store, store.root)), title_justify="left")
    for name in ("modality", "extractor", "id", "recordings", "features", "size"):
        table.add_column(name, overflow="fold")
    for name, row in content["extractors"].items():
        present = f"{row['features']} of {row['features'] + row['missing']}"
        cells = [row["modality"], row["extractor"], name[:6], row["recordings"], present]
        cells.append(_size_text(row["bytes"]))
        table.add_row(*(plain(cell) for cell in cells))
    make_console().print(table)
    counts = [
        counted(content["recordings"], "recording"),
        counted(content["utterances"], "utterance"),
        counted(content["files"], "file"),
        _size_text(content["bytes"]),
        f"format {content['format']}",
    ]
    if content["damaged"]:
        counts.append(f"{content['damaged']} damaged (see merc store verify)")
    print_line(", ".join(counts))


def _describe(features: Features) -> dict[str, Any]:
    import numpy as np

    from pipeline.core.fingerprints import fingerprint_id

    extractor, source = features.fingerprint["extractor"], features.fingerprint["segmentation"]
    options = []
    for name, value in sorted(extractor.get("options", {}).items()):
        if isinstance(value, str) and len(value) < 20:
            options.append(f"{name}={value}")
    return {
        "modality": features.modality,
        "id": features.id,
        "fingerprint": features.fingerprint,
        "extractor": " ".join([extractor["extractor"], *options]),
        "extractor_id": fingerprint_id(extractor),
        "segmentation": source.get("kind", "?"),
        "segmentation_id": fingerprint_id(source),
        "utterances": len(features.utterances),
        "present": int((~np.isnan(features.vectors).all(1)).sum()),
        "width": int(features.vectors.shape[1]),
    }


def _show(store: Store, rows: list[dict[str, Any]]) -> None:
    """Print one line per recording and segmentation, then a legend of the extractors.

    A cell holds present/utterances and the id of the extractor.
    """
    from rich.table import Table

    from pipeline.cli.terminal import console as make_console
    from pipeline.cli.terminal import plain
    from pipeline.core.dialogue import MODALITIES

    damaged = [row["damaged"] for row in rows if "damaged" in row]
    intact = [row for row in rows if "damaged" not in row]
    cells: dict[tuple[str, str], dict[str, list[str]]] = {}
    legend = set()
    for row in intact:
        extractor = row["extractor_id"][:6]
        source = f"{row['segmentation']} {row['segmentation_id'][:6]}"
        cell = cells.setdefault((row["medium"], source), {})
        counts = f"{row['present']}/{row['utterances']} {extractor}"
        cell.setdefault(row["modality"], []).append(counts)
        width = f"{row['modality']}, {row['width']} wide"
        legend.add(f"{extractor}  {width}: {row['extractor']}")
    table = Table(title=plain(_shown(store, store.root)), title_justify="left")
    for name in ("recording", "name", "utterances from", *MODALITIES):
        table.add_column(name, overflow="fold")
    for (recording, source), cell in cells.items():
        features = ["\n".join(cell.get(modality, [])) for modality in MODALITIES]
        names = plain(", ".join(store.names(recording)))
        table.add_row(recording[:8], names, plain(source), *features)
    console = make_console()
    console.print(table)
    for line in sorted(legend):
        console.print(plain(line), soft_wrap=True)
    for line in damaged:
        console.print(plain(line, style="red"), soft_wrap=True)
