"""Figures printed in the CSS paper (Tables 1 to 4), in per cent, with its errors corrected.

The per-class "ACC" of the paper is recall for the models of `RECALL` (weighted by the number of
utterances it gives the printed accuracy) and precision for the others. The header of Table 2 is
alphabetical, but its values are in the order of label ids. F1 of CSS for IEMOCAP *sad* should read
82.80. All printed figures come from the best test epoch.
"""

from __future__ import annotations

import math

__all__ = ["ABLATIONS", "CLASSES", "PAPER", "RECALL", "printed_classes"]

RECALL = {"CMN", "ICON", "DialogueRNN", "MMGCN", "MM-DFN"}

PAPER: dict[str, dict[str, dict[str, tuple[float, float]]]] = {
    "iemocap": {
        "total": {  # accuracy, weighted F1
            "CMN": (56.87, 56.33),
            "ICON": (62.85, 62.25),
            "DialogueRNN": (65.43, 64.29),
            "MMGCN": (66.61, 66.25),
            "MM-DFN": (67.84, 67.85),
            "MPT-HCL": (72.83, 72.51),
            "M3NET": (69.56, 69.52),
            "GraphSmile": (70.98, 71.00),
            "HAUCL": (68.52, 68.65),
            "Ada2I": (68.08, 67.95),
            "CFN-ESA": (69.50, 69.65),
            "SDT": (74.12, 74.34),
            "CSS": (75.42, 75.66),
        },
    },
    "meld": {
        "total": {
            "DialogueRNN": (60.27, 57.95),
            "MMGCN": (61.34, 58.41),
            "MM-DFN": (60.96, 58.72),
            "MPT-HCL": (65.86, 65.02),
            "M3NET": (67.32, 65.91),
            "GraphSmile": (66.67, 65.46),
            "HAUCL": (67.24, 65.93),
            "Ada2I": (63.10, 60.15),
            "CFN-ESA": (67.43, 66.15),
            "SDT": (67.36, 66.14),
            "CSS": (68.47, 67.41),
        },
    },
}


