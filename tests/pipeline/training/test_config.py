"""Settings are typed; a message about a wrong key names the closest one."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from pipeline.core.errors import MercError
from pipeline.training.config import load_configuration, to_yaml


def test_scientific_notation_is_a_number() -> None:
    overrides = ["train.lr=1e-4", "model.rank=32", "data.modalities=[text,audio]"]
    config = load_configuration("iemocap", overrides)
    assert (config.train.lr, config.model.rank) == (1e-4, 32)
    assert config.data.modalities == ["text", "audio"]


@pytest.mark.parametrize(
    "file", sorted(p.name for p in resources.files("configs").iterdir() if p.name[-5:] == ".yaml")
)
def test_packaged_settings_are_valid(file: str) -> None:
    load_configuration(file.removesuffix(".yaml"))


def test_the_paper_s_settings() -> None:
    iemocap, meld = load_configuration("iemocap"), load_configuration("meld")
    for config in (iemocap, meld):
        m, t = config.model, config.train
        assert (m.d, m.heads, m.hidden, m.layers, m.dropout, m.rank) == (1024, 8, 1024, 1, 0.5, 16)
        assert (t.batch, t.weight_decay, t.objective, t.theta) == (32, 1e-5, "pgm", "sketch")
    m, t = iemocap.model, iemocap.train
    assert (m.order, t.lr, t.temperature, t.epochs) == (3, 1e-4, 1, 150)
    m, t = meld.model, meld.train
    assert (m.order, t.lr, t.temperature, t.epochs) == (4, 5e-6, 4, 50)


def test_a_folder_without_settings_stays_small(tmp_path: Path) -> None:
    assert load_configuration(str(tmp_path)).model.d <= 256


def test_the_settings_of_a_run_can_be_used_for_a_folder(tmp_path: Path) -> None:
    config = load_configuration("meld", ["train.epochs=7"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_configuration(str(tmp_path)) == config


def test_another_model_has_settings_of_its_own(tmp_path: Path) -> None:
    offline = load_configuration("offline", ["train.epochs=7"], "sdt")
    assert offline.model.name == "sdt" and offline.data.normalise_audio == "speaker"
    (tmp_path / "config.yaml").write_text(to_yaml(offline))
    assert load_configuration(str(tmp_path)) == offline  # a run's settings name its model
    assert load_configuration(str(tmp_path), model="css").model == load_configuration("table").model
    for override in ("train.theta=repr", "model.rank=3", "model.name=css"):
        with pytest.raises(MercError):
            load_configuration("meld", [override], "sdt")
    with pytest.raises(MercError, match="--model sdtt: no such model; choose css, sdt"):
        load_configuration("meld", model="sdtt")


def test_yes_and_no_are_words() -> None:
    for word in ("no", "yes", "auto"):
        assert load_configuration("meld", [f"train.bf16={word}"]).train.bf16 == word


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=2", r"did you mean train\.epochs"),
        ("trian.epochs=2", "did you mean train"),
        ("model.rnk=2", r"did you mean model\.rank"),
        ("train.epochs=two", "epochs"),
        ("train.epochs", "section.key=value"),
        ("train.lr=nan", r"train\.lr"),
        ("train.lr=-1", r"train\.lr"),
        ("train.theta=head", "choose sketch"),
        ("model.dropout=much", "dropout"),
        ("train.epochs=0", r"train\.epochs"),
        ("data.modalities=[smell]", "modalities"),
        ("train.weights=[1,1]", "three numbers"),
        ("train.weights=[.2,1,1]", "static"),
        ("train=3", "section.key"),
        ("train.epochs.x=3", "epochs"),
        ("train.epochs=${oc.env:HOME}", "epochs|interpolation"),
        ("[1,1", "section.key=value"),
        ("=@x", "section.key=value"),
        ("[[text]]", "section.key=value"),
        ("a[0]=0", "section.key=value"),
        ("5", "section.key=value"),
        ("???", "section.key=value"),
        ("train.lr=???", "no value"),
        ("train.weights=[1,1", "not YAML"),
        ("train.weights=[[1],1,1]", "three numbers"),
        ("data.modalities=[[text]]", "modalities"),
        ("train.lr=@x", "not YAML"),
        ("train.lr=1}, model: {d: 4", "not YAML"),
        ("train.lr=1\nmodel.d=4", "section.key=value"),
        ("train.lr=*x", "refers to"),
        ("a" + ".a" * 25_000 + "=1", "section.key=value"),
        ("train.bf16=!!python/object:os.system x", "not YAML"),
        ("data.modalities=" + "[" * 2000, "nested"),
        ("train.epochs=" + "9" * 400, "out of bounds"),
        ("train.lr=" + "9" * 400, "too large"),
        ("train.lr=" + "9" * 5000, "4300|too large"),
        ("model.order=" + "9" * 400, "order"),
        ("model.dropout=.inf", "dropout"),
        ("train.device='\x1b[31m'", "not YAML"),
    ],
)
def test_a_wrong_override_is_refused(override: str, message: str) -> None:
    with pytest.raises(MercError, match=message):
        load_configuration("meld", [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "sections"),
        ("???", "sections"),
        ("- 1", "sections"),
        ("[1,1", "not YAML"),
        ("train:\n\tepochs: 2", "not YAML"),
        ("train: {epochs: 1}\ntrain: {epochs: 2}", "duplicate"),
        ("train:\n  epochs: 1\n  epochs: 2", "duplicate"),
        ("a: &a [x]\nb: [*a]", "refers to"),
        ("{" * 5000, "nested"),
        ("train: {epochs: " + "9" * 400 + "}", "out of bounds"),
        ("train: null", "no keys"),
        ("1: {2: 3}", "section"),
        ("#" * 200_000, "too long"),
    ],
)
def test_a_malformed_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(MercError, match=message) as caught:
        load_configuration(str(tmp_path))
    assert len(str(caught.value)) < 600
