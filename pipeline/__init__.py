"""merc: from a raw dialogue video to an emotion for every utterance.

>>> import pipeline
>>> result = pipeline.label("dialogue.mp4")
>>> result.to_dataframe()
"""

from typing import Any

__all__ = ["__version__", "label"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # lazy: `import pipeline` must not cost an import of torch
    if name == "label":
        from pipeline.labelling import label

        return label
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
