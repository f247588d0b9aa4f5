"""Printed figures of the CSS paper (Tables 1 and 2), in per cent, as corrected by reconstructing counts.

The paper's per-class "ACC" is the precision of a class for CSS and SDT.  Table 2's header is alphabetical, its values
stand in label-id order.  IEMOCAP *sad* F1 of CSS reads 82.80.  All printed figures come from the best test epoch.
"""

from __future__ import annotations

__all__ = ["PAPER"]

PAPER: dict[str, dict[str, dict[str, tuple[float, float]]]] = {
    "iemocap": {
        "total": {  # accuracy, weighted F1
            "DialogueRNN": (65.43, 64.29), "MMGCN": (66.61, 66.25), "MM-DFN": (67.84, 67.85), "M3NET": (69.56, 69.52),
            "GraphSmile": (70.98, 71.00), "CFN-ESA": (69.50, 69.65), "SDT": (74.12, 74.34), "CSS": (75.42, 75.66)},
        "css": {  # precision, F1
            "happy": (58.43, 64.60), "sad": (86.28, 82.80), "neutral": (77.60, 76.68), "angry": (69.64, 69.23),
            "excited": (87.08, 82.81), "frustrated": (69.38, 71.50)},
    },
    "meld": {
        "total": {
            "DialogueRNN": (60.27, 57.95), "MMGCN": (61.34, 58.41), "MM-DFN": (60.96, 58.72), "M3NET": (67.32, 65.91),
            "GraphSmile": (66.67, 65.46), "CFN-ESA": (67.43, 66.15), "SDT": (67.36, 66.14), "CSS": (68.47, 67.41)},
        "css": {
            "neutral": (77.20, 80.74), "surprise": (56.86, 58.62), "fear": (28.00, 18.67), "sadness": (62.10, 46.39),
            "joy": (65.24, 64.83), "disgust": (44.44, 30.77), "anger": (55.40, 55.95)},
    },
}
