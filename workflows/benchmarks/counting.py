"""Counting frames into (month, MLT, cell): our counter beside flox and plain xarray.

    python workflows/benchmarks/counting.py            # all three, 100 000 and 500 000 frames

Each side runs in a process of its own, which says how long the counting took
(import, made-up detections and a first run to warm up apart) and what memory
it took on top of its input.
"""

from __future__ import annotations

import itertools
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from sidebyside import figure, in_a_process, save

CELLS, MLT_BINS, ROUNDS = 400, 24, 3
FRAMES_A_DAY = 480


def main() -> None:
    rows = []
    for n, sides in ((100_000, ("reprocess", "flox", "xarray")), (500_000, ("reprocess", "flox"))):
        found: dict[str, list[dict]] = {side: [] for side in sides}
        for _ in range(ROUNDS):
            for side in sides:
                found[side].append(in_a_process(Path(__file__), side, str(n)))
        checks = {side: runs[0]["check"] for side, runs in found.items()}
        assert len(set(checks.values())) == 1, checks
        ours = [run["frames_per_s"] for run in found["reprocess"]]
        rows.append(figure(f"counter, {n} frames", ours, "frames/s", ""))
        for side, target in (("flox", ">= 100"), ("xarray", ">= 10")):
            if side in found:
                theirs = [run["frames_per_s"] for run in found[side]]
                ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
                row = figure(
                    f"counter / {side}, {n} frames", ratios, "ratio", target, "same counts"
                )
                rows.append({**row, "theirs": theirs})
        for side in sides:
            extra = [run["extra_mb"] for run in found[side]]
            target = "<= 200" if side == "reprocess" else ""
            rows.append(
                figure(f"memory of {side} above its input, {n} frames", extra, "MB", target)
            )
    save("counting", rows)


def made_up(n: int):
    rng = np.random.default_rng(7)
    day = np.arange(n) // FRAMES_A_DAY
    month = (day // 31 % 12).astype(np.int64)
    mlt = (np.arange(n) % FRAMES_A_DAY * MLT_BINS // FRAMES_A_DAY).astype(np.int64)
    fraction = rng.integers(0, 256, (n, CELLS), dtype=np.uint8)
    return day, month, mlt, fraction


def reprocess(day, month, mlt, fraction):
    from reprocess.cube.count import Counter

    counter = Counter(("a",), MLT_BINS, CELLS, 127)
    bounds = np.flatnonzero(np.diff(day, prepend=-1, append=-1))
    for start, stop in itertools.pairwise(bounds):
        part = slice(start, stop)
        selected = np.ones(stop - start, bool)
        counter.add_day(month[part], mlt[part], selected, {"a": fraction[part]})
    return counter.counts[0, :, 0], counter.counts[1, :, 0]


def flox(_day, month, mlt, fraction):
    from flox import groupby_reduce

    expected = (np.arange(12), np.arange(MLT_BINS))
    results = []
    for mask in (fraction != 255, (fraction >= 127) & (fraction != 255)):
        counts, *_ = groupby_reduce(
            mask.T, month, mlt, func="sum", expected_groups=expected, fill_value=0, dtype=np.int64
        )
        results.append(np.moveaxis(counts, 0, -1))
    return tuple(results)


def xarray(_day, month, mlt, fraction):
    import xarray as xr

    results = []
    with xr.set_options(use_flox=False):
        for mask in (fraction != 255, (fraction >= 127) & (fraction != 255)):
            group = xr.DataArray(month * MLT_BINS + mlt, dims="frame", name="group")
            sums = xr.DataArray(mask, dims=("frame", "cell")).groupby(group).sum()
            full = np.zeros((12 * MLT_BINS, CELLS), np.int64)
            full[sums.group.values] = sums.values
            results.append(full.reshape(12, MLT_BINS, CELLS))
    return tuple(results)


def one_side(side: str, n: int) -> None:
    count = {"reprocess": reprocess, "flox": flox, "xarray": xarray}[side]
    count(*made_up(2000))
    data = made_up(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    observed, aurora = count(*data)
    seconds = time.perf_counter() - started
    extra = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    weights = np.arange(observed.size).reshape(observed.shape) % 9973
    check = [int((np.asarray(c, np.int64) * weights).sum()) for c in (observed, aurora)]
    print(json.dumps({"frames_per_s": n / seconds, "extra_mb": extra / 1024, "check": str(check)}))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        one_side(sys.argv[1], int(sys.argv[2]))
    else:
        main()
