"""One changed frame in a committed campaign: the tasks it reaches, and the bytes that are read."""

from __future__ import annotations

import argparse
import shutil
from datetime import date
from pathlib import Path

import numpy as np
from archives import TINY_PX, run, tiny_campaign, write_tiny_days
from sidebyside import figure, save

from reprocess.archive.files import ArchiveBytes

DAYS = 30
FRAMES_A_DAY = 1440


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    root = parser.parse_args().scratch / "one-frame"
    shutil.rmtree(root, ignore_errors=True)
    write_tiny_days(root, date(2021, 1, 1), DAYS, FRAMES_A_DAY)
    campaign = tiny_campaign(root, [2021])
    run(campaign, "local")
    rows = []
    for what, name, tasks in (
        ("a frame at noon", "2021/0110/20210110_120030.npy", 1),
        ("the last frame before midnight", "2021/0110/20210110_235930.npy", 2),
    ):
        np.save(root / "archive" / name, np.full((TINY_PX, TINY_PX, 3), 9, np.uint8))
        bytes_read = 0
        whole = ArchiveBytes.read

        def counted(self, name, whole=whole):
            nonlocal bytes_read
            data = whole(self, name)
            bytes_read += len(data)
            return data

        ArchiveBytes.read = counted
        try:
            job = run(campaign)
        finally:
            ArchiveBytes.read = whole
        days = sorted(job.execution.results)
        assert job.complete
        assert len(days) == tasks, days
        block = sum(f.stat().st_size for f in (root / "archive/2021/0110").iterdir())
        rows.append(figure(f"{what}: tasks", [len(days)], "", f"{tasks}"))
        rows.append(
            figure(f"{what}: archive bytes read / bytes of its day", [bytes_read / block], "",
                   "<= 1.1")
        )  # fmt: skip
    save("one_frame", rows)


if __name__ == "__main__":
    main()
