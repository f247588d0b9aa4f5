"""The restricted unpickler: data comes back equal; everything else is refused and does nothing."""

from __future__ import annotations

import os
import pickle
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import published_files

from pipeline.core.errors import MercError
from pipeline.corpora.published import read_published
from pipeline.corpora.unpickle import PickleRefused, load

GIGA = b"J\x00\xca\x9a\x3b"  # BININT 10**9
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(min_size=1, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.sets(st.integers(-(2**60), 2**60))
        | st.frozensets(st.text())
    ),
    max_leaves=20,
)
ARRAYS = [
    np.arange(6, dtype=kind).reshape(2, 3) for kind in ("f4", "f8", "f2", "i8", "u1", "i2", ">f4")
]
ARRAYS += [
    np.asfortranarray(ARRAYS[0]),
    np.array([True, False]),
    np.array(["M", "F"]),
    np.array(2.5),
]


class Call:
    """Pickles as a call of `function`; never unpickled with pickle here."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def put(tmp_path, raw):
    path = tmp_path / "file.pkl"
    path.write_bytes(raw)
    return path


@given(value=PLAIN, protocol=st.integers(0, 4))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_containers_come_back_equal(tmp_path, value, protocol):
    assert load(put(tmp_path, pickle.dumps(value, protocol))) == value


@pytest.mark.parametrize("protocol", range(5))
def test_arrays_and_scalars_come_back_equal(tmp_path, protocol):
    shared = np.arange(3.0)
    back = load(
        put(
            tmp_path,
            pickle.dumps([*ARRAYS, np.float32(1.5), np.str_("x"), shared, shared], protocol),
        )
    )
    for actual, expected in zip(
        back, [*ARRAYS, np.float32(1.5), np.str_("x"), shared, shared], strict=True
    ):
        assert np.array_equal(actual, expected) and np.shape(actual) == np.shape(expected)
    assert back[-1] is back[-2]
    assert all(type(item) is np.ndarray for item in back[: len(ARRAYS)])


def test_text_of_python_2_is_latin_1(tmp_path):
    assert load(put(tmp_path, b"\x80\x02U\x04caf\xe9.")) == "café"
    raw = np.array([1.5, -2.0], "<f4").tobytes()
    python2 = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nU" + bytes([len(raw)]) + raw + b"tb."
    )
    assert load(put(tmp_path, python2)).tolist() == [1.5, -2.0]


HOSTILE = {
    "os.system": (lambda canary: pickle.dumps(Call(os.system, f"touch {canary}")), "system"),
    "eval": (lambda canary: pickle.dumps(Call(eval, f"open({str(canary)!r}, 'w')"), 2), "eval"),
    "exec by hand": (lambda canary: b"c__builtin__\nexec\n(S'1'\ntR.", "exec"),
    "getattr": (lambda canary: pickle.dumps(Call(getattr, [], "append")), "getattr"),
    "INST": (lambda canary: b"(S'true'\nios\nsystem\n.", "os.system"),
    "OBJ": (lambda canary: b"(c__builtin__\nset\no.", "OBJ"),
    "numpy's loader": (lambda canary: b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
    "numpy's testing": (
        lambda canary: b"cnumpy.testing._private.utils\nrunstring\n(S'1'\n}tR.",
        "runstring",
    ),
    "a method by dots": (
        lambda canary: b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__new__.x\x93.",
        "ndarray.__new__",
    ),
    "object array": (
        lambda canary: pickle.dumps(np.array([Call(os.system, f"touch {canary}")], object)),
        "'O8'",
    ),
    "object array, plain": (lambda canary: pickle.dumps(np.array([{}], object)), "'O8'"),
    "record array": (lambda canary: pickle.dumps(np.zeros(2, [("a", "f4")])), "V4"),
    "other encodings": (
        lambda canary: b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x04\x00\x00\x00zliptR.",
        "latin1",
    ),
    "changing a constructor": (lambda canary: b"c_codecs\nencode\n}S'make'\nI1\nsb.", "changes"),
    "calling a list": (lambda canary: b"](I1\ntR.", "calls a list"),
    "protocol 5 array": (lambda canary: pickle.dumps(np.zeros(3), 5), "protocol 4"),
    "persistent id": (lambda canary: b"Pabc\n.", "PERSID"),
    "extension": (lambda canary: b"\x80\x02\x82\x01.", "EXT1"),
    "tuple keys": (lambda canary: pickle.dumps({(1, 2): 3}), "key"),
    "huge integer keys": (lambda canary: pickle.dumps({2**61 * k: 0 for k in range(3, 9)}), "key"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_programs_are_refused_by_name_and_do_nothing(tmp_path, name):
    canary = tmp_path / "canary"
    make, message = HOSTILE[name]
    with pytest.raises(PickleRefused, match=r"file\.pkl") as refused:
        load(put(tmp_path, make(canary)))
    assert message in str(refused.value)
    assert not canary.exists()


def laughs(levels):
    """Nest ten references to ten references to …: 10**levels leaves in a few bytes."""
    value = [0.0] * 10
    for _ in range(levels):
        value = [value] * 10
    return value


BOMBS = {
    "array of 10^9": pickle.dumps(np.zeros(3), 4).replace(b"K\x03\x85", GIGA + b"\x85"),
    "scalar array of 10^9": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
    + GIGA
    + b"tS'b'\ntR.",
    "ndarray called": b"cnumpy\nndarray\n(" + GIGA + b"tR.",
    "ndarray by NEWOBJ": b"\x80\x02cnumpy\nndarray\n" + GIGA + b"\x85\x85\x81.",
    "text of 10^9 in a dtype": b"cnumpy\ndtype\n(X\x0b\x00\x00\x00U1000000000I0\nI1\ntR.",
    "BINBYTES": b"\x80\x03B\xff\xff\xff\xffx.",
    "BINBYTES8": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x.",
    "BYTEARRAY8": b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",
    "BINUNICODE8": b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"x.",
    "LONG4": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "FRAME": b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"N.",
    "deep lists": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "deep tuples": b"\x80\x02N" + b"\x85" * 200_000 + b".",
    "deep marks": b"(" * 100_000 + b"t" * 100_000 + b".",
    "deep key": b"\x80\x02}N" + b"\x85" * 10_000 + b"Ns.",
    "a million sets": b"\x80\x04(" + b"\x8f" * 1_000_000 + b"t.",
    "one list, a set of it again and again": pickle.dumps(list(range(10_000)), 2)[:-1]
    + b"q\xff"
    + b"c__builtin__\nset\nq\xfe0"
    + b"h\xfeh\xff\x85R0" * 20_000
    + b".",
    "one text, its bytes again and again": b"X"
    + (100_000).to_bytes(4, "little")
    + b"a" * 100_000
    + b"q\x00"
    + b"c_codecs\nencode\nq\x010"
    + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R0" * 20_000
    + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_cost_memory(tmp_path, name):
    path = put(tmp_path, BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(PickleRefused, match=r"file\.pkl"):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26 + 30 * len(BOMBS[name])
    finally:
        tracemalloc.stop()


def test_a_huge_memo_number_is_a_number(tmp_path):
    path = put(
        tmp_path, b"\x80\x02Nr\xff\xff\xff\x7f."
    )  # the standard unpickler in C fills 32 GB here
    tracemalloc.start()
    assert load(path) is None
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_references_to_references_stay_references(tmp_path):
    value = load(put(tmp_path, pickle.dumps(laughs(40))))
    assert len(value) == 10 and value[0] is value[9]


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", "empty"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04abc", "ZIP"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "LFS"),
        (b"hello", "not a pickle"),
        (b"\x80\x04", "cut short"),
        (b"\x80\xff.", "damaged"),
        (b"N", "cut short"),
        (b"\x80\x04\x95\x10\x00", "cut short"),
        (b".", "damaged"),
        (b"0.", "damaged"),
        (b"h\x05.", "damaged"),
    ],
)
def test_other_files_are_named(tmp_path, raw, message):
    with pytest.raises(PickleRefused, match=r"file\.pkl") as refused:
        load(put(tmp_path, raw))
    assert message in str(refused.value)


@given(data=st.data(), protocol=st.integers(0, 4))
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_is_refused_or_harmless(tmp_path, data, protocol):
    raw = bytearray(
        pickle.dumps(
            ({"a": [np.arange(4.0)], 7: {1, 2}}, frozenset("xy"), ["é", 1.5, None]), protocol
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=5))
    try:
        load(put(tmp_path, bytes(raw)))
    except PickleRefused:
        pass


def read_seconds(path):
    began = time.process_time()
    with pytest.raises(MercError):
        read_published(path)
    return time.process_time() - began


@pytest.mark.parametrize("kind", ["repeated ids", "wide text", "many splits"])
def test_time_is_linear(tmp_path, kind):
    """Twice the input takes about twice the time."""
    seconds = []
    for size in (100_000, 200_000):
        values = published_files.content("mmgcn9")
        if kind == "repeated ids":
            values["train"] = [f"d{k}" for k in range(size)] + [f"d{size - 1}"]
        elif kind == "wide text":
            values["sentences"] = {name: ["x" * size * 20] for name in values["labels"]}
        else:
            values["test"] = [f"d{k}" for k in range(size)]
        path = published_files.write(values, tmp_path / f"{size}.pkl")
        seconds.append(min(read_seconds(path) for _ in range(3)))
    assert seconds[1] < 3 * seconds[0] + 0.2


def test_hostile_files_take_no_time(shared):
    for name in ("pkl_dup_ids.pkl", "pkl_train_U0.pkl"):
        assert read_seconds(shared / "cases" / "hostile" / name) < 5


@pytest.mark.parametrize("protocol", (3, 4))
def test_an_array_that_claims_rows_in_zero_bytes_is_refused(tmp_path, protocol):
    for array in (np.zeros((7, 0)), np.array(["a", "b"])):
        raw = pickle.dumps(array, protocol).replace(b"U1", b"U0")
        with pytest.raises(PickleRefused):
            load(put(tmp_path, raw))
    assert load(put(tmp_path, pickle.dumps(np.zeros((0, 7)), protocol))).shape == (0, 7)
