"""Batch norms become part of the arrays, and no value changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.errors import MercError
from pipeline.recipes.voice_network import _Layer, _layer, convert_network


class Published(nn.Module):
    """A layer of CAM++ as its authors train it, with their names (equations 1 to 5)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear1 = nn.ModuleDict({"batchnorm": nn.BatchNorm1d(channels)})
        self.linear1 = nn.Conv1d(channels, 128, 1, bias=False)
        self.nonlinear2 = nn.ModuleDict({"batchnorm": nn.BatchNorm1d(128)})
        self.cam_layer = nn.ModuleDict(
            {
                "linear_local": nn.Conv1d(128, 32, 3, padding=2, dilation=2, bias=False),
                "linear1": nn.Conv1d(128, 64, 1),
                "linear2": nn.Conv1d(64, 32, 1),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear1(self.nonlinear1["batchnorm"](x).relu())
        x = self.nonlinear2["batchnorm"](x).relu()
        rows = []
        for frame in range(x.shape[2]):
            first = frame // 100 * 100
            segment = x[:, :, first : first + 100].mean(2, keepdim=True)
            context = x.mean(2, keepdim=True) + segment
            rows.append(self.cam_layer["linear2"](self.cam_layer["linear1"](context).relu()))
        return self.cam_layer["linear_local"](x) * torch.cat(rows, 2).sigmoid()


def test_a_converted_layer_computes_what_the_published_one_does() -> None:
    torch.manual_seed(0)
    published = Published(48).eval()
    for norm in (published.nonlinear1["batchnorm"], published.nonlinear2["batchnorm"]):
        for values in (norm.weight.data, norm.bias.data, norm.running_mean):
            values.normal_()
        norm.running_var.uniform_(0.2, 2)
    arrays: dict[str, torch.Tensor] = {}
    state = {f"old.{name}": value for name, value in published.state_dict().items()}
    _layer(state, arrays, "old", "new")
    layer = _Layer(48, dilation=2)
    layer.load_state_dict({name.removeprefix("new."): value for name, value in arrays.items()})
    for frames in (30, 100, 230):
        x = torch.randn(2, 48, frames)
        assert torch.allclose(layer(x), published(x), atol=1e-5)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"x")
    with pytest.raises(MercError, match="not the published weights"):
        convert_network(tmp_path / "x.pt")
