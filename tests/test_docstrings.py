"""The examples of all docstrings run, in a folder that holds a copy of examples/."""

from __future__ import annotations

import doctest
import pkgutil
import shutil
from importlib import import_module

import pytest
from support.paths import ROOT

PACKAGES = ("pipeline", "extractors", "css_model")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def module_names():
    for package in PACKAGES:
        path = import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            text = (ROOT / module.name.replace(".", "/")).with_suffix(".py")
            if text.exists() and ">>>" in text.read_text("utf-8"):
                yield module.name


@pytest.mark.parametrize("name", [*module_names(), "merc"])
def test_examples_of_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    module = import_module(name)
    names = {"merc": module} if name == "merc" else None
    report: list[str] = []
    attempted = 0
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name, extraglobs=names):
        result = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
        attempted += result.attempted
        assert not result.failed, "".join(report)
    assert attempted


def test_public_names_have_an_example():
    import css_model
    import extractors
    import merc

    names = ("CSS", "CSSConfig", "SynergisticPolynomialFusion", "ParetoGradientModulator")
    public = [getattr(css_model, name) for name in (*names, "min_norm_weights")]
    public += [extractors.TextExtractor, extractors.AudioExtractor]
    public += [value for name in merc.__all__ if callable(value := getattr(merc, name))]
    assert not [value for value in public if ">>>" not in (value.__doc__ or "")]
