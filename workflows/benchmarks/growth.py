"""How time and memory grow with the archive: days 1, 2, 4 … through a real run.

python workflows/benchmarks/growth.py /fast/disk/scratch --days 64
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import shutil
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
from archives import run, tiny_campaign, write_tiny_days
from sidebyside import figure, in_a_process, save

FRAMES_A_DAY = 1440


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--days", type=int, default=64)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.scratch / "growth"
    if options.one:
        one(root, options.one)
        return
    shutil.rmtree(root, ignore_errors=True)
    sizes = [2**k for k in range(int(math.log2(options.days)) + 1)]
    found = []
    for n in sizes:
        write_tiny_days(root, date(2021, 1, 1), n, FRAMES_A_DAY)
        shutil.rmtree(root / "store", ignore_errors=True)
        arguments = (str(options.scratch), "--one", str(n))
        found.append(in_a_process(Path(__file__), *arguments))
        print(n, found[-1], flush=True)
    seconds = [f["seconds"] for f in found]
    large = slice(len(sizes) // 2, None)
    exponent = np.polyfit(np.log(sizes[large]), np.log(seconds[large]), 1)[0]
    growth_mb = found[-1]["driver_mb"] - found[0]["driver_mb"]
    rows = [
        figure(f"exponent of time, {sizes[large][0]} to {sizes[-1]} days", [float(exponent)], "",
               "<= 1.05", f"seconds: {[round(s, 2) for s in seconds]}"),
        figure(f"driver and scheduler memory, {sizes[-1]} days above 1 day", [growth_mb], "MB",
               "<= 300"),
    ]  # fmt: skip
    save("growth", rows, {"days": sizes, "seconds": seconds, "frames_a_day": FRAMES_A_DAY})


def one(root: Path, n_days: int) -> None:
    campaign = tiny_campaign(root, [2021])
    started = time.perf_counter()
    job = run(campaign, "local")
    seconds = time.perf_counter() - started
    assert job.complete
    assert len(job.execution.results) == n_days
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "driver_mb": peak}))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