def _table(labels: str, text: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Read lines of a name and two figures per label; - is one that was not reported."""
    table = {}
    for line in text.strip().splitlines():
        name, *cells = line.split()
        values = [math.nan if cell == "-" else float(cell) for cell in cells]
        table[name] = dict(
            zip(labels.split(), zip(values[::2], values[1::2], strict=True), strict=True)
        )
    return table


# Tables 1 and 2: model -> label -> "ACC" (see above) and F1
CLASSES = {
    "iemocap": _table(
        "happy sad neutral angry excited frustrated",
        """
        CMN 24.31 30.30 56.33 62.02 52.34 52.41 61.76 60.17 56.19 60.76 72.44 61.27
        ICON 25.00 31.30 67.35 73.17 55.99 58.50 69.41 66.29 70.90 67.09 71.92 65.08
        DialogueRNN 25.00 34.95 82.86 84.58 54.43 57.66 61.76 64.42 90.97 76.30 62.20 59.55
        MMGCN 32.64 39.66 72.65 76.89 65.10 62.81 73.53 71.43 77.93 75.40 65.09 63.43
        MM-DFN 44.44 44.44 77.55 80.00 71.35 66.99 75.88 70.88 74.25 76.42 58.27 61.67
        MPT-HCL - 58.13 - 85.97 - 66.75 - 69.97 - 74.06 - 69.06
        M3NET 58.78 56.00 76.23 76.07 68.75 68.75 65.22 67.80 78.93 78.93 64.57 64.57
        GraphSmile 62.88 60.14 80.72 81.38 62.63 68.48 71.52 70.45 82.09 77.60 69.36 66.02
        HAUCL 48.10 50.33 83.05 81.50 65.68 67.43 74.05 64.45 77.24 73.02 63.53 67.00
        Ada2I 48.51 46.76 81.93 80.75 68.33 64.28 69.14 67.47 70.09 73.65 64.27 67.17
        CFN-ESA 50.56 56.17 79.53 80.96 64.76 68.94 70.70 67.89 81.78 73.99 68.68 65.57
        SDT 58.19 64.17 85.59 81.37 75.34 74.24 65.61 69.08 84.56 82.53 70.03 69.66
        CSS 58.43 64.60 86.28 82.80 77.60 76.68 69.64 69.23 87.08 82.81 69.38 71.50
        """,
    ),
    "meld": _table(
        "neutral surprise fear sadness joy disgust anger",
        """
    DialogueRNN 82.17 76.56 46.62 47.64 0.00 0.00 21.15 24.65 49.50 51.49 0.00 0.00 48.41 46.01
    MMGCN 84.32 76.96 47.33 49.63 2.00 3.64 14.90 20.39 56.97 53.76 1.47 2.82 42.61 45.23
    MM-DFN 79.06 75.80 53.02 50.42 0.00 0.00 17.79 23.72 59.20 55.48 0.00 0.00 50.43 48.27
    MPT-HCL - 77.82 - 58.26 - 21.52 - 45.15 - 60.18 - 30.36 - 59.25
    M3NET 75.07 79.99 61.09 60.43 30.77 21.05 50.88 36.02 65.36 63.87 32.00 27.12 55.02 53.71
    GraphSmile 75.77 79.95 52.94 56.62 32.14 23.08 57.41 39.24 68.62 62.99 41.67 28.85 50.13 51.96
    HAUCL 75.46 79.93 59.01 59.22 24.24 19.28 56.60 38.22 66.49 64.00 37.84 26.67 52.47 53.88
    Ada2I 71.31 77.83 55.00 50.67 0.00 0.00 47.78 28.86 54.57 54.77 0.00 0.00 47.81 49.23
    CFN-ESA 75.92 79.77 57.34 58.54 30.43 19.18 56.76 39.50 64.76 64.84 38.84 28.04 54.47 54.62
    SDT 76.73 80.20 56.72 59.04 29.41 14.93 54.35 43.35 64.69 63.54 39.29 22.92 53.37 53.41
    CSS 77.20 80.74 56.86 58.62 28.00 18.67 62.10 46.39 65.24 64.83 44.44 30.77 55.40 55.95
        """,
    ),
}


def printed_classes(corpus: str, model: str, figure: str) -> dict[str, float]:
    """Return label -> the printed precision, recall or f1 of a model, where it was printed.

    model: as `css_model.MODELS` names it.

    >>> printed_classes("iemocap", "mm-dfn", "recall")["happy"]
    44.44
    >>> printed_classes("iemocap", "mm-dfn", "precision")
    {}
    """
    names = {name.lower(): name for name in CLASSES.get(corpus, {})}
    if model not in names:
        return {}
    first = "recall" if names[model] in RECALL else "precision"
    if figure not in (first, "f1"):
        return {}
    rows = CLASSES[corpus][names[model]].items()
    values = {label: pair[1 if figure == "f1" else 0] for label, pair in rows}
    return {label: value for label, value in values.items() if not math.isnan(value)}


# Tables 3 and 4: row of `merc ablate` -> accuracy, weighted F1. MELD's visual-only row is the
# constant answer neutral.
ABLATIONS: dict[str, dict[str, tuple[float, float]]] = {
    "iemocap": {
        "css": (75.42, 75.66),
        "no-spf": (74.86, 75.15),
        "no-msp": (74.37, 74.46),
        "no-pgm": (74.61, 74.66),
        "no-mae": (73.57, 73.54),
        "no-iae": (70.98, 71.07),
        "no-l2": (74.18, 74.30),
        "no-l3": (72.64, 72.76),
        "audio+visual": (61.43, 61.34),
        "text+visual": (68.21, 68.59),
        "text+audio": (68.21, 68.57),
        "text": (66.05, 66.09),
        "audio": (61.74, 62.39),
        "visual": (42.64, 43.21),
    },
    "meld": {
        "css": (68.47, 67.41),
        "no-spf": (67.85, 66.79),
        "no-msp": (67.13, 65.79),
        "no-pgm": (67.20, 65.74),
        "no-mae": (66.97, 65.95),
        "no-iae": (67.01, 65.66),
        "no-l2": (67.93, 66.79),
        "no-l3": (66.82, 66.70),
        "audio+visual": (49.46, 39.13),
        "text+visual": (66.82, 65.77),
        "text+audio": (66.67, 65.51),
        "text": (66.28, 65.36),
        "audio": (49.00, 36.50),
        "visual": (48.12, 31.28),
    },
}
