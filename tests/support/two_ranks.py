"""One rank of a gloo job: write the gradients that the modulator leaves.

Arguments: rank, folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from css_model import CSS, CSSConfig, ParetoGradientModulator, collate, inverse_frequency, losses

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.css_model.conftest import LABELS, WIDTHS, make_dialogue


def gradients(dialogues: list, **options) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    torch.manual_seed(3)
    model = CSS(CSSConfig(WIDTHS, LABELS, d=24, heads=4, hidden=32, dropout=0.0))
    batch = collate(dialogues, WIDTHS)
    output = model(batch)
    weights = inverse_frequency(torch.tensor([0, 1, 1, 2, 2, 2, 3]), 4)
    gamma = ParetoGradientModulator(model, **options).backward(
        losses(output, batch, class_weights=weights), output
    )
    return gamma, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


CASES = [
    {"theta": theta, "use": use} for theta in ("trunk", "last", "repr") for use in ("raw", "unit")
] + [{"weights": (1.0, 0.5, 0.2)}, {"heads": "unscaled"}, {"theta": "sketch", "width": 4}]
# dialogues of each rank, unequal in number; the last one has no features
PARTS = [[(1, 9, 0.2), (2, 4, 0.2), (3, 12, 0.4)], [(4, 3, 0.2), (5, 2, 1.0)]]


def together() -> list:
    """Compute the gradients of all dialogues in one process."""
    dialogues = [make_dialogue(*arguments) for part in PARTS for arguments in part]
    return [gradients(dialogues, **case) for case in CASES]


def main() -> None:
    torch.set_num_threads(1)
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    dialogues = [make_dialogue(*arguments) for arguments in PARTS[rank]]
    torch.save([gradients(dialogues, **case) for case in CASES], folder / f"{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
