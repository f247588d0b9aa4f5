"""The rows of an ablation: variants of CSS, each a few settings, and the tables they appear in."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations

from pipeline.core.dialogue import MODALITIES
from pipeline.core.errors import UsageError

__all__ = ["GROUPS", "ROWS", "Row", "choose_rows"]

GROUPS = {  # name -> title of the table
    "components": "Components (the paper's Table 3)",
    "modalities": "Modalities (the paper's Table 4)",
    "fusion": "Fusion",
    "objectives": "Objectives",
    "open": "Points that the paper leaves open (choose by valid)",
}


@dataclass(frozen=True)
class Row:
    """A variant of CSS.

    groups: the tables that it appears in, separated by spaces.
    settings: what `--set` would take.
    """

    title: str
    groups: str
    settings: list[str] = field(default_factory=list)


def _modality_rows() -> dict[str, Row]:
    rows = {}
    for size in (2, 1):
        for modalities in combinations(MODALITIES, size):
            title = " + ".join(modalities) + (" only" if size == 1 else "")
            settings = [f"data.modalities=[{','.join(modalities)}]"]
            rows["+".join(modalities)] = Row(title, "modalities", settings)
    return rows


ROWS: dict[str, Row] = {
    "css": Row("CSS", "components modalities fusion objectives open"),
    "no-spf": Row(
        "without SPF = linear concatenation", "components fusion", ["model.fusion=concat"]
    ),
    "no-msp": Row(
        "without MSP (shared projections, no gate)",
        "components",
        ["model.modality_specific=false"],
    ),
    "no-pgm": Row(
        "without PGM = weights 1, 1, 1", "components objectives", ["train.objective=equal"]
    ),
    "no-mae": Row("without MAE", "components", ["model.mae=false"]),
    "no-iae": Row("without IAE", "components", ["model.iae=false"]),
    "no-l2": Row("without L2", "components", ["train.weights=[1,0,1]"]),
    "no-l3": Row("without L3", "components", ["train.weights=[1,1,0]"]),
    **_modality_rows(),
    "mlp": Row("concatenation + GELU MLP", "fusion", ["model.fusion=mlp"]),
    "lmf": Row("LMF", "fusion", ["model.fusion=lmf"]),
    "mlb": Row("MLB", "fusion", ["model.fusion=mlb"]),
    "mfb": Row("MFB", "fusion", ["model.fusion=mfb"]),
    "ptp": Row("polynomial tensor pooling, shared projections", "fusion", ["model.fusion=ptp"]),
    "gate": Row("softmax gate (SDT)", "fusion", ["model.fusion=gate"]),
    # its settings come from the history of the row css
    "mean-gamma": Row("static weights at PGM's mean γ", "objectives"),
    "l1": Row("L1 alone", "objectives", ["train.objective=l1"]),
    "mgda": Row("MGDA on raw gradients", "objectives", ["train.objective=mgda"]),
    "pcgrad": Row("PCGrad", "objectives", ["train.objective=pcgrad"]),
    "cagrad": Row("CAGrad", "objectives", ["train.objective=cagrad"]),
    "ada2i": Row("Ada2I's gradient scaling", "objectives", ["train.objective=ada2i"]),
    "unit-gamma": Row("PGM, γ on rescaled unit gradients", "objectives open", ["train.gamma=unit"]),
    "parallel": Row(
        "IAE fed in parallel, as eqs. 3-5 write it", "open", ["model.iae_input=parallel"]
    ),
    "attached": Row(
        "teacher of L3 not detached, as in SDT", "open", ["train.detach_teacher=false"]
    ),
    "last": Row("PGM on the last projection alone", "open", ["train.theta=last"]),
    "repr": Row("PGM on h̃ alone", "open", ["train.theta=repr"]),
}


def choose_rows(names: list[str] | None) -> list[str]:
    """Return the rows that these names of rows or groups select, in the order of `ROWS`.

    CSS itself is always among them. None selects all rows. Raises UsageError for unknown names.

    >>> choose_rows(["no-l3", "no-l2"])
    ['css', 'no-l2', 'no-l3']
    """
    wanted = set(names or ROWS) | {"css"}
    unknown = sorted(wanted - set(ROWS) - set(GROUPS))
    if unknown:
        raise UsageError(
            f"no row {', '.join(unknown)}",
            f"choose from the rows {', '.join(ROWS)}, or the groups {', '.join(GROUPS)}",
        )
    return [name for name, row in ROWS.items() if wanted & {name, *row.groups.split()}]
