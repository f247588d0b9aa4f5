"""`--engine ray` on a real cluster: the results of a local run, also if a node is lost."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from disturbances import contents
from ray_nodes import add_node, extract_and_lose, lose, start_cluster
from support.paths import ROOT
from support.ray_work import Noted, Unloadable, work
from support.releases import build_meld
from support.training import tiny

from pipeline.core import ray_engine
from pipeline.core.errors import MercError, UsageError
from pipeline.core.failures import run_each
from pipeline.core.progress import NoProgress
from pipeline.core.ray_engine import Cluster, _Check, _check_answers, _states, check_engine
from pipeline.corpora import find_source
from pipeline.corpora.synthetic import make_synthetic
from pipeline.features.extract import ExtractOptions, extract, extraction_cluster
from pipeline.features.profiles import ExtractorOptions
from pipeline.loading import ReleaseOptions, load
from pipeline.training.benchmark import benchmark
from pipeline.training.train import train


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node with one core, to which tests add others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
        with start_cluster() as cluster:
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster


def test_results_and_failures_are_those_of_a_local_run(cluster, monkeypatch):
    monkeypatch.setenv("MERC_TIME_LIMIT", "6")  # 60 s to start, 0.6 s for "hang"
    items = ["a", "bad", "crash", "hang", "b"]
    local, ray = (run_each(items, work, jobs=2, cluster=there) for there in (None, Cluster()))
    assert ray == local
    assert ray[0] == ["A", None, None, None, "B"] and len(ray[1]) == 3


class LoseANode(NoProgress):
    """Kills a node when two items are in work, and then lets them go on."""

    def __init__(self, cluster, node, folder):
        self.cluster, self.node, self.folder = cluster, node, folder
        self.begun, self.finished = [], []

    def update(self, index, name, stage, done):
        self.begun.append(name)
        if len(self.begun) == 2:
            lose(self.cluster, self.node)
            (self.folder / "go").touch()

    def finish(self, index, name, failure):
        self.finished.append(name)


def test_a_lost_node_costs_its_items_in_work_one_more_try(cluster, tmp_path):
    node = add_node(cluster)
    progress = LoseANode(cluster, node, tmp_path)
    items = list("abcde")
    results, failures = run_each(
        items, Noted(tmp_path), jobs=None, progress=progress, cluster=Cluster()
    )
    assert results == items and not failures
    assert sorted(progress.finished) == items
    assert len(progress.begun) == len(items) + 1  # one core was lost
    assert sorted((tmp_path / "done").read_text()) == items


def test_what_would_fail_with_every_item_ends_the_run(cluster):
    with pytest.raises(MercError, match=f"{socket.gethostname()}: no weights; install them"):
        run_each(["a", "b"], Unloadable(), cluster=Cluster())
    with pytest.raises(UsageError, match="1 CPU, 2 GPU"):
        run_each(["a", "b"], work, jobs=None, cluster=Cluster(gpus=2))


def test_an_extraction_that_loses_a_node_leaves_the_store_of_a_local_one(cluster, media, tmp_path):
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for name in ("bbaf2n", "brbk7n", "swiz3n"):
        shutil.copy(media / "grid" / f"{name}.mpg", recordings)
        (recordings / f"{name}.csv").write_text("start,end,speaker,text\n0.2,2.8,Ann,bin blue\n")
    options = ExtractOptions("offline", ExtractorOptions(audio_model="is10"), ("audio",))
    assert not extract([recordings], tmp_path / "local", options).failures
    arguments = ["--profile=offline", "--audio-model=is10", "--modality=audio"]
    line = extract_and_lose(cluster, recordings, tmp_path / "ray", 1, arguments)
    assert line.startswith("1 nodes lost: 3 recordings")
    assert extract([recordings], tmp_path / "ray", options).nothing_done
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_a_release_that_is_extracted_on_a_cluster_gives_the_store_of_a_local_run(
    cluster, shared, tmp_path
):
    build_meld(tmp_path / "MELD.Raw", shared, {"train": [48], "dev": [], "test": []}, 1.0)
    source = find_source("meld", tmp_path / "MELD.Raw")
    for engine in ("local", "ray"):
        options = ReleaseOptions(profile="offline", store=tmp_path / engine)
        loaded = load(source, release=options, engine=engine)
        assert not loaded.release.failures
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_training_on_a_cluster_gives_the_same_metrics(cluster, tmp_path):
    corpus = make_synthetic(12, 4, 4, 4)
    epochs: list[dict] = []
    options = {"corpus": corpus, "config": tiny("train.device=cpu"), "seeds": 2}
    train(**options, out=tmp_path / "local")
    train(**options, out=tmp_path / "ray", engine="ray", report=epochs.append)
    assert {row["seed"] for row in epochs} == {0, 1}
    for name in ("metrics.json", "model.safetensors", "predictions.csv"):
        local, ray = (tmp_path / engine / name for engine in ("local", "ray"))
        assert local.read_bytes() == ray.read_bytes(), name


def test_a_benchmark_on_a_cluster_gives_the_same_metrics(cluster, tmp_path):
    corpus = make_synthetic(12, 4, 4, 4)
    overrides = ["train.epochs=1", "train.threads=1", "train.device=cpu"]
    files = []
    for engine in ("local", "ray"):
        out = tmp_path / engine
        benchmark(corpus, "synthetic", out, ["mfn"], "clean", 1, overrides, width=8, engine=engine)
        files.append((out / "runs" / "clean" / "mfn" / "metrics.json").read_bytes())
    assert files[0] == files[1]


def test_a_node_is_checked_before_it_gets_an_item(tmp_path, monkeypatch):
    path = tmp_path / "merc-store.json"
    path.write_text("{}")
    check = _Check(ray_engine.__version__, str(tmp_path), _states((path,), times=True), ())
    monkeypatch.chdir(tmp_path)
    assert check.reason(work) is None
    os.utime(path, (1, 1))  # another file under this name
    assert "merc-store.json as this machine sees it" in check.reason(work).reason
    path.unlink()
    assert "does not see" in check.reason(work).reason
    assert "has merc" in replace(check, version="0").reason(work).reason
    assert "has no folder /nowhere" in replace(check, folder="/nowhere").reason(work).reason


def test_workers_share_gpus(tmp_path, monkeypatch):
    """A node takes as many as share its GPUs, and never more than its cores."""
    options = ExtractOptions("offline", ExtractorOptions(device="cuda"))
    node = {"CPU": 16.0, "GPU": 1.0, "memory": 64.0 * 2**30}
    assert extraction_cluster(tmp_path, ExtractOptions("offline"), []).gpus == 0.0
    for workers in (None, 1, 3, 5, 6, 7, 10, 16, 40):
        if workers:
            monkeypatch.setenv("MERC_GPU_WORKERS", str(workers))
        cluster = extraction_cluster(tmp_path, options, [])
        assert cluster.cpus == 1 and cluster.room(node) == min(workers or 4, 16)
        assert cluster.room(node | {"GPU": 2.0}) == min(2 * (workers or 4), 16)
        assert cluster.room(node | {"GPU": 0.0}) == 0
        # Ray counts in ten-thousandths
        assert round(cluster.gpus * 10_000) * (workers or 4) <= 10_000
    for bad in ("0.5", "-1", "many"):
        monkeypatch.setenv("MERC_GPU_WORKERS", bad)
        with pytest.raises(UsageError, match=f"MERC_GPU_WORKERS={bad}"):
            extraction_cluster(tmp_path, options, [])


def test_no_ray_and_no_cluster(monkeypatch):
    with pytest.raises(UsageError, match="choose local or ray"):
        check_engine("slurm")
    with pytest.raises(UsageError, match="HOST:PORT"):
        _check_answers("ray://head:10001")
    with socket.socket() as closed:  # bound, and not listening
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(UsageError, match="no cluster answers"):
            _check_answers(f"127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'merc\[ray\]'"):
        check_engine("ray")


def test_a_cluster_that_asks_for_a_token_is_joined():
    """`ray start` makes a cluster ask for the token that it finds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")
    } | {"RAY_ADDRESS": address, "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    ray = [str(Path(sys.executable).with_name("ray"))]
    ip, _, port = address.partition(":")
    start = ["start", "--head", "--node-ip-address", ip, "--port", port, "--num-cpus", "3"]
    start += ["--disable-usage-stats", "--block"]
    code = (
        "from pipeline.core.ray_engine import check_engine, connect\n"
        "check_engine('ray')\n"
        "print(connect().cluster_resources())"
    )
    node = subprocess.Popen([*ray, *start], env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(120):
            with contextlib.suppress(UsageError):
                _check_answers(address)
                break
            time.sleep(0.5)
        output = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert "'CPU': 3.0" in output.stdout, output.stderr[-2000:]
    finally:
        node.terminate()
        node.wait()
