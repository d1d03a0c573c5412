"""A run with nothing to do over six years, beside `find` with stat over the same tree.

    python workflows/benchmarks/planning.py /fast/disk/scratch     # 780 000 files, 20 min once
    python workflows/benchmarks/planning.py /fast/disk/scratch --days-a-year 20

The tree is kept, so that the second time starts at once.
"""

from __future__ import annotations

import argparse
import calendar
import os
import subprocess
import time
from datetime import date
from pathlib import Path

from archives import run, tiny_campaign, write_tiny_days
from sidebyside import compare, figure, save

YEARS = range(2018, 2024)
FRAMES_A_DAY = 356  # 780 000 frames in six years


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--days-a-year", type=int, default=366)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    root = options.scratch / f"planning-{options.days_a_year}"
    campaign = tiny_campaign(root, YEARS)
    if not (root / "made").exists():
        for year in YEARS:
            days = min(options.days_a_year, 366 if calendar.isleap(year) else 365)
            write_tiny_days(root, date(year, 1, 1), days, FRAMES_A_DAY)
        started = time.perf_counter()
        run(campaign, "local")
        (root / "made").write_text(str(time.perf_counter() - started))
    full_s = float((root / "made").read_text())
    archive = str(root / "archive")

    def nothing_to_do() -> int:
        job = run(campaign)
        assert not job.plan.tasks
        assert not job.published
        assert job.complete
        return job.catalogue.n_files

    def find() -> int:
        found = subprocess.run(
            ["find", archive, "-type", "f", "-printf", "%P %s %T@\n"],
            capture_output=True, check=True,
        )  # fmt: skip
        return found.stdout.count(b"\n")

    def same(ours: int, theirs: int) -> str:
        assert ours == theirs
        return f"{ours} files seen by both"

    n_files = nothing_to_do()
    row = compare(
        f"nothing to do, {n_files} frames catalogued", ("reprocess", nothing_to_do),
        ("find -printf with size and time", find),
        work=n_files, unit="files", target=">= 0.2", same=same, rounds=options.rounds,
    )  # fmt: skip
    seconds = n_files / row["ours"]["median"]
    rows = [
        row,
        figure("share of a full run's time", [100 * seconds / full_s], "%", "< 1",
               f"full run {full_s:.0f} s of 16 px arrays with the difference method on "
               f"{len(os.sched_getaffinity(0))} cores; a network makes it far longer"),
    ]  # fmt: skip
    save("planning", rows)


if __name__ == "__main__":
    main()
