"""The names of the modalities, for code that has no other use for numpy."""

__all__ = ["MODALITIES"]

MODALITIES = ("text", "audio", "visual")
