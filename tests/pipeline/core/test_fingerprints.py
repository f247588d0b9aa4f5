"""Fingerprints and checksums. They name the files of existing stores, so they must not change."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.fingerprints import (
    canonical_json,
    checksum,
    fingerprint_id,
    option_of,
    profile_of,
    sha256_of,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_sha256_of_one_file_and_of_several(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"abc")
    two.write_bytes(b"")
    digests = [hashlib.sha256(data).digest() for data in (b"abc", b"")]
    assert sha256_of(one) == digests[0].hex()
    assert sha256_of(one, two) == hashlib.sha256(digests[0] + digests[1]).hexdigest()
    assert sha256_of(one, two) != sha256_of(two, one)


def test_ids_do_not_change():
    fingerprint = {"extractor": "x", "version": "1", "options": {"b": [1, None], "a": "é"}}
    assert fingerprint_id(fingerprint) == "b06058e2f04b7cb1"
    assert checksum({"a": 1}, b"data") == hashlib.sha256(b'{"a":1}\0data').hexdigest()


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_the_order_of_keys_does_not_matter(content):
    swapped = dict(reversed(content.items()))
    assert fingerprint_id(swapped) == fingerprint_id(content)
    assert len(fingerprint_id(content)) == 16
    assert json.loads(canonical_json(content)) == content


@given(json_values, json_values)
def test_different_contents_have_different_checksums(one, two):
    assert (canonical_json(one) == canonical_json(two)) == (checksum(one) == checksum(two))


def test_content_that_is_not_json_is_refused():
    with pytest.raises(ValueError):
        fingerprint_id({"margin": float("nan")})
    assert len(checksum({"file": "\udcff"})) == 64  # a file name that is not UTF-8


def test_options_and_profile():
    packaged = {"text": {"options": {"name": "minilm-emotion"}}, "audio": {}}
    assert option_of(packaged, "text", "name") == "minilm-emotion"
    for fingerprints, modality in ((packaged, "audio"), (packaged, "visual"), (None, "text")):
        assert option_of(fingerprints, modality, "name") is None
    assert profile_of(packaged) == "offline"
    assert profile_of({"text": {"options": {"name": "roberta-large"}}}) == "roberta"
    assert profile_of(None) == "roberta"
