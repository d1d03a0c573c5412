"""Opening a six-year cube and drawing one map of it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np
from sidebyside import figure, save

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", help="a store or s3:// URL, as planning.py leaves one")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--target", default="< 1")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.store)))
        return
    raw = []
    for _ in range(ROUNDS):
        command = [sys.executable, __file__, options.store, "--one"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        raw.append(json.loads(done.stdout.splitlines()[-1]))
    rows = [figure("open the cube and draw one map", raw, "s", options.target, "imports apart")]
    where = "s3" if options.store.startswith("s3") else "disk"
    save(f"opening_{where}", rows)


def one(store: str) -> float:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    import reprocess

    reprocess.open_cube  # noqa: B018 - imports what it needs
    started = time.perf_counter()
    cube = reprocess.open_cube(store)
    total = cube[["n_aurora", "n_observed"]].sum("time").isel(detector=0, mlt=0)
    rate = (total.n_aurora / total.n_observed).values
    figure_, axes = plt.subplots(subplot_kw={"projection": "polar"})
    axes.scatter(
        np.radians(cube.cell_azimuth_deg.values), cube.cell_zenith_deg.values, c=rate, s=30
    )
    figure_.savefig("/dev/null", format="png")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
