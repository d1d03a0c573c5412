"""The whole job beside the bare network on the same decoded frames, same threads.

    python workflows/benchmarks/end_to_end.py /fast/disk/scratch            # FCN-ResNet50 at 256 px
    python workflows/benchmarks/end_to_end.py /fast/disk/scratch --size 512 --frames 960 \\
        --precision float16                                                 # a GPU

Two ways in: JPEGs of 1440 px to the cube, and the frames store to the cube. Both detectors run,
everything is written, records and cube included. On a GPU two things more: what the cores can do
for the way from JPEG, each step alone on all cores; and what share the bare network has of the
rate at which the GPU multiplies bfloat16 matrices.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import zarr
from archives import jpeg_campaign, run
from inference import SMALL, large_network
from sidebyside import compare, figure, save

from reprocess.archive.frames import prepare
from reprocess.archive.readers.reader import load_reader
from reprocess.campaign import Campaign
from reprocess.detectors.networks import build_network
from reprocess.detectors.runtimes import available_cores, open_runtime
from reprocess.detectors.weights import weights_digest
from reprocess.stores.layout import chunk_slots
from reprocess.stores.objects import open_objects
from reprocess.stores.zarrview import ZarrView

MATRIX = 8192


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="the shipped network instead")
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--precision", default="float32", help="on a GPU: float16 or bfloat16")
    options = parser.parse_args()
    root = options.scratch / "end-to-end"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    weights = SMALL if options.small else large_network(root)
    name = "FCN-ResNet18" if options.small else "FCN-ResNet50"
    on_gpu = options.runtime == "torch" and torch.cuda.is_available()
    campaign = jpeg_campaign(
        root, options.size, weights, options.runtime, options.frames, precision=options.precision
    )
    network = open_runtime(
        options.runtime, weights, weights_digest(weights), options.size, options.precision
    )
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

    bare_name = f"bare network, {options.runtime} {options.precision}"
    rows = [
        compare(
            f"{name}, {options.size} px: {what} to cube, {options.frames} frames",
            ("reprocess", call), (bare_name, bare),
            work=options.frames, unit="frames", same=same, rounds=options.rounds,
            target="" if options.small else target,
        )
        for what, call, target in (
            ("JPEG of 1440 px", from_jpeg, "" if on_gpu else ">= 0.95"),
            ("frames store", from_frames, ">= 0.90" if on_gpu else ">= 0.95"),
        )
    ]  # fmt: skip
    if on_gpu:
        rows += limits(campaign, sorted((root / "archive").rglob("*.jpg")), images)
        flop = flop_a_frame("fcn_resnet18" if options.small else "fcn_resnet50", options.size)
        matrix = bfloat16_flop_per_s(MATRIX, "cuda")
        rows.append(figure(f"bfloat16 matrices of {MATRIX}", matrix, "FLOP/s", ""))
        shares = [rate * flop / median(matrix) for rate in rows[1]["theirs"]["raw"]]
        rows.append(figure("share of it in the bare network", shares, "ratio", ""))
    kind = "small" if options.small else "large"
    save(f"end_to_end_{kind}_{options.size}{f'_gpu_{options.precision}' if on_gpu else ''}", rows)


def limits(campaign: Campaign, files: Sequence[Path], images: np.ndarray) -> list[dict[str, Any]]:
    """What each step between a JPEG and the frames store could do with all cores to itself."""
    reader, epoch, size = load_reader("still"), campaign.camera[0], campaign.image.size_px
    n = min(len(images), chunk_slots(campaign.slots_per_day))
    data = [file.read_bytes() for file in files[:n]]
    stored = [reader.read(one) for one in data]
    chunks = [images[:n]] * available_cores()

    def compress(chunk: np.ndarray) -> zarr.Array:
        return zarr.create_array(
            zarr.storage.MemoryStore(), data=chunk, chunks=chunk.shape,
            compressors=[zarr.codecs.ZstdCodec(level=1)],
        )  # fmt: skip

    def decompress(array: zarr.Array) -> np.ndarray:
        return np.asarray(array[:])

    packed = [compress(chunk) for chunk in chunks]
    return [
        figure(f"{what}, all cores alone", rates(call, items, work), "frames/s", "")
        for what, call, items, work in (
            ("decoding JPEG of 1440 px", reader.read, data, 1),
            (f"averaging down to {size} px", lambda one: prepare(one, epoch, size), stored, 1),
            (f"compressing frames of {size} px", compress, chunks, n),
            (f"decompressing frames of {size} px", decompress, packed, n),
        )
    ]


def rates(call: Callable[[Any], Any], items: Sequence[Any], work: int) -> list[float]:
    """Frames a second with every core, an item each; five times."""
    found = []
    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(call, items))
            found.append(len(items) * work / (time.perf_counter() - started))
    return found


def flop_a_frame(architecture: str, size_px: int) -> float:
    """Multiplications and additions, two operations each, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    network = build_network(architecture).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size_px, size_px))
    return float(counter.get_total_flops())


def bfloat16_flop_per_s(n: int, device: str) -> list[float]:
    """What a device reaches multiplying n x n matrices of bfloat16, nine times."""
    one, other = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    found = []
    for attempt in range(10):
        _wait(device)
        started = time.perf_counter()
        one @ other
        _wait(device)
        if attempt:  # the first one chooses a kernel
            found.append(2 * n**3 / (time.perf_counter() - started))
    return found


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def stored_images(store: str) -> np.ndarray:
    return _present(store, "frames/2021.zarr", "image")


def stored_logits(store: str) -> np.ndarray:
    return _present(store, "evidence/fcn/2021.zarr", "logit")


def _present(store: str, path: str, name: str) -> np.ndarray:
    group = zarr.open_group(ZarrView(open_objects(store), path, None, read_only=True), mode="r")
    first = 151 * 1440  # 1 June
    status = np.asarray(group["status"][first : first + 1440])
    return np.asarray(group[name][first : first + 1440])[status == 1]


if __name__ == "__main__":
    main()
