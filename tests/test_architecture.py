"""The rules of docs/architecture.md: imports between packages only point down."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator

import pytest
from support.paths import ROOT

LEVELS = [  # from the bottom to the top
    {"core"},
    {"media", "exports"},
    {"segmentation", "corpora"},
    {"features", "training"},
    {"agreement", "annotated_corpus", "labelling", "loading", "finetuning", "recipes", "reporting"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
ONLY_CLI = {"rich", "typer"}  # printing and arguments are its business


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield (importing package, imported module, place) of every import, lazy ones included."""
    folders = ("pipeline", "extractors", "css_model")
    for path in sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = parts[0] if parts[0] != "pipeline" else parts[1]
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            modules = []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
                if node.module == "pipeline":
                    modules = [f"pipeline.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                yield package, module, f"{path.relative_to(ROOT)}:{node.lineno}"


IMPORTS = list(imports())


def arrows() -> dict[tuple[str, str], str]:
    """(importing package, imported package) of pipeline -> one place where it happens."""
    between = {}
    for package, module, place in IMPORTS:
        names = module.split(".")
        if names[0] == "pipeline" and package in LEVEL and names[1] in LEVEL:
            between[package, names[1]] = place
    return {pair: place for pair, place in between.items() if pair[0] != pair[1]}


def test_every_package_has_a_level():
    present = {path.stem for path in (ROOT / "pipeline").iterdir() if path.suffix == ".py"}
    present |= {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert present - {"__init__"} == set(LEVEL)


def test_imports_point_down():
    up = {pair: at for pair, at in arrows().items() if LEVEL[pair[1]] >= LEVEL[pair[0]]}
    assert not up


def test_few_levels_and_arrows():
    assert len(LEVELS) <= 6
    assert len(arrows()) <= 60


@pytest.mark.parametrize(
    "package, forbidden",
    [
        (
            "training",
            {"pipeline.media", "pipeline.segmentation", "pipeline.features", "extractors"},
        ),
        ("core", {"torch", "transformers", "extractors", "css_model"}),
        ("css_model", {"pipeline", "extractors"}),
        ("extractors", {"css_model"}),
    ],
)
def test_packages_stay_apart(package, forbidden):
    def is_forbidden(module: str) -> bool:
        return any(module == name or module.startswith(f"{name}.") for name in forbidden)

    assert not [(m, at) for name, m, at in IMPORTS if name == package and is_forbidden(m)]


def test_extractors_import_nothing_of_pipeline_but_core():
    modules = {m for name, m, _ in IMPORTS if name == "extractors" and m.startswith("pipeline")}
    assert all(module.startswith("pipeline.core") for module in modules)


def test_only_the_command_line_imports_recipes():
    assert {importer for importer, imported in arrows() if imported == "recipes"} <= {"cli"}


def test_only_the_command_line_prints():
    drawing = [(m, at) for name, m, at in IMPORTS if name != "cli" and m.split(".")[0] in ONLY_CLI]
    assert not drawing
    for path in (ROOT / "pipeline").rglob("*.py"):
        if path.relative_to(ROOT).parts[1] == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}:{node.lineno}"


def test_names_of_packages_do_not_hide_the_standard_library():
    assert not set(LEVEL) & set(sys.stdlib_module_names)
