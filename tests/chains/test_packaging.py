"""What a stranger gets: light help, and a wheel with weights and settings but no tests."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.imports import run_alone
from support.paths import ROOT


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["label"],
        ["extract"],
        ["train"],
        ["evaluate"],
        ["doctor"],
        ["pretrain", "visual"],
        ["store", "ls"],
        ["store", "export"],
        ["compare"],
        ["ablate"],
        ["import"],
        ["ship"],
    ],
)
def test_help_imports_nothing_heavy(arguments):
    lines, modules = run_alone(
        "import sys\nfrom pipeline.cli.app import app\n"
        f"sys.argv = ['merc', *{arguments!r}, '--help']\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    assert not {"torch", "numpy", "pandas", "transformers", "av", "cv2", "sklearn"} & modules
    assert any("Usage" in line for line in lines)


def test_wheel_holds_weights_and_settings_but_no_tests(tmp_path):
    tree = tmp_path / "tree"  # setuptools builds in place: a copy keeps the checkout clean
    shutil.copytree(
        ROOT, tree, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "runs", "store")
    )
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            tmp_path,
            tree,
        ],
        check=True,
    )
    names = zipfile.ZipFile(next(tmp_path.glob("merc-*.whl"))).namelist()
    for wanted in (
        "extractors/weights/face.safetensors",
        "extractors/weights/talking.safetensors",
        "css_model/weights/merc-offline.safetensors",
        "configs/iemocap.yaml",
        "configs/meld.yaml",
        "pipeline/corpora/splits.json",
    ):
        assert wanted in names
    assert any(name.endswith("LICENSE-WEIGHTS.md") for name in names)
    assert not [name for name in names if name.startswith(("tests", "examples", "benchmarks"))]
    assert not [name for name in names if Path(name).name.startswith("test_")]
    # every module and every graph that the tree has
    files = {
        str(path.relative_to(ROOT))
        for package in ("pipeline", "extractors", "css_model")
        for kind in ("*.py", "*.onnx")
        for path in (ROOT / package).rglob(kind)
    }
    assert files <= set(names)
