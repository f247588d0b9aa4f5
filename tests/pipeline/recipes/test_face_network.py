"""Train the face network on real faces: resuming, starting from another one, bad input."""

import json

import numpy as np
import pytest
import torch

from extractors.densenet import DIM, FaceNet, FaceNetConfig, load_face_net, pack_face_net
from pipeline.core.errors import MercError
from pipeline.recipes.face_network import PretrainConfig, parse_stages, pretrain_visual
from pipeline.recipes.ferplus import load_ferplus


@pytest.fixture(scope="module")
def small(tmp_path_factory, shared):
    """Write the first faces of the real file."""
    path = tmp_path_factory.mktemp("fer") / "small.npz"
    with np.load(shared / "data" / "ferplus_48.npz") as file:
        train, valid = (np.flatnonzero(file["split"] == part) for part in (0, 1))
        rows = np.r_[train[:96], valid[:40]]
        np.savez(path, **{name: file[name][rows] for name in ("images", "votes", "split")})
    return path


def test_validation_holds_no_training_image(shared):
    train, valid = load_ferplus(shared / "data" / "ferplus_48.npz")
    training_images = {image.numpy().tobytes() for image in train.images}
    assert not any(image.numpy().tobytes() in training_images for image in valid.images)
    assert len(valid.label) > 2500 and (valid.label >= 0).all()
    assert torch.allclose(train.votes.sum(1), torch.ones(len(train.votes)))


def test_a_resumed_training_equals_an_uninterrupted_one(small, tmp_path):
    """The second training is interrupted in its second epoch, then resumed."""
    config = PretrainConfig(stages=((16, 1), (24, 1)), batch=32)
    whole = pretrain_visual(small, tmp_path / "whole", config)

    def stop(line):
        if line.startswith("{'epoch': 1"):
            (tmp_path / "parts").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain_visual(small, tmp_path / "parts", config, stop)
    resumed = pretrain_visual(small, tmp_path / "parts", config)
    assert json.dumps(resumed) == json.dumps(whole)  # as text, so that NaN equals NaN
    for name in ("model.safetensors", "metrics.json", "log.csv", "card.md"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    net = load_face_net(tmp_path / "whole" / "model.safetensors")
    features = net.features(net.prepare(torch.zeros(2, 30, 40, dtype=torch.uint8)))
    assert features.shape == (2, DIM) and (features >= 0).all()


def test_a_training_starts_from_another(small, tmp_path):
    """The card has both commands; with a learning rate near 0 the weights stay the same."""
    one, two = tmp_path / "one", tmp_path / "two"
    first = pretrain_visual(small, one, PretrainConfig(((16, 1),), batch=32))
    start = str(one / "model.safetensors")
    still = PretrainConfig(((16, 1),), 32, lr=1e-12, jitter=0, start=start, seed=3)
    second = pretrain_visual(small, two, still)
    assert [training["seed"] for training in second["trainings"]] == [0, 3]
    assert len(first["trainings"]) == 1
    weights = [
        load_face_net(folder / "model.safetensors").net.classifier.weight for folder in (one, two)
    ]
    assert torch.allclose(*weights, atol=1e-8)
    card = (two / "card.md").read_text()
    assert (
        "--out runs/face2 --start runs/face1/model.safetensors --stages 16x1 "
        "--lr 1e-12 --jitter 0 --seed 3"
    ) in card
    assert str(tmp_path) not in card


def test_a_training_is_distilled_from_another(small, tmp_path):
    """Cross-entropy is linear in the targets: half of each gives the mean of both losses."""
    pretrain_visual(small, tmp_path / "one", PretrainConfig(((16, 1),), batch=32))
    start = str(tmp_path / "one" / "model.safetensors")
    losses = {}
    for share in (0.0, 0.5, 0.99):
        lines = []
        config = PretrainConfig(((16, 1),), 32, lr=1e-12, jitter=0, start=start, distill=share)
        pretrain_visual(small, tmp_path / f"two-{share}", config, lines.append)
        losses[share] = float(lines[-1].split("'loss': ")[1].split(",")[0])
    assert losses[0.99] != pytest.approx(losses[0.0], rel=0.05)
    assert losses[0.5] == pytest.approx((losses[0.0] + losses[0.99]) / 2, rel=0.02)
    assert "--distill 0.5 --stages" in (tmp_path / "two-0.5" / "card.md").read_text()


@pytest.mark.parametrize(
    ("start", "share", "message"),
    [
        ("", 0.5, "distill.*name one with --start"),
        ("model.safetensors", 1.0, "distill 1: out of range"),
        ("model.safetensors", 0.0, r"metrics\.json: no such file"),
    ],
)
def test_a_bad_start_is_an_error(small, tmp_path, start, share, message):
    path = tmp_path / start
    if start:
        path.write_bytes(pack_face_net(FaceNet(FaceNetConfig(16))))
    with pytest.raises(MercError, match=message):
        config = PretrainConfig(((16, 1),), 32, start=str(path) if start else "", distill=share)
        pretrain_visual(small, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "48", "48x0", "4x3", "axb"])
def test_bad_stages_are_named(text):
    with pytest.raises(MercError, match="stages"):
        parse_stages(text)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"no zip")
    with pytest.raises(MercError, match=r"x\.npz: not a FER\+ file"):
        load_ferplus(path)
    images = np.zeros((3, 48, 48), np.uint8)
    np.savez(path, images=images, votes=np.zeros((2, 10)), split=np.zeros(3))
    with pytest.raises(MercError, match="votes"):
        load_ferplus(path)


def test_foreign_weights_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="merc pretrain visual"):
        load_face_net(tmp_path / "w.safetensors")
