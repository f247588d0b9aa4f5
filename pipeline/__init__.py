"""Everything in merc that touches files, clocks and processes.

The public Python API is the module `merc`.
"""

import os
from typing import Any

__all__ = ["__version__"]

# ONNX Runtime 1.32, which finds speech, reports its use to Microsoft; it asks this when imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    # lazy, so that `import pipeline` does not import torch
    if name == "__version__":
        return _version()
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("merc")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0+unknown"
