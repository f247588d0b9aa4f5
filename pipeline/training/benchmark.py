"""Train CSS and the models that it is compared with on one corpus, with one protocol each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from css_model import MODELS
from pipeline.core.dialogue import Corpus
from pipeline.core.errors import MercError, UsageError
from pipeline.core.files import check_folder, write_text
from pipeline.core.fingerprints import checksum
from pipeline.core.schemas import Settings, read_json
from pipeline.core.workers import Send, WorkerDied, map_items
from pipeline.training.benchmark_report import BenchmarkRows, write_report
from pipeline.training.benchmark_settings import configure
from pipeline.training.compare import compare
from pipeline.training.config import Configuration, to_yaml
from pipeline.training.cost import measure_cost
from pipeline.training.distributed import ranks
from pipeline.training.fit import Report, fit, no_report
from pipeline.training.metrics import holm
from pipeline.training.planned_run import PlannedRun, plan_run
from pipeline.training.protocols import PROTOCOLS
from pipeline.training.seeds import (
    available_cores,
    check_training_engine,
    limited_threads,
    training_cluster,
)
from pipeline.training.step import choose_device
from pipeline.training.summary import SeedResult, score_seed

__all__ = ["benchmark", "check_benchmark", "choose_models"]

RUNS = "runs"  # folder in OUT: runs/PROTOCOL/MODEL
COSTS = "costs.json"
REFERENCE = "sdt"  # the model that costs are relative to
ATTACHED = "css-attached"  # CSS with the teacher of L3 not detached, in protocol published


def choose_models(names: Sequence[str] | None) -> list[str]:
    """Return models by name, in the order of `css_model.MODELS`; None or "all": every model.

    Raises UsageError for an unknown name.

    >>> choose_models(["sdt", "css"])
    ['css', 'sdt']
    """
    wanted = set(names or ["all"])
    if unknown := sorted(wanted - {*MODELS, "all"}):
        choices = f"choose all, or from {', '.join(MODELS)}"
        raise UsageError(f"--models {', '.join(unknown)}: no such model", choices)
    return [name for name in MODELS if "all" in wanted or name in wanted]


def check_benchmark(
    out: Path, models: Sequence[str] | None, protocol: str, seeds: int, engine: str = "local"
) -> None:
    """Raise UsageError for options that `benchmark` would refuse; call it before loading."""
    choose_models(models)
    if protocol not in (*PROTOCOLS, "both"):
        raise UsageError(f"unknown protocol {protocol!r}", f"choose {', '.join(PROTOCOLS)} or both")
    if seeds < 1:
        raise UsageError(f"--seeds {seeds}: must be 1 or more")
    check_training_engine(engine)
    if ranks()[1] > 1:
        raise UsageError("merc benchmark under torchrun", "use --jobs to spread the seeds")
    if out.is_dir() and any(out.iterdir()) and not (out / RUNS).is_dir():
        raise UsageError(f"{out}: is not empty and holds no benchmark", "name a new folder")
    check_folder(out)


def benchmark(
    corpus: Corpus,
    settings: str,
    out: Path,
    models: Sequence[str] | None = None,
    protocol: str = "clean",
    seeds: int = 5,
    overrides: Sequence[str] = (),
    *,
    width: int | None = None,
    jobs: int | None = None,
    report: Report | None = None,
    engine: str = "local",
) -> dict[str, Any]:
    """Train every model with its own settings; write the tables after every finished model.

    The runs are in `out/runs/PROTOCOL/MODEL`, as `merc train` writes them. Finished models and
    seeds are kept, and a killed benchmark continues. A model that cannot be trained is listed with
    the reason, and the others go on. Protocol published also trains CSS with the teacher of L3 not
    detached, as SDT has it: "css-attached".

    Args:
        settings: whose settings every model gets, as `load_configuration` takes them.
        models: names of `css_model.MODELS`; default: all.
        protocol: "clean", "published" or "both".
        overrides: as `--set` takes them. A key counts for the models that have it.
        width: of every model that has one; see `configure`.
        jobs: seeds to train at once; default: one per core, on a CUDA device one, with engine "ray"
            as many as the cluster has room for.
        report: is called after every epoch, as by `train`, with the name of the model as "row".
        engine: where seeds are trained: "local", or "ray", a Ray cluster (`core.ray_engine`). The
            training steps are measured on this machine.

    Returns:
        {"models": {name: figures}}: parameters; accuracy, weighted_f1 and macro_f1 with mean and
        sd; weighted_f1 with interval; step and memory relative to SDT; difference, p and p_holm
        against CSS; or error, for a model that failed. With protocol "both", published holds the
        figures of that protocol, and css-attached has no others.

    Raises:
        UsageError: unusable options, or a folder that holds another benchmark.
        MercError: a corpus that cannot be trained on.
    """
    names = choose_models(models)
    check_benchmark(out, names, protocol, seeds, engine)
    protocols = [*PROTOCOLS] if protocol == "both" else [protocol]
    configs = configure(settings, names, overrides, width)
    work = _Benchmark(corpus, out, {name: configs[name] for name in names}, protocols, seeds)
    work.plan()
    work.measure(configs)
    work.write()
    work.train(jobs, report or no_report, engine)
    return work.result()


class _Benchmark:
    """The state of a benchmark: what is planned, finished and failed."""

    def __init__(
        self,
        corpus: Corpus,
        out: Path,
        configs: dict[str, Configuration],
        protocols: list[str],
        seeds: int,
    ) -> None:
        self.corpus, self.out, self.configs = corpus, out, configs
        self.protocols, self.seeds = protocols, seeds
        self.rows_of = {protocol: _rows_of(protocol, configs) for protocol in protocols}
        self.runs: dict[tuple[str, str], PlannedRun] = {}  # (protocol, model)
        self.metrics: dict[tuple[str, str], dict[str, Any]] = {}
        self.costs: dict[str, dict[str, float]] = {}
        self.errors: dict[str, str] = {}  # model -> why it failed
        self.tests: dict[tuple[str, str], dict[str, Any]] = {}  # against CSS

    def plan(self) -> None:
        """Claim the folder of every run; take over what is finished."""
        for protocol in self.protocols:
            for name, config in self.rows_of[protocol].items():
                folder = self.out / RUNS / protocol / name
                try:
                    run = plan_run(self.corpus, config, protocol, self.seeds, folder)
                except UsageError:
                    raise
                except ValueError as error:
                    self.errors[name] = str(error)
                    continue
                if run.finished is not None:
                    self.metrics[protocol, name] = run.finished
                else:
                    self.runs[protocol, name] = run
        if not self.metrics and not self.runs:
            raise MercError(f"no model can be trained: {next(iter(self.errors.values()))}")

    def measure(self, configs: dict[str, Configuration]) -> None:
        """Measure the training step of every model, and of SDT; take over an earlier measurement.

        All are measured one after another in this process, before any training begins.
        """
        names = [name for name in configs if name not in self.errors]
        settings = {name: to_yaml(configs[name]) for name in names}
        device = choose_device(configs[names[0]].train.device)
        machine = [torch.__version__, device.type]
        identity = checksum([self.corpus.name, self.corpus.widths, settings, machine])
        path = self.out / COSTS
        if path.exists():
            known = read_json(path, Settings, "delete it")
            if known.get("identity") == identity:
                self.costs = known["costs"]  # type: ignore[typeddict-item]
                return
        for name in names:
            try:
                self.costs[name] = measure_cost(self.corpus, configs[name])
            except Exception as error:
                if name in self.configs:
                    self._fail(name, error)
        write_text(path, json.dumps({"identity": identity, "costs": self.costs}, indent=1) + "\n")

    def train(self, jobs: int | None, report: Report, engine: str) -> None:
        """Fit and score all seeds that are not finished, the slowest models first."""
        runs = {key: run for key, run in self.runs.items() if key[1] not in self.errors}
        for run in runs.values():
            run.begin()
        keys = sorted(runs, key=self._duration, reverse=True)
        items = [(key, seed) for key in keys for seed in runs[key].seeds]
        config = next(iter(self.configs.values()))
        cluster = None
        if engine == "ray" and items:
            cluster = training_cluster(config, self.out / COSTS)
            threads = cluster.cpus
        else:
            on_cpu = choose_device(config.train.device).type == "cpu"
            cores = available_cores()
            jobs = max(1, min(jobs or (cores if on_cpu else 1), len(items)))
            threads = config.train.threads or max(1, cores // jobs)
        work = _FitAndScore(runs, threads)
        results: dict[tuple[str, str], list[SeedResult]] = {}
        outcomes = map_items(work, items, jobs, lambda _, row: report(row), cluster=cluster)
        try:
            for index, outcome in outcomes:
                key, seed = items[index]
                if isinstance(outcome, SeedResult):
                    results.setdefault(key, []).append(outcome)
                    if len(results[key]) == self.seeds:
                        self._finish(key, results.pop(key))
                else:
                    self._fail(key[1], outcome, f"seed {seed}: ")
                    self.write()
        finally:
            outcomes.close()  # type: ignore[attr-defined]

    def rows(self, protocol: str) -> BenchmarkRows:
        """Return what the tables of a protocol show."""
        names = [name for name in self.rows_of[protocol] if self._is_done(protocol, name)]
        metrics = {name: self.metrics[protocol, name] for name in names}
        tests = {}
        if "css" in metrics:
            tests = {name: self._test(protocol, name) for name in metrics if name != "css"}
        adjusted = holm([test["p"] for test in tests.values()])
        tests = {
            name: test | {"p_holm": p}
            for (name, test), p in zip(tests.items(), adjusted, strict=True)
        }
        return BenchmarkRows(protocol, metrics, tests, self._relative_costs())

    def write(self) -> None:
        """Write the tables, the picture and benchmark.json for what is finished."""
        tables = [self.rows(protocol) for protocol in self.protocols]
        waiting = {
            name: None
            for protocol in self.protocols
            for name in self.rows_of[protocol]
            if name not in self.errors and (protocol, name) not in self.metrics
        }
        write_report(self.out, self.corpus, self.seeds, tables, self.errors, list(waiting))
        text = json.dumps(self._result(tables), indent=1, sort_keys=True, ensure_ascii=False)
        write_text(self.out / "benchmark.json", text + "\n")

    def result(self) -> dict[str, Any]:
        """Return the figures of every model; see `benchmark`."""
        return self._result([self.rows(protocol) for protocol in self.protocols])

    def _result(self, tables: list[BenchmarkRows]) -> dict[str, Any]:
        models: dict[str, Any] = {}
        for name in {name: None for rows in self.rows_of.values() for name in rows}:
            if name in self.errors:
                models[name] = {"error": self.errors[name]}
                continue
            for table in tables:
                if name in table.metrics:
                    first = table is tables[0]
                    figures = table.figures(name)
                    models.setdefault(name, {}).update(figures if first else {"published": figures})
        return {"models": models}

    def _test(self, protocol: str, name: str) -> dict[str, Any]:
        """Compare a model with CSS, once."""
        if (protocol, name) not in self.tests:
            folder = self.out / RUNS / protocol
            self.tests[protocol, name] = compare(folder / name, folder / "css")
        return self.tests[protocol, name]

    def _is_done(self, protocol: str, name: str) -> bool:
        return (protocol, name) in self.metrics and name not in self.errors

    def _finish(self, key: tuple[str, str], results: list[SeedResult]) -> None:
        results.sort(key=lambda result: result.entry["seed"])
        self.metrics[key] = self.runs[key].finish(results)
        self.write()

    def _fail(self, name: str, outcome: Any, where: str = "") -> None:
        """Keep the first reason why a model failed."""
        if isinstance(outcome, WorkerDied):
            reason = f"{outcome}; lower --jobs"
        else:
            text = str(outcome).strip().splitlines()[:1] or ["no message"]
            kind = "" if isinstance(outcome, MercError) else f"{type(outcome).__name__}: "
            reason = kind + text[0]
        self.errors.setdefault(name, where * (not reason.startswith("seed ")) + reason)

    def _duration(self, key: tuple[str, str]) -> float:
        """Estimate how long a run takes, up to a factor that all runs share."""
        protocol, name = key
        cost = self.costs.get("css" if name == ATTACHED else name, {"seconds": 0.0})
        return float(cost["seconds"] * self.rows_of[protocol][name].train.epochs)

    def _relative_costs(self) -> dict[str, dict[str, float]]:
        reference = self.costs.get(REFERENCE)
        relative = {}
        for name, cost in self.costs.items():
            relative[name] = {"step_seconds": cost["seconds"], "memory_bytes": cost["memory"]}
            if reference:
                relative[name]["step"] = cost["seconds"] / reference["seconds"]
                relative[name]["memory"] = cost["memory"] / reference["memory"]
        return relative


def _rows_of(protocol: str, configs: dict[str, Configuration]) -> dict[str, Configuration]:
    """Return the settings of every row of a protocol's table."""
    rows = {}
    for name, config in configs.items():
        rows[name] = config
        if protocol == "published" and name == "css" and config.train.detach_teacher:
            rows[ATTACHED] = replace(config, train=replace(config.train, detach_teacher=False))
    return rows


@dataclass(frozen=True)
class _FitAndScore:
    """The work of one process: fit and score a seed of a run; return the error that it raised."""

    runs: dict[tuple[str, str], PlannedRun]
    threads: int

    def __call__(self, item: tuple[tuple[str, str], int], send: Send) -> SeedResult | Exception:
        (protocol, name), seed = item
        run = self.runs[protocol, name]
        row = name if protocol == "clean" else f"{name} ({protocol})"
        with limited_threads(self.threads):
            try:
                fit(run.parts, run.config, seed, run.folder(seed), _named(row, send))
                return score_seed(run.parts, seed, run.folder(seed))
            except Exception as error:
                return error


def _named(row: str, send: Callable[..., None]) -> Report:
    """Return a report that adds the name of the row."""
    return lambda values: send({"row": row, **values})
