"""What grows with an archive when no image is touched: catalogue, plan, records, counting.

    python workflows/benchmarks/scale.py            # 50 000 to 3.2 million frames, a minute or two

Names are made up one by one and handed to the collector that a listing feeds, so that no file
system is timed (`planning.py` has one). Every day is committed, so the plan looks at all of it.
A size runs in a process of its own, which tells its peak memory.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from archives import tiny_campaign
from sidebyside import figure, in_a_process, save

from reprocess import stages
from reprocess.archive.catalogue import _Collector
from reprocess.archive.clock import Clock
from reprocess.archive.pattern import NamePattern
from reprocess.archive.seen import Known, SeenDays
from reprocess.archive.uncollected import uncollected
from reprocess.cube.count import Counter
from reprocess.plan import plan_archive
from reprocess.stores.objects import MemoryObjects
from reprocess.stores.records import Records, day_block, record_key

FRAMES_A_DAY = 1440
DAYS = (35, 69, 139, 278, 556, 1111, 2222)
FIRST = date(2015, 1, 1)
PARTS = ("catalogue", "collector", "plan", "records", "counting")


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(one(int(sys.argv[1]))))
        return
    found = []
    for n in DAYS:
        found.append(in_a_process(Path(__file__), str(n)))
        print(n, found[-1], flush=True)
    sizes = [n * FRAMES_A_DAY for n in DAYS]
    rows = []
    for part in PARTS:
        seconds = [f[part] for f in found]
        exponent = float(np.polyfit(np.log(sizes[3:]), np.log(seconds[3:]), 1)[0])
        rows.append(
            figure(f"{part}: exponent of time, {sizes[3]} to {sizes[-1]} frames", [exponent], "",
                   "<= 1.05", f"{seconds[-1]:.2f} s at the end")
        )  # fmt: skip
    growth = [f["mb"] - found[0]["mb"] for f in found]
    rows.append(
        figure("memory of the driver a million frames", [1e6 * growth[-1] / sizes[-1]], "MB", "",
               "names, times, sizes of the years asked for")
    )  # fmt: skip
    save("scale", rows, {"frames": sizes, "runs": found})


def one(n_days: int) -> dict[str, float]:
    days = [FIRST + timedelta(days=i) for i in range(n_days)]
    years = sorted({day.year for day in days})
    with tempfile.TemporaryDirectory() as directory:
        campaign = tiny_campaign(Path(directory), years)
    label = "difference"
    window_s = stages.context_s(campaign, label)
    seconds = dict.fromkeys(PARTS, 0.0)

    names = [
        [f"{day:%Y/%m%d/%Y%m%d}_{m // 60:02d}{m % 60:02d}30.npy" for m in range(FRAMES_A_DAY)]
        for day in days
    ]
    started = time.perf_counter()
    pattern = NamePattern(campaign.archive.pattern)
    clock = Clock(campaign.archive.timezone, campaign.camera)
    collector = _Collector(pattern, frozenset(years), clock)
    with uncollected():  # as `scan` does
        for of_day in names:
            for name in of_day:
                collector.add(name, name, lambda _name: (896, "1700000000000000000"))
        catalogue = collector.finish().days
    seconds["catalogue"] = time.perf_counter() - started
    del names

    started = time.perf_counter()
    gc.collect()  # what `uncollected` put off; some later step would have it on its account
    seconds["collector"] = time.perf_counter() - started

    objects, digest = MemoryObjects(), "0" * 64
    first = SeenDays(objects, campaign)
    for day, entries in catalogue.items():
        first.remember(day, entries, Known(digest, {window_s: digest}))
        frames = stages.frames_fingerprint(campaign, day, digest)
        context = digest if day > days[0] else ""
        if not context:
            # the day before the first is empty: its tail's hash is that of nothing
            context = first.resolve({}, (), [(day - timedelta(days=1), window_s)], 1, {})[
                day - timedelta(days=1)
            ].tails[window_s]
        evidence = stages.evidence_fingerprint(campaign, label, day, frames, context)
        detections = stages.detections_fingerprint(campaign, label, day, evidence)
        for stage, its, one_of in (
            ("frames", "", frames), ("evidence", label, evidence), ("detections", label, detections)
        ):  # fmt: skip
            objects.write(record_key(day_block(stage, its, day), one_of), b"{}")
    first.save()

    started = time.perf_counter()
    listing = Records(objects).list()
    seconds["records"] = time.perf_counter() - started

    started = time.perf_counter()
    plan = plan_archive(campaign, years, (label,), catalogue, SeenDays(objects, campaign), listing)
    seconds["plan"] = time.perf_counter() - started
    assert not plan.tasks, plan.tasks[0]
    assert len(plan.skipped) == n_days

    rng = np.random.default_rng(1)
    fraction = rng.integers(0, 256, (FRAMES_A_DAY, 400), dtype=np.uint8)
    mlt = np.arange(FRAMES_A_DAY) * 24 // FRAMES_A_DAY
    selected = np.ones(FRAMES_A_DAY, bool)
    Counter((label,), 24, 400, 127).add_day(mlt * 0, mlt, selected, {label: fraction})
    started = time.perf_counter()
    counter = Counter((label,), 24, 400, 127)
    for day in days:
        counter.add_day(np.full(FRAMES_A_DAY, day.month - 1), mlt, selected, {label: fraction})
    seconds["counting"] = time.perf_counter() - started
    return {**seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    main()
