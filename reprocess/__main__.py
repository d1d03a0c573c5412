"""The console command and `python -m reprocess`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run one verb; Ctrl-C is one line from the first moment on, also while modules load."""
    try:
        from reprocess.cli import main as command

        return command()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
