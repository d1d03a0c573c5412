"""The whole job beside the bare network on the same decoded frames, same threads.

    python workflows/benchmarks/end_to_end.py /fast/disk/scratch            # FCN-ResNet50 at 256 px
    python workflows/benchmarks/end_to_end.py /fast/disk/scratch --size 512 --frames 240   # a GPU

Two ways in: JPEGs of 1440 px to the cube, and the frames store to the cube.
Both detectors run, everything is written, records and cube included.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
from pathlib import Path

import numpy as np
from archives import jpeg_campaign, run
from inference import SMALL, large_network
from sidebyside import compare, save

from reprocess.detectors.runtimes import available_cores, open_runtime
from reprocess.detectors.weights import weights_digest
from reprocess.stores.objects import open_objects
from reprocess.stores.zarrview import ZarrView


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="the shipped network instead")
    parser.add_argument("--runtime", default="torch")
    options = parser.parse_args()
    root = options.scratch / "end-to-end"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    weights = SMALL if options.small else large_network(root)
    name = "FCN-ResNet18" if options.small else "FCN-ResNet50"
    campaign = jpeg_campaign(root, options.size, weights, options.runtime, options.frames)
    network = open_runtime(options.runtime, weights, weights_digest(weights), options.size)
    store = campaign.model_copy(update={"store": str(root / "kept")})
    run(store)
    images = stored_images(str(root / "kept"))
    assert len(images) == options.frames
    fresh = itertools.count()

    def bare() -> np.ndarray:
        return network.logits(images, available_cores())

    def from_jpeg() -> np.ndarray:
        url = str(root / f"store-{next(fresh)}")
        job = run(campaign.model_copy(update={"store": url}))
        assert job.complete
        assert job.execution.n_frames == options.frames
        return stored_logits(url)

    def from_frames() -> np.ndarray:
        job = run(store, recompute=("fcn",))
        assert job.complete
        assert job.execution.n_frames == options.frames
        return stored_logits(str(root / "kept"))

    def same(ours: np.ndarray, theirs: np.ndarray) -> str:
        assert np.array_equal(ours, theirs)
        return "identical logits"

    rows = [
        compare(
            f"{name}, {options.size} px: {what} to cube, {options.frames} frames",
            ("reprocess", call), (f"bare network, {options.runtime}", bare),
            work=options.frames, unit="frames", target="" if options.small else ">= 0.95",
            same=same, rounds=options.rounds,
        )
        for what, call in (("JPEG of 1440 px", from_jpeg), ("frames store", from_frames))
    ]  # fmt: skip
    save(f"end_to_end_{'small' if options.small else 'large'}_{options.size}", rows)


def stored_images(store: str) -> np.ndarray:
    return _present(store, "frames/2021.zarr", "image")


def stored_logits(store: str) -> np.ndarray:
    return _present(store, "evidence/fcn/2021.zarr", "logit")


def _present(store: str, path: str, name: str) -> np.ndarray:
    import zarr

    group = zarr.open_group(ZarrView(open_objects(store), path, None, read_only=True), mode="r")
    first = 151 * 1440  # 1 June
    status = np.asarray(group["status"][first : first + 1440])
    return np.asarray(group[name][first : first + 1440])[status == 1]


if __name__ == "__main__":
    main()
