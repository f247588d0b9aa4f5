"""The command line: commands, help, tables and progress bars.

Only this package prints, reads arguments and knows exit codes: 0 all done; 1 some inputs failed;
2 unusable arguments.
"""

from pipeline.cli.app import app, main

__all__ = ["app", "main"]
