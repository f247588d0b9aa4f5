"""A short form of tests/fuzz.py."""

from __future__ import annotations

from fuzz import fuzz


def test_mutated_files_are_read_or_refused() -> None:
    findings = fuzz(count=120, seed=1, shared=None)
    assert findings.clean, findings.summary()
    assert findings.inputs == 120
