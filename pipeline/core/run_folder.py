"""The folder of a run: claimed before any work, so that runs resume and never overwrite another.

While a run is unfinished, its checkpoints lie in `OUT/.work`, with the run's identity in
`OUT/.work/settings.json`. `OUT/metrics.json`, written last, holds the identity of a finished run.
The identity is a checksum of everything that the result depends on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.claims import claimed
from pipeline.core.errors import UsageError
from pipeline.core.files import check_folder, write_text
from pipeline.core.schemas import Settings, read_json
from pipeline.core.temporary import make_temporary, remove_stale

__all__ = [
    "METRICS",
    "SETTINGS",
    "WORK",
    "begin_run",
    "check_run_folder",
    "claim_run",
    "copy_into",
    "end_run",
    "find_run",
]

METRICS = "metrics.json"
WORK = ".work"  # checkpoints of an unfinished run
SETTINGS = "settings.json"  # in WORK
DELETE = "delete it and train again, or name another folder with --out"


def check_run_folder(out: Path) -> None:
    """Raise UsageError if `out` holds something else than a run, or cannot be written.

    Needs no identity, so it can be called before the data are loaded.
    """
    if any((out / name).exists() for name in (METRICS, WORK)):
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise _not_a_run(out)
    check_folder(out)


def find_run(out: Path, identity: str) -> dict[str, Any] | None:
    """Return the metrics of this run if it is finished, None if it can begin or resume in `out`.

    Changes nothing but the checkpoints of a finished run, which it deletes.

    Raises:
        UsageError: `out` holds another run, the checkpoints of another run, or other files.
    """
    finished, work = out / METRICS, out / WORK
    if finished.exists():
        metrics: dict[str, Any] = read_json(finished, Settings, DELETE)
        if metrics.get("identity") != identity:
            raise UsageError(
                f"{out}: holds another run (other data or settings)",
                "name another folder with --out, or delete this one",
            )
        shutil.rmtree(work, ignore_errors=True)  # the run may have been killed before it did so
        return metrics
    if _identity_of(work) == identity:
        return None
    if any(work.glob("seed-*/*")):  # a run that failed at once has left nothing worth keeping
        raise UsageError(
            f"{out}: holds an unfinished run with other data or settings",
            "repeat its command to resume it, name another folder with --out, or delete this one",
        )
    if out.exists() and (not out.is_dir() or any(path.name != WORK for path in out.iterdir())):
        raise _not_a_run(out)
    return None


def begin_run(out: Path, identity: str) -> Path:
    """Mark `out` as the folder of this run; return its folder for checkpoints.

    Call `find_run` first: what another unfinished run has left is deleted.
    """
    work = out / WORK
    remove_stale([out, work, *work.glob("*/")])
    if _identity_of(work) != identity:
        shutil.rmtree(work, ignore_errors=True)
        write_text(work / SETTINGS, json.dumps({"identity": identity}))
    return work


@contextmanager
def claim_run(out: Path) -> Iterator[None]:
    """Keep other processes from training in `out` during the block; call `begin_run` first.

    Raises UsageError if one does so already. A claim ends with its process, however that ends.
    """
    with claimed(out / WORK, "training") as mine:
        if not mine:
            raise UsageError(
                f"{out}: another process is training in it",
                "wait until it has finished, or name another folder with --out",
            )
        yield


def end_run(out: Path) -> None:
    """Delete the checkpoints of a run whose metrics.json is written."""
    shutil.rmtree(out / WORK)


def copy_into(path: Path, target: Path) -> None:
    """Copy a file such that `target` is never half written."""
    handle, temporary = make_temporary(target.parent)
    os.close(handle)
    try:
        shutil.copyfile(path, temporary)
        shutil.copymode(path, temporary)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _identity_of(work: Path) -> str | None:
    """Return the identity of an unfinished run; None if there is none."""
    path = work / SETTINGS
    return read_json(path, Settings, DELETE).get("identity") if path.exists() else None


def _not_a_run(out: Path) -> UsageError:
    return UsageError(f"{out}: is not empty and holds no run", "name a new folder for --out")
