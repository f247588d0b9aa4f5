"""Feed mutated files to every reader of merc: no traceback, no hang, bounded memory.

    python tests/fuzz.py --count 2000 --seed 0

A reader may return, or raise a MercError or OSError with a message. Anything else is a finding: its
input is kept in the folder that --keep names. Each input has 10 s. A worker process reads the
inputs, so that a crash or a hang in native code is a finding and not the end.
`tests/test_fuzz.py` runs a short form.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import selectors
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

LIMIT = 10.0  # s for one input
STARTUP = 300.0  # s until a worker has imported torch and written the valid files
MAX_BYTES = 2 << 30  # peak memory of a worker
TOKENS = [
    *(b"\x1b[2J", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xed\xa0\x80"),
    *(b"9" * 400, b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"0", b"???"),
    *(b"{", b"}", b"[", b"]", b'"', b"'", b",", b";", b"\t", b"\n\n", b":", b"=", b"&a", b"*a"),
    *(b"<v a ", b"-->", b"00:00:01,000", b"99:99:99.999", b"${oc.env:HOME}", b"!!python/x "),
    *(b"\x80\x04", b"\x93NUMPY", b"PK\x03\x04", b"\xff\xff\xff\x7f", b"\xff" * 8, b"cos\nsystem\n"),
]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a few places of a file, or its structure."""
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        size = len(mutated)
        # half of the changes are near the beginning, where headers are
        at = rng.randrange(size + 1) if rng.random() < 0.5 else rng.randrange(min(size, 512) + 1)
        end = min(size, at + rng.choice((1, 2, 4, 16, 64, 1024)))
        kind = rng.randrange(9)
        if kind == 0 and at < size:
            mutated[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < size:
            mutated[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            mutated[at:at] = rng.choice(TOKENS)
        elif kind == 3:
            token = rng.choice(TOKENS)
            mutated[at : at + len(token)] = token
        elif kind == 4:
            del mutated[at:end]
        elif kind == 5:
            del mutated[at:]
        elif kind == 6:
            other = rng.randrange(size + 1)
            mutated[at:at] = mutated[other : other + 64]
        elif kind == 7:
            piece = bytes(mutated[at : at + rng.choice((1, 4, 8))]) or b"{"
            mutated[at:at] = piece * min(40_000, 200_000 // len(piece))
        else:
            numbers = list(re.finditer(rb"\d+", bytes(mutated[:100_000])))
            if numbers:
                match = rng.choice(numbers)
                value = rng.choice(
                    (b"0", b"-1", b"1e308", b"1" + b"0" * 30, b'"x"', b"[]", b"null")
                )
                mutated[match.start() : match.end()] = value
    return bytes(mutated)


@dataclass
class Findings:
    """What went wrong, and what was measured."""

    inputs: int = 0
    tracebacks: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    crashes: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    slowest_input: str = ""
    peak: int = 0  # bytes

    @property
    def clean(self) -> bool:
        return not (self.tracebacks or self.hangs or self.crashes) and self.peak < MAX_BYTES

    def summary(self) -> str:
        lines = [*self.tracebacks, *self.hangs, *self.crashes]
        outcomes = ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        lines += [
            f"{self.inputs} inputs: {outcomes}",
            f"{len(self.tracebacks)} tracebacks, {len(self.hangs)} hangs beyond {LIMIT:.0f} s, "
            f"{len(self.crashes)} crashes",
            f"slowest {self.slowest:.2f} s ({self.slowest_input}), peak memory "
            f"{self.peak / 2**20:.0f} MB",
        ]
        return "\n".join(lines)


def fuzz(count: int, seed: int, shared: Path | None, keep: Path | None = None) -> Findings:
    """Run `count` inputs in worker processes; a worker that hangs or crashes is replaced."""
    findings, index = Findings(), 0
    while index < count:
        index = _run_worker(index, count, seed, shared, keep, findings)
    return findings


def _run_worker(
    first: int, count: int, seed: int, shared: Path | None, keep: Path | None, findings: Findings
) -> int:
    """Read the inputs from `first` on until the worker ends; return the next index."""
    command = [sys.executable, __file__, "--worker", "--first", str(first), "--seed", str(seed)]
    command += ["--count", str(count)]
    command += ["--shared", str(shared)] if shared else []
    command += ["--keep", str(keep)] if keep else []
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert worker.stdout
    selector = selectors.DefaultSelector()
    selector.register(worker.stdout, selectors.EVENT_READ)
    index, name, wait = first, "start of the worker", STARTUP
    try:
        while True:
            if not selector.select(wait):
                findings.hangs.append(f"hang: input {index}, {name}")
                return index + 1
            line = worker.stdout.readline()
            if not line:
                if index < count:
                    code = worker.wait()
                    findings.crashes.append(f"crash: input {index}, {name}: exit {code}")
                return index + 1
            row = json.loads(line)
            wait = LIMIT
            if "begin" in row:
                index, name = row["begin"], row["target"]
                continue
            index += 1
            findings.inputs += 1
            findings.peak = max(findings.peak, row["peak"])
            findings.outcomes[row["outcome"]] += 1
            if row["outcome"] == "traceback":
                findings.tracebacks.append(f"traceback: input {index - 1}, {name}: {row['error']}")
            if row["seconds"] > findings.slowest:
                findings.slowest, findings.slowest_input = row["seconds"], f"{index - 1}, {name}"
    finally:
        selector.close()
        worker.kill()
        worker.wait()


def _work(first: int, count: int, seed: int, shared: Path | None, keep: Path | None) -> None:
    """Read the inputs [first, count) and report each on standard output."""
    from measure import peak_memory
    from support.fuzz_targets import make_targets

    from pipeline.core.errors import MercError

    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        targets = make_targets(Path(folder), shared)
        shares = [target.share for target in targets]
        for target in targets:
            # also loads what is loaded once; real files may be refused
            with suppress(*([MercError] if shared else [])):
                target.read(target.path)
            target.path.parent.mkdir(parents=True, exist_ok=True)
            target.path.write_bytes(target.content)
        for index in range(first, count):
            rng = random.Random(f"{seed} {index}")
            target = rng.choices(targets, shares)[0]
            data = mutate(target.content, rng)
            target.path.parent.mkdir(parents=True, exist_ok=True)
            target.path.write_bytes(data)
            _say({"begin": index, "target": target.name})
            began, error = time.monotonic(), ""
            try:
                target.read(target.path)
                outcome = "read"
            except MercError as refused:
                outcome = "refused" if str(refused).strip() else "traceback"
            except OSError as refused:
                outcome = "OSError" if str(refused).strip() else "traceback"
            except BaseException as unexpected:
                outcome, trace = "traceback", unexpected.__traceback__
                while trace and trace.tb_next:
                    trace = trace.tb_next
                place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
                error = f"{type(unexpected).__name__}: {str(unexpected)[:200]!a} ({place})"
            seconds = time.monotonic() - began
            if keep and (outcome == "traceback" or seconds > 2):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{index}-{target.path.name}").write_bytes(data)
            peak = int(peak_memory() * 2**20)
            _say({"outcome": outcome, "seconds": seconds, "peak": peak, "error": error})
            if target.path.is_file():
                target.path.write_bytes(target.content)


def _say(row: dict[str, object]) -> None:
    print(json.dumps(row), flush=True)


def main() -> None:
    """Fuzz, print the findings, exit with code 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shared", type=Path, help="folder of real recordings and transcripts")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that are findings")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(options.first, options.count, options.seed, options.shared, options.keep)
        return
    findings = fuzz(options.count, options.seed, options.shared, options.keep)
    print(findings.summary())
    raise SystemExit(0 if findings.clean else 1)


if __name__ == "__main__":
    main()
