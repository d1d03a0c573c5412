"""Archives and campaigns to time: tiny arrays by the hundred thousand, JPEGs of full size."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from reprocess.campaign import Campaign, load_campaign
from reprocess.job import Job, run_job
from reprocess.request import Request
from reprocess.simulate.archive import sample_text

TINY_PX = 16


def tiny_campaign(root: Path, years: Sequence[int], cadence_s: int = 60) -> Campaign:
    """A campaign of 16 px arrays and the difference method: all costs but the network's."""
    size = TINY_PX
    document = {
        "name": "benchmark",
        "site": {"code": "JBS", "latitude_deg": -74.62, "longitude_deg": 164.22},
        "camera": [
            {
                "valid_from": f"{min(years)}-01-01T00:00:00Z",
                "lens": {
                    "center_x_px": 7.5, "center_y_px": 7.5, "px_per_deg": 0.09,
                    "north_deg": 0.0, "east": "left",
                },
                "image_width_px": size, "image_height_px": size,
                "crop": {"left_px": 0, "top_px": 0, "size_px": size},
            }
        ],
        "archive": {
            "url": str(root / "archive"), "pattern": "%Y/%m%d/%Y%m%d_%H%M%S.npy", "reader": "npy",
        },
        "store": str(root / "store"),
        "cadence_s": cadence_s,
        "image": {"size_px": size},
        "process": {"sun_elevation_max_deg": None},
        "detectors": {
            "difference": {"kind": "difference", "k_sigma": None, "threshold_dn": 5.0},
        },
        "cube": {"sun_elevation_max_deg": 90},
        "years": list(years),
    }  # fmt: skip
    path = root / "campaign.yaml"
    root.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_campaign(path)


def write_tiny_day(root: Path, day: date, n_frames: int) -> None:
    """The first `n_frames` minutes of a day; every frame has pixels of its own."""
    directory = root / "archive" / day.strftime("%Y/%m%d")
    directory.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    np.save(stream, np.zeros((TINY_PX, TINY_PX, 3), np.uint8))
    header = stream.getvalue()[: -TINY_PX * TINY_PX * 3]
    rng = np.random.default_rng(day.toordinal())
    pixels = rng.integers(20, 90, (n_frames, TINY_PX * TINY_PX * 3)).astype(np.uint8)
    for minute in range(n_frames):
        name = f"{day:%Y%m%d}_{minute // 60:02d}{minute % 60:02d}30.npy"
        (directory / name).write_bytes(header + pixels[minute].tobytes())


def write_tiny_days(root: Path, first: date, n_days: int, n_frames: int) -> None:
    days = [first + timedelta(days=i) for i in range(n_days)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda day: write_tiny_day(root, day, n_frames), days))


def jpeg_campaign(
    root: Path, size_px: int, weights: str, runtime: str, n_frames: int, stored_px: int = 1440,
    precision: str = "float32",
) -> Campaign:  # fmt: skip
    """A night of `n_frames` JPEGs of full size: simulated frames enlarged, with sensor noise."""
    document = yaml.safe_load(sample_text())
    scale = stored_px / 480
    epoch = document["camera"][0]
    lens = epoch["lens"]
    for key in ("center_x_px", "center_y_px"):
        lens[key] = (lens[key] + 0.5) * scale - 0.5
    lens["px_per_deg"] *= scale
    epoch["crop"] = {key: round(value * scale) for key, value in epoch["crop"].items()}
    epoch["image_width_px"] = epoch["image_height_px"] = stored_px
    document["camera"] = [epoch]
    document["archive"]["url"] = str(root / "archive")
    document["store"] = str(root / "store")
    document["image"] = {"size_px": size_px}
    document["detectors"]["fcn"] = {
        "kind": "fcn", "weights": weights, "runtime": runtime, "precision": precision,
    }  # fmt: skip
    document["process"] = {"sun_elevation_max_deg": None}
    document["cube"] = {"sun_elevation_max_deg": 90}
    document["years"] = [2021]
    directory = root / "archive" / "2021" / "06" / "01"
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    coarse = rng.uniform(10, 90, (24, 24, 3)).astype(np.float32)
    for minute in range(n_frames):
        coarse += rng.normal(0, 2, coarse.shape).astype(np.float32)
        smooth = cv2.resize(coarse, (stored_px, stored_px), interpolation=cv2.INTER_CUBIC)
        noisy = smooth + rng.normal(0, 2, smooth.shape).astype(np.float32)
        _ok, data = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8))
        name = f"jbs_20210601_{minute // 60:02d}{minute % 60:02d}30.jpg"
        (directory / name).write_bytes(data.tobytes())
    path = root / "campaign.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_campaign(path)


def repeat_night(root: Path, days: int) -> None:
    """Let the night that `jpeg_campaign` made be followed by the same one, `days` in all."""
    month = root / "archive" / "2021" / "06"
    for file in sorted((month / "01").iterdir()):
        for day in range(2, days + 1):
            target = month / f"{day:02d}" / file.name.replace("20210601", f"202106{day:02d}")
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, target)


def run(campaign: Campaign, cluster: str = "serial", **request: Any) -> Job:
    """The main job in this process, silent."""
    labels = tuple(campaign.detectors)
    asked = Request(campaign.years, labels, cluster, **request)
    return run_job(campaign, asked, lambda _line: None, lambda _progress: None)
