"""The command line: commands, help, tables and progress bars.

Only this package prints, reads arguments and knows exit codes: 0 all done; 1 some inputs failed;
2 unusable arguments.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line. Workers import this package, too, but none of its commands."""
    from pipeline.cli.app import main as run

    run()
