"""Networks on a CPU: the runtimes of `reprocess.detectors.runtimes` beside torch as it comes.

    python workflows/benchmarks/inference.py           # small and large network, 256 and 512 px

"torch as it comes" is eager float32: one batch, every core as an intra-op
thread, the layout torch starts with. All sides use the same cores.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from sidebyside import compare, save

from reprocess.archive.readers.reader import load_reader
from reprocess.detectors.networks import build_network, logit_difference
from reprocess.detectors.runtimes import OpenVino, TorchCpu, available_cores
from reprocess.detectors.weights import load_network, save_network
from reprocess.errors import UnreadableFrame
from reprocess.simulate.archive import write_sample

SMALL = "package:fcn_resnet18_sim.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        large = large_network(Path(directory))
        frames = sample_frames(Path(directory))
        for name, weights, size, n in (
            ("FCN-ResNet18", SMALL, 256, 64),
            ("FCN-ResNet50", large, 256, 24),
            ("FCN-ResNet50", large, 512, 8),
        ):
            images = np.stack([resized(f, size) for f in frames[:n]])
            eager = as_it_comes(weights, images)
            for ours, runtime in (
                ("openvino", OpenVino(load_network(weights), size)),
                ("torch, one thread a frame", TorchCpu(load_network(weights), size)),
            ):
                row = compare(
                    f"{name}, {size} px, {n} frames",
                    (ours, lambda r=runtime, i=images: r.logits(i, available_cores())),
                    ("torch eager float32", eager),
                    work=n, unit="frames", rounds=rounds, same=signs_agree,
                    target=">= 1.4" if ours == "openvino" else "",
                )  # fmt: skip
                rows.append(row)
    save("inference", rows)


def large_network(directory: Path) -> str:
    """An FCN-ResNet50 of random weights whose logits have both signs."""
    torch.manual_seed(0)
    network = build_network("fcn_resnet50").eval()
    path = directory / "large.safetensors"
    save_network(path, network, "fcn_resnet50", (0.27,) * 3, (0.11,) * 3, {"data": "none"})
    return str(path)


def sample_frames(directory: Path) -> list[np.ndarray]:
    """The first 64 readable frames of the simulated archive."""
    write_sample(directory / "sample", days=1)
    files = sorted((directory / "sample" / "archive").rglob("*.jpg"))
    reader = load_reader("still")
    frames = []
    for file in files:
        with contextlib.suppress(UnreadableFrame):
            frames.append(reader.read(file.read_bytes()))
        if len(frames) == 64:
            return frames
    raise RuntimeError(f"{len(frames)} frames in the sample, expected 64")


def resized(frame: np.ndarray, size: int) -> np.ndarray:
    import cv2

    return cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA)


def as_it_comes(weights: str, images: np.ndarray):
    loaded = load_network(weights)
    mean = torch.tensor(loaded.mean).reshape(1, 3, 1, 1)
    std = torch.tensor(loaded.std).reshape(1, 3, 1, 1)

    def run() -> np.ndarray:
        torch.set_num_threads(available_cores())
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255
            return logit_difference(loaded.network((pixels - mean) / std)).half().numpy()

    return run


def signs_agree(ours: np.ndarray, theirs: np.ndarray) -> str:
    from reprocess.detectors.coverage import cell_shares

    cell = np.arange(ours.shape[-1] * 8)[:, None] // 16 * 32 + np.arange(ours.shape[-1] * 8) // 16
    weight = np.full(cell.shape, 1 / cell.size, np.float32)
    shares = [
        cell_shares(x.astype(np.float64), cell.astype(np.int16), weight, int(cell.max()) + 1, 0.0)
        for x in (ours, theirs)
    ]
    changed = int(((shares[0] >= 127) != (shares[1] >= 127)).sum())
    assert changed == 0, f"{changed} of {shares[0].size} cells changed"
    return f"0 of {shares[0].size} cells changed"


if __name__ == "__main__":
    main()
