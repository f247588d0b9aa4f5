"""Errors of the operating system in words, with what to do about them."""

from __future__ import annotations

import errno
from pathlib import Path

from pipeline.core.errors import MercError

__all__ = ["WriteError", "cause_of", "os_error"]

_FULL = "free space on that disk, or name a folder on another one with --out"
_OTHER_FOLDER = "name another folder with --out"
_PERMISSION = "change its permissions, or run merc as a user who has them"
_WORDS = {  # code -> what is wrong, what to do if a file was to be written
    errno.EACCES: ("no permission", f"change the permissions, or {_OTHER_FOLDER}"),
    errno.EPERM: ("no permission", f"change the permissions, or {_OTHER_FOLDER}"),
    errno.EROFS: ("the disk is read-only", _OTHER_FOLDER),
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk quota is used up", _FULL),
    errno.EFBIG: ("the file is too large for that disk", _FULL),
    errno.ENOENT: ("no such file or folder", _OTHER_FOLDER),
    errno.ENOTDIR: ("part of the path is a file, not a folder", _OTHER_FOLDER),
    errno.EEXIST: ("a file is in the way", _OTHER_FOLDER),
    errno.EISDIR: ("a folder is in the way", "move that folder, or name another one with --out"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter name"),
    errno.EINVAL: ("that disk does not allow such a name", _OTHER_FOLDER),
    errno.EIO: ("the disk reports an error", "check the disk, or name a folder on another one"),
    errno.EMFILE: ("too many open files", "lower --jobs, or raise the limit: ulimit -n"),
    errno.ENFILE: ("too many open files", "close other programs, or lower --jobs"),
}
_READ = {errno.EISDIR: "it is a folder, not a file"}
_REMEDY_TO_READ = {
    errno.ENOENT: "check the path",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EISDIR: "name a file",
    errno.EIO: "check the disk, or copy the file again",
}


class WriteError(MercError, OSError):
    """A file could not be written: which one, why, and what to do.

    >>> print(WriteError(Path("out/a.csv"), OSError(errno.ENOSPC, "No space left on device")))
    out/a.csv: cannot be written: the disk is full; free space on that disk, or name a folder \
on another one with --out
    """

    def __init__(self, path: Path, error: OSError) -> None:
        remedy = _WORDS.get(error.errno or 0, ("", _OTHER_FOLDER))[1]
        MercError.__init__(self, f"{path}: cannot be written: {cause_of(error)}", remedy)
        self.path, self.errno, self.strerror = path, error.errno, error.strerror

    def __reduce__(self) -> tuple[type[WriteError], tuple[Path, OSError]]:
        return WriteError, (self.path, OSError(self.errno, self.strerror))


def cause_of(error: OSError) -> str:
    """Say why the operating system refused, without its number and Python's quotes.

    >>> cause_of(PermissionError(errno.EACCES, "Permission denied", "a.csv"))
    'no permission'
    """
    words = _WORDS.get(error.errno or 0, ("", ""))[0]
    text = words or error.strerror or str(error) or type(error).__name__
    return text if words else text[:1].lower() + text[1:]


def os_error(error: OSError) -> MercError:
    """Turn an error of the operating system, most likely of reading a file, into a MercError.

    >>> print(os_error(FileNotFoundError(errno.ENOENT, "No such file or directory", "a.csv")))
    a.csv: no such file or folder; check the path
    """
    if isinstance(error, MercError):
        return error
    subject = f"{error.filename}: " if isinstance(error.filename, (str, Path)) else ""
    code = error.errno or 0
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE):
        return MercError(f"{subject}{cause_of(error)}", _WORDS[code][1])
    cause = _READ.get(code) or cause_of(error)
    return MercError(f"{subject}{cause}", _REMEDY_TO_READ.get(code, "check the path and the disk"))
