"""What code imports, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from support.paths import ROOT


def run_alone(code: str) -> tuple[list[str], set[str]]:
    """Run code in a new process; return the lines that it prints, and all modules it has loaded."""
    code = f"{code}\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    *lines, modules = done.stdout.splitlines()
    return [line for line in lines if line], set(json.loads(modules))
