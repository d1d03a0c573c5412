"""What a training says while it runs: a bar or lines on standard error, and a CSV log."""

from __future__ import annotations

import csv
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from reprocess.train.loop import Progress

log = logging.getLogger("reprocess")
EVERY_S = 60.0


class TrainingLine:
    """Tell each step's progress.

    Parameters
    ----------
    path : CSV to write, a line for each evaluation with the minutes of this process; lines of
        earlier evaluations stay where a training is resumed
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bar: tqdm[Any] | None = None
        self._on_terminal = sys.stderr.isatty()
        self._began = self._told = time.monotonic()

    def __enter__(self) -> TrainingLine:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if self._on_terminal:
            if self._bar is None:
                self._bar = tqdm(total=progress.steps, unit="step", file=sys.stderr)
            self._bar.set_postfix_str(f"loss {progress.loss:.4f}")
            self._bar.update(progress.step - self._bar.n)
        elif now - self._told >= EVERY_S:
            self._told = now
            log.info(
                "step %d of %d, loss %.4f, %.1f frames/s",
                progress.step, progress.steps, progress.loss, progress.frames_per_s,
            )  # fmt: skip
        if progress.evaluation is not None:
            row = dict(progress.evaluation)
            self._keep({**row, "minutes": round((now - self._began) / 60.0, 2)})
            log.info(
                "step %d of %d, loss %.4f, validation IoU %s%s",
                progress.step, progress.steps, progress.loss, row["iou"],
                ", the best so far" if row["best"] else "",
            )  # fmt: skip

    def _keep(self, row: dict[str, Any]) -> None:
        """Add a line; lines of this step and later ones are of a process that was killed."""
        kept: list[dict[str, Any]] = []
        if self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                kept = [r for r in csv.DictReader(file) if int(r["step"]) < row["step"]]
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows([*kept, row])
        part.replace(self._path)
