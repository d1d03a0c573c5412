"""Remake the figures of docs/gallery.md: `python workflows/gallery.py`.

Runs the sample campaign in `sample-run/` (two minutes; nothing if it is there and up to date),
then draws every kind of picture from its store into docs/figures/.

    python workflows/gallery.py --store STORE --out DIR

draws the same kinds from a sample store that lies elsewhere.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from PIL import Image

from reprocess import cli

DOCS = Path(__file__).parent.parent / "docs" / "figures"
DPI = 150
FIGURES = {
    "sample_occurrence": ["occurrence"],
    "sample_strip": ["occurrence", "--strip"],
    "sample_difference": ["occurrence", "--difference"],
    "sample_ratio": ["occurrence", "--ratio"],
    "sample_month": ["occurrence", "--by", "month"],
    "sample_dial": ["occurrence", "--dial"],
    "sample_compare": [
        "compare", "--time", "2021-06-10T06:40", "2021-06-10T10:36", "2021-06-10T10:20",
    ],
    "sample_keogram": ["keogram", "--day", "2021-06-10", "--hours", "10.25", "11"],
    "sample_coverage": ["coverage"],
}  # fmt: skip
"""Name of the file → what follows `reprocess plot`, without store and output."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", help="a sample store; default: sample-run/store, run first")
    parser.add_argument("--out", type=Path, default=DOCS, help="default docs/figures")
    parser.add_argument("--only", nargs="+", choices=list(FIGURES), help="default all")
    options = parser.parse_args()
    store = options.store
    if store is None:
        code = subprocess.run([sys.executable, "-m", "reprocess.run"], check=False).returncode
        if code:
            return code
        store = "sample-run/store"
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or FIGURES:
        kind, *rest = FIGURES[name]
        path = options.out / f"{name}.png"
        code = cli.main(["plot", kind, store, str(path), "--dpi", str(DPI), *rest])
        if code:
            return code
        _shrink(path)
    return 0


def _shrink(path: Path) -> None:
    """Keep 256 colours: a third of the bytes, and hardly a difference that one can see."""
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE, kmeans=3)
    few.save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
