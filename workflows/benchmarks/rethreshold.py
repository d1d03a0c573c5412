"""Another threshold from stored evidence, beside the network again, on a GPU if there is one.

python workflows/benchmarks/rethreshold.py /fast/disk/scratch --frames 960 --days 24 --rounds 1
python workflows/benchmarks/rethreshold.py /fast/disk/scratch --large --frames 480 --rounds 1
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
import yaml
from archives import jpeg_campaign, repeat_night, run
from inference import SMALL, large_network
from sidebyside import compare, save

from reprocess.campaign import load_campaign
from reprocess.cube.open import open_cube


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--frames", type=int, default=480, help="of a day")
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--large", action="store_true", help="FCN-ResNet50 of random weights")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    root = options.scratch / "rethreshold"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    weights = large_network(root) if options.large else SMALL
    campaign = jpeg_campaign(root, 256, weights, "torch", options.frames, stored_px=480)
    repeat_night(root, options.days)
    frames = options.days * options.frames
    run(campaign)
    thresholds = iter(0.3 + 0.001 * i for i in range(1000))
    document = yaml.safe_load((root / "campaign.yaml").read_text())

    def rederive() -> int:
        document["detectors"]["fcn"]["threshold"] = next(thresholds)
        path = root / "again.yaml"
        path.write_text(yaml.safe_dump(document))
        job = run(load_campaign(path))
        assert job.published
        assert job.complete
        assert not job.execution.n_frames
        return observed()

    def infer() -> int:
        job = run(campaign, recompute=("fcn",))
        assert job.execution.n_frames == frames
        assert job.complete
        return observed()

    def observed() -> int:
        return int(open_cube(campaign.store).n_observed.sel(detector="fcn").sum())

    def same(ours: int, theirs: int) -> str:
        assert ours == theirs > 0
        return f"{ours} cell-frames observed in both"

    name = "FCN-ResNet50" if options.large else "FCN-ResNet18"
    on_gpu = torch.cuda.is_available()
    row = compare(
        f"another threshold for {frames} frames in {options.days} days, {name}",
        ("from evidence", rederive), ("network again, from the frames store", infer),
        work=frames, unit="frames", same=same, rounds=options.rounds,
        target="" if on_gpu else ">= 100",
    )  # fmt: skip
    kind = "large" if options.large else "small"
    save(f"rethreshold_{kind}{'_gpu' if on_gpu else ''}", [row])


if __name__ == "__main__":
    main()
