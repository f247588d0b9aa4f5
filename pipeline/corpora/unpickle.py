"""Read untrusted pickles without executing them.

A pickle is a program. This reader knows the instructions that build data, and six constructors:
`set`, `frozenset`, `_codecs.encode` (how Python 3 writes bytes for Python 2), and numpy's
`_reconstruct`, `scalar`, `ndarray` and `dtype`. The constructors are stand-ins: numpy itself sees
only arrays whose claims have been checked. Everything else is refused and named. Memory is bounded
by the size of the file, so that ten bytes cannot ask for a gigabyte.

It is built on the standard library's unpickler in Python (as joblib's is): the one in C allocates
whatever a file claims.
"""

from __future__ import annotations

import math
import mmap
import pickle
import re
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipeline.core.errors import MercError

__all__ = ["PickleRefused", "load"]

# bool, integers, floats and text; never objects
PLAIN = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f[248]|[SU][1-9]\d{0,4})")
MARKS = 64  # deepest nesting; published files nest about 8 deep
OBJECT = 64  # bytes, about what an empty list or dict or a small tuple needs
ALLOWANCE = 16  # bytes of memory per byte of file; real feature files need 1 to 4
NAMES = {
    code[0]: name
    for name, code in vars(pickle).items()
    if isinstance(code, bytes) and len(code) == 1
}
REFUSED = (
    *("PERSID", "BINPERSID", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"),
    *("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER"),
)
COSTS = {  # instructions that make containers from nothing -> bytes
    "EMPTY_SET": 4 * OBJECT,
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_DICT", "LIST", "TUPLE1", "TUPLE2", "TUPLE3"), OBJECT),
}
FOREIGN = {  # first bytes -> what the file is, what to do
    b"\x1f\x8b": ("gzip-compressed", "unpack it first (gunzip)"),
    b"PK\x03\x04": (
        "a ZIP archive or a PyTorch file",
        "unpack an archive first; PyTorch files are not supported",
    ),
    b"\x89HDF": ("an HDF5 file, not a pickle", "convert it to a table"),
    b"\x93NUMPY": ("a NumPy .npy file, not a pickle", "use it in a table"),
    b"version https://git-lfs": ("a Git LFS pointer", "fetch the file itself with `git lfs pull`"),
    b"<": (
        "a web page, not the file",
        "download it again; that may need a browser or a confirmation",
    ),
}
AGAIN = "download the file again"
DAMAGED = (
    pickle.UnpicklingError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    AssertionError,
    RecursionError,
)


class PickleRefused(MercError):
    """The file is not a pickle, is damaged, or asks for more than data."""


def load(path: Path) -> Any:
    """Read a pickle of containers, text, numbers, and numpy arrays of plain numbers or text.

    Text of Python 2 is read as latin-1.

    Raises PickleRefused naming the file and what was wrong, or OSError.

    >>> Path("x.pkl").write_bytes(pickle.dumps({"a": [1, 2]})) > 0
    True
    >>> load(Path("x.pkl"))
    {'a': [1, 2]}
    """
    with open(path, "rb") as file:
        head = file.read(24)
        if not head:
            raise PickleRefused(f"{path}: empty file", AGAIN)
        for magic, (kind, remedy) in FOREIGN.items():
            if head.startswith(magic):
                raise PickleRefused(f"{path}: {kind}", remedy)
        # mapped: a claim beyond the end of the file reads what is there and allocates no more
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _Unpickler(content, len(content)).load()
            except PickleRefused as error:
                remedy = error.remedy or "download it again from a source that you trust"
                raise PickleRefused(f"{path}: refused: {error.reason}", remedy) from None
            except (EOFError, struct.error):
                reason = f"{path}: the file was cut short: it ends before its pickle does"
                raise PickleRefused(reason, AGAIN) from None
            except DAMAGED as error:
                raise PickleRefused(f"{path}: not a pickle, or a damaged one", AGAIN) from error


class _Constructor:
    """A callable that a pickle may name. It has no `__dict__`, so a pickle cannot change it."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[..., Any]) -> None:
        self.name, self.make = name, make


class _Dtype:
    """Stands for `numpy.dtype` before numpy sees it.

    code: such as f4. The byte order is set by a second instruction.
    """

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, ""

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code.lstrip("<>|="))


_Base: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _Unpickler(_Base):
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(_Base.dispatch)

    def __init__(self, content: mmap.mmap, size: int) -> None:
        super().__init__(content, encoding="latin1")
        self.content = content
        self.left = ALLOWANCE * size + 2**20
        array = _Constructor("numpy.ndarray", _no_call)
        self.ndarray = array
        known: dict[str, Callable[..., Any]] = {
            "builtins.set": lambda items=(): set(self.members(items)),
            "builtins.frozenset": lambda items=(): frozenset(self.members(items)),
            "_codecs.encode": self.encode,
            "numpy.dtype": _dtype,
            "numpy.core.multiarray._reconstruct": self.reconstruct,
            "numpy.core.multiarray.scalar": self.scalar,
        }
        self.known = {name: _Constructor(name, make) for name, make in known.items()} | {
            "numpy.ndarray": array
        }

    def find_class(self, module: str, name: str) -> _Constructor:
        full = f"{module}.{name}"
        current = re.sub(r"^numpy\._core\.", "numpy.core.", full)
        current = re.sub(r"^__builtin__\.", "builtins.", current)
        if current not in self.known:
            # protocol 5 puts arrays into buffers
            remedy = "write the file with pickle protocol 4" if name == "_frombuffer" else ""
            raise PickleRefused(f"it asks for {full[:200]!r}, which is not data", remedy)
        return self.known[current]

    def spend(self, size: int) -> None:
        """Charge bytes of memory to the allowance of the file."""
        self.left -= size
        if self.left < 0:
            raise PickleRefused("it expands to far more than its own size")

    # ---- constructors

    def members(self, items: Any) -> Any:
        if not isinstance(items, (list, tuple, set, frozenset)):
            raise PickleRefused(f"a set of a {type(items).__name__}")
        self.spend(OBJECT // 2 * len(items))
        return _keys(items)

    def encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise PickleRefused(f"_codecs.encode to {str(encoding)[:40]!r}; only latin1 is data")
        self.spend(len(text))
        return text.encode("latin1")

    def reconstruct(self, kind: Any, shape: Any, code: Any) -> np.ndarray:
        if kind is not self.ndarray or shape != (0,) or code not in (b"b", "b"):
            raise PickleRefused(
                "numpy's _reconstruct with anything but an empty array to be filled"
            )
        self.spend(OBJECT)
        return np.ndarray((0,), "b")

    def scalar(self, dtype: Any, raw: Any = b"") -> Any:
        kind, content = self.elements(dtype, (1,), raw)
        return np.frombuffer(content, kind)[0]

    def elements(self, dtype: Any, shape: Any, raw: Any) -> tuple[np.dtype[Any], bytes]:
        """Return the dtype and as many bytes as the shape claims; only these reach numpy.

        Nothing is allocated before they agree.
        """
        if not isinstance(dtype, _Dtype):
            raise PickleRefused("a numpy array without a dtype")
        valid = isinstance(shape, tuple) and len(shape) <= 8
        if not valid or any(type(n) is not int or n < 0 for n in shape):
            raise PickleRefused("a numpy array without a shape")
        if isinstance(raw, str):  # bytes of Python 2
            self.spend(len(raw))
            raw = raw.encode("latin1")
        if not isinstance(raw, bytes):
            raise PickleRefused(f"a numpy array made of a {type(raw).__name__}")
        kind = dtype.numpy()
        if not math.prod(shape) and any(shape[:1]):
            raise PickleRefused(f"a numpy array that claims {shape[0]} rows in zero bytes")
        if math.prod(shape) * kind.itemsize != len(raw):
            elements = math.prod(shape)
            raise PickleRefused(
                f"a numpy array that claims {elements} elements but holds {len(raw)} bytes"
            )
        self.spend(len(raw))
        return kind, raw

    # ---- instructions that the standard library trusts too much

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, _Constructor) or not isinstance(arguments, tuple):
            raise PickleRefused(f"it calls a {type(function).__name__}")
        self.stack[-1] = function.make(*arguments)

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, _Dtype):
            # (version, byte order, None, None, None, ...): anything else in place of the three
            # makes a record or an array of arrays
            plain = isinstance(state, tuple) and state[2:5] == (None, None, None)
            if not plain or state[1] not in ("<", ">", "|", "="):
                raise PickleRefused("a numpy dtype that is not a plain number or text")
            target.order = state[1]
        elif type(target) is np.ndarray:
            _, shape, dtype, fortran, raw = state
            kind, content = self.elements(dtype, shape, raw)
            checked: Any = (1, shape, kind, bool(fortran), content)
            target.__setstate__(checked)
        else:
            raise PickleRefused(f"it changes a {type(target).__name__}")

    def load_frame(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        if size > self.content.size() - self.content.tell():
            raise EOFError
        self._unframer.load_frame(size)

    def load_mark(self) -> None:
        if len(self.metastack) >= MARKS:
            raise PickleRefused(f"it nests more than {MARKS} deep")
        super().load_mark()

    def load_setitem(self) -> None:
        self.fill(self.stack[-3], [self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self.fill(self.stack[-1], items)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.spend(OBJECT)
        self.append(self.fill({}, items))

    def fill(self, target: Any, items: list[Any]) -> dict[Any, Any]:
        if type(target) is not dict:
            raise PickleRefused(f"it writes entries into a {type(target).__name__}")
        target.update(zip(_keys(items[::2]), items[1::2], strict=True))
        return target

    def load_appends(self) -> None:
        items = self.pop_mark()
        self.extend(items)

    def load_append(self) -> None:
        item = self.stack.pop()
        self.extend([item])

    def extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleRefused(f"it appends to a {type(self.stack[-1]).__name__}")
        self.stack[-1].extend(items)

    def load_additems(self) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise PickleRefused(f"it adds to a {type(self.stack[-1]).__name__}")
        self.stack[-1].update(_keys(items))

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(frozenset(self.members(items)))

    def load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("latin1") for _ in range(2))
        self.find_class(module, name)
        self.refuse("INST")

    def refuse(self, name: str) -> None:
        raise PickleRefused(f"its instruction {name} builds objects, which are not data")


def _no_call(*_: Any) -> None:
    raise PickleRefused("it calls numpy.ndarray, which would allocate what the file claims")


def _dtype(code: Any, align: Any = False, copy: Any = False) -> _Dtype:
    if not isinstance(code, str) or not PLAIN.fullmatch(code):
        raise PickleRefused(f"numpy dtype {str(code)[:40]!r}, which is not a plain number or text")
    return _Dtype(code)


def _keys(items: Iterable[Any]) -> Iterable[Any]:
    """Yield keys, which must be text or numbers.

    Hashing nested tuples can exhaust the stack of the interpreter.
    """
    for item in items:
        huge = isinstance(item, int) and abs(item) >= 2**63
        if huge or not isinstance(item, (str, bytes, int, np.integer)):
            raise PickleRefused(f"a key that is a {type(item).__name__}")
        yield item


def _charged(cost: int, original: Callable[[Any], None]) -> Callable[[Any], None]:
    def instruction(self: _Unpickler) -> None:
        self.spend(cost)
        original(self)

    return instruction


def _forbidden(name: str) -> Callable[[Any], None]:
    return lambda self: self.refuse(name)


def _fill_dispatch() -> None:
    """Fill the table of instructions with this reader's methods, refusals and charges."""
    dispatch = _Unpickler.dispatch
    codes = {name: code for code, name in NAMES.items()}
    for code, original in list(dispatch.items()):
        dispatch[code] = getattr(_Unpickler, original.__name__)
    for name in REFUSED:
        if name != "INST":
            dispatch[codes[name]] = _forbidden(name)
    for name, cost in COSTS.items():
        dispatch[codes[name]] = _charged(cost, dispatch[codes[name]])


_fill_dispatch()
