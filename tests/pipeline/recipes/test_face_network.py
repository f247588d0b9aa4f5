"""Training the face network: on faces of the real file; resuming, going on, bad input."""

import hashlib
import json

import numpy as np
import pytest
import torch

from extractors.densenet import DIM, FaceNet, FaceNetConfig, load_face_net, pack_face_net
from pipeline.recipes.face_network import PretrainConfig, parse_stages, pretrain_visual
from pipeline.recipes.ferplus import load_ferplus


@pytest.fixture(scope="module")
def small(tmp_path_factory, shared):
    """The first faces of the real file."""
    with np.load(shared / "data" / "ferplus_48.npz") as file:
        rows = np.r_[
            np.flatnonzero(file["split"] == 0)[:96], np.flatnonzero(file["split"] == 1)[:40]
        ]
        path = tmp_path_factory.mktemp("fer") / "small.npz"
        np.savez(
            path, images=file["images"][rows], votes=file["votes"][rows], split=file["split"][rows]
        )
    return path


def test_validation_holds_no_training_image(shared):
    train, valid = load_ferplus(shared / "data" / "ferplus_48.npz")
    seen = {hashlib.md5(image.numpy().tobytes()).digest() for image in train.images}
    assert not any(hashlib.md5(image.numpy().tobytes()).digest() in seen for image in valid.images)
    assert len(valid.label) > 2500 and (valid.label >= 0).all()
    assert torch.allclose(train.votes.sum(1), torch.ones(len(train.votes)))


def test_killed_and_resumed_equals_not_killed(small, tmp_path):
    """The second training is stopped in its second epoch by an exception from the outside, then begun again."""
    config = PretrainConfig(stages=((16, 1), (24, 1)), batch=32)
    whole = pretrain_visual(small, tmp_path / "whole", config, lambda line: None)

    def stop(line):
        if line.startswith("{'epoch': 1"):
            (tmp_path / "parts").mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain_visual(small, tmp_path / "parts", config, stop)
    again = pretrain_visual(small, tmp_path / "parts", config, lambda line: None)
    assert json.dumps(again) == json.dumps(whole)  # NaN equals NaN here
    for name in ("model.safetensors", "metrics.json", "log.csv", "card.md"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    net = load_face_net(tmp_path / "whole" / "model.safetensors")
    features = net.features(net.prepare(torch.zeros(2, 30, 40, dtype=torch.uint8)))
    assert features.shape == (2, DIM) and (features >= 0).all()


def test_a_training_goes_on_from_another(small, tmp_path):
    """Its card tells both; with nothing learned its weights are those it began with."""
    first = pretrain_visual(
        small, tmp_path / "one", PretrainConfig(((16, 1),), batch=32), lambda line: None
    )
    weights = str(tmp_path / "one" / "model.safetensors")
    still = PretrainConfig(((16, 1),), 32, lr=1e-12, jitter=0, start=weights, seed=3)
    second = pretrain_visual(small, tmp_path / "two", still, lambda line: None)
    assert [training["seed"] for training in second["trainings"]] == [0, 3] and len(
        first["trainings"]
    ) == 1
    one, two = (
        load_face_net(tmp_path / name / "model.safetensors").net.classifier
        for name in ("one", "two")
    )
    assert torch.allclose(one.weight, two.weight, atol=1e-8)
    card = (tmp_path / "two" / "card.md").read_text()
    assert (
        "--out runs/face2 --start runs/face1/model.safetensors --stages 16x1 --lr 1e-12 --jitter 0 --seed 3"
        in card
    )
    assert str(tmp_path) not in card


def test_a_training_is_taught_the_answers_of_another(small, tmp_path):
    """Cross-entropy is linear in what is taught: half of it gives the mean of both losses."""
    pretrain_visual(
        small, tmp_path / "one", PretrainConfig(((16, 1),), batch=32), lambda line: None
    )
    weights = str(tmp_path / "one" / "model.safetensors")
    losses = {}
    for share in (0.0, 0.5, 0.99):
        told = []
        pretrain_visual(
            small,
            tmp_path / f"two-{share}",
            PretrainConfig(((16, 1),), 32, lr=1e-12, jitter=0, start=weights, distill=share),
            told.append,
        )
        losses[share] = float(told[-1].split("'loss': ")[1].split(",")[0])
    assert losses[0.99] != pytest.approx(losses[0.0], rel=0.05)
    assert losses[0.5] == pytest.approx((losses[0.0] + losses[0.99]) / 2, rel=0.02)
    assert "--distill 0.5 --stages" in (tmp_path / "two-0.5" / "card.md").read_text()


@pytest.mark.parametrize(
    ("start", "share", "says"),
    [
        ("", 0.5, "distill"),
        ("model.safetensors", 1.0, "distill"),
        ("model.safetensors", 0.0, r"metrics\.json: missing"),
    ],
)
def test_nothing_to_go_on_from_is_told(small, tmp_path, start, share, says):
    path = tmp_path / start
    if start:
        path.write_bytes(pack_face_net(FaceNet(FaceNetConfig(16))))
    with pytest.raises((ValueError, OSError), match=says):
        pretrain_visual(
            small,
            tmp_path / "out",
            PretrainConfig(((16, 1),), 32, start=str(path) if start else "", distill=share),
            lambda line: None,
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "48", "48x0", "4x3", "axb"])
def test_bad_stages_are_named(text):
    with pytest.raises(ValueError, match="stages"):
        parse_stages(text)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"x\.npz"):
        load_ferplus(path)
    np.savez(
        path, images=np.zeros((3, 48, 48), np.uint8), votes=np.zeros((2, 10)), split=np.zeros(3)
    )
    with pytest.raises(ValueError, match="votes"):
        load_ferplus(path)


def test_foreign_weights_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="merc pretrain visual"):
        load_face_net(tmp_path / "w.safetensors")
