"""The version of a store's layout, and how older stores are brought up to date.

    <root>/merc-store.json      {"format": 2}

Format 1 has no such file. It kept all names of a recording in one file, names.json, in which two
processes that write at the same time lose a name. Since format 2 each name has its own file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.core.errors import MercError
from pipeline.core.files import write_text

if TYPE_CHECKING:
    from pipeline.features.store import Store

__all__ = ["FORMAT", "FORMAT_FILE", "check_format", "migrate"]

FORMAT = 2
FORMAT_FILE = "merc-store.json"


def check_format(root: Path) -> int:
    """Return the format of a store; that of this merc for a folder that is none yet.

    Raises MercError for a format that this merc does not know.
    """
    path = root / FORMAT_FILE
    try:
        version = json.loads(path.read_text("utf-8"))["format"]
    except FileNotFoundError:
        return 1 if any(root.glob("[0-9a-f][0-9a-f]")) else FORMAT
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MercError(
            f"{path}: damaged ({error})", "delete it: merc extract then writes it again"
        ) from error
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise MercError(
            f"{root}: a store of format {version}; this merc knows formats 1 to {FORMAT}",
            "install a newer merc, or name another store",
        )
    return version


def migrate(store: Store) -> int:
    """Bring a store to the current format; return how many recordings were changed.

    A killed migration is continued by the next one, and several processes may migrate at once:
    each step writes the same bytes or removes what is no longer needed.

    Raises MercError for an unknown format, or if the store cannot be written.
    """
    version = check_format(store.root)
    path = store.root / FORMAT_FILE
    if version == FORMAT and path.exists():
        return 0
    changed = 0
    for recording in store.recordings() if version < FORMAT else ():
        changed += store.split_names(recording)
    write_text(path, json.dumps({"format": FORMAT}) + "\n")
    return changed
