"""The same job as a user would do it without this package: Ray Data, DataLoader, naive Dask.

    python workflows/benchmarks/rivals.py /fast/disk/scratch       # small network, 2880 frames
    python workflows/benchmarks/rivals.py /fast/disk/scratch --large --jobs 2x30 2x120

Every side turns the same JPEGs into the same counts of 400 cells, in processes of its own with the
same malloc settings and two cores. The others build the network of torchvision's layers and run it
as torch comes, `channels_last`; ours runs with `runtime: torch`, and once more with `runtime:
openvino`. Every side does a short job and a longer one. Steady state is what the frames more took;
start-up is what is left of the short job then: interpreters, imports, processes, and whatever is
done once.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from archives import jpeg_campaign, repeat_night
from sidebyside import figure, in_a_process, save

from reprocess.clusters.malloc import MALLOC

ENVIRONMENT = {**{key: str(size) for key, size in MALLOC.items()}, "OMP_NUM_THREADS": "1"}
STEADY = {"ray": ">= 1.2", "dask": ">= 1.2", "dataloader": ">= 1.0"}
STEADY_KEY = "steady_frames_per_s"
WHOLE = {("ray", 240): ">= 2"}
PART = 8


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument(
        "--jobs", nargs=2, default=("2x120", "4x720"), help="the short and the long: days x frames"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        counts = SIDES[options.side](options.scratch)
        print(json.dumps({"counts": [int(c) for c in counts]}))
        return
    # Not above: Dask's workers import this module again, and torch would be a cost of theirs.
    from inference import SMALL, large_network

    root = options.scratch / "rivals"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    weights = large_network(root) if options.large else SMALL
    jobs: dict[str, int] = {}
    for job in options.jobs:
        days, a_day = map(int, job.split("x"))
        make(root / job, weights, days, a_day)
        jobs[job] = days * a_day
    found: dict[str, list[dict]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            found[side].append(both_jobs(side, root, jobs))
            print(side, {k: v for k, v in found[side][-1].items() if k != "counts"}, flush=True)
            totals = {side: runs[-1]["counts"] for side, runs in found.items() if runs}
            assert len({str(counts) for counts in totals.values()}) == 1, totals
    rows = []
    walls = dict(zip(("wall_s", "wall_of_all_s"), jobs.values(), strict=True))
    for side, target in STEADY.items():
        openvino = f"{side}: steady state with runtime: openvino, ours / theirs"
        rows.append(row(found, side, f"{side}: steady state, ours / theirs", STEADY_KEY, target))
        rows.append(row(found, side, openvino, STEADY_KEY, target, "openvino"))
        for key, frames in walls.items():
            whole = f"{side}: whole job of {frames} frames, theirs / ours"
            rows.append(row(found, side, whole, key, WHOLE.get((side, frames), "")))
        memory = "<= 0.6" if side == "ray" else ""
        rows.append(row(found, side, f"{side}: peak memory, ours / theirs", "peak_mb", memory))
    name = "large" if options.large else "small"
    notes = {"frames": jobs, "network": name, "runs": found}
    save(f"rivals_{name}", rows, notes)


def make(root: Path, weights: str, days: int, a_day: int) -> None:
    """One night of JPEGs, the same on every day."""
    root.mkdir()
    jpeg_campaign(root, 256, weights, "torch", a_day, stored_px=960)
    repeat_night(root, days)


def row(
    found: dict[str, list[dict]], side: str, what: str, key: str, target: str,
    ours: str = "reprocess",
) -> dict[str, Any]:  # fmt: skip
    """One figure of our side beside another's, round by round."""
    mine, theirs = ([run[key] for run in found[name]] for name in (ours, side))
    pairs = zip(mine, theirs, strict=True)
    ratios = [b / a if key.startswith("wall") else a / b for a, b in pairs]
    return {**figure(what, ratios, "ratio", target, "same counts"), "ours": mine, "theirs": theirs}


def both_jobs(side: str, root: Path, jobs: dict[str, int]) -> dict[str, Any]:
    """The shorter job and the longer one, of so many frames, each from nothing."""
    runs = []
    for job in jobs:
        shutil.rmtree(root / job / "store", ignore_errors=True)
        arguments = (str(root / job), "--side", side)
        runs.append(in_a_process(Path(__file__), *arguments, environment=ENVIRONMENT))
    short, long = runs
    n_short, n_long = jobs.values()
    frame_s = (long["wall_s"] - short["wall_s"]) / (n_long - n_short)
    return {
        "wall_s": short["wall_s"],
        "wall_of_all_s": long["wall_s"],
        STEADY_KEY: 1 / frame_s,
        "startup_s": short["wall_s"] - n_short * frame_s,
        "peak_mb": long["peak_mb"],
        "counts": [short["counts"], long["counts"]],
    }


def ours(root: Path, runtime: str = "torch") -> list[int]:
    import reprocess
    from reprocess.campaign import load_campaign
    from reprocess.job import run_job
    from reprocess.request import Request

    settings = json.dumps({**fcn_settings(root), "runtime": runtime})
    campaign = load_campaign(root / "campaign.yaml", ["detectors={fcn: " + settings + "}"])
    run_job(campaign, Request((2021,), ("fcn",), "local"), lambda _line: None, lambda _done: None)
    cube = reprocess.open_cube(campaign.store)
    return [int(cube.n_observed.sum()), int(cube.n_aurora.sum())]


def fcn_settings(root: Path) -> dict[str, Any]:
    import yaml

    document = yaml.safe_load((root / "campaign.yaml").read_text())
    return document["detectors"]["fcn"]


# --- what the others share: the science, by the same libraries and functions ---------------


@functools.cache
def science(root: Path):
    """Decode a file; turn frames into cell shares. The network is loaded once a process."""
    import cv2
    import torch

    from reprocess.archive.readers.reader import load_reader
    from reprocess.campaign import load_campaign
    from reprocess.detectors.coverage import cell_shares
    from reprocess.detectors.runtimes import _difference
    from reprocess.detectors.weights import load_network
    from reprocess.geometry.calibration import epoch_geometry

    campaign = load_campaign(root / "campaign.yaml")
    epoch = campaign.camera[0]
    crop = epoch.crop
    rows = slice(crop.top_px, crop.top_px + crop.size_px)
    columns = slice(crop.left_px, crop.left_px + crop.size_px)
    cellmap = epoch_geometry(campaign, epoch).cellmap
    reader = load_reader("still")
    network = _difference(
        of_torchvision(load_network(campaign.detectors["fcn"].weights)), 256, "cpu"
    )

    def decode(data: bytes) -> np.ndarray:
        sky = reader.read(data)[rows, columns]
        return cv2.resize(sky, (256, 256), interpolation=cv2.INTER_AREA)

    def shares(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = network(torch.from_numpy(np.array(images))).half().numpy()
        share = cell_shares(logits, cellmap.cell, cellmap.weight, 400, 0.0)
        share[:, ~cellmap.observed] = 255
        return share

    return decode, shares


def of_torchvision(loaded):
    """The network as one has it without this package: torchvision's layers, the same weights."""
    import torch
    from torchvision.models import resnet18
    from torchvision.models.segmentation import fcn_resnet50

    from reprocess.detectors.networks import FcnResnet50

    class Coarse(torch.nn.Module):
        def __init__(self, whole: torch.nn.Module) -> None:
            super().__init__()
            self.backbone, self.classifier = whole.backbone, whole.classifier

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.backbone(images)["out"])

    network = loaded.network
    weights = network.state_dict()
    if isinstance(network, FcnResnet50):
        network = Coarse(fcn_resnet50(weights=None, weights_backbone=None, num_classes=2))
    else:
        whole = resnet18(weights=None)
        network.stem = torch.nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
        network.layer1, network.layer2, network.layer3 = whole.layer1, whole.layer2, whole.layer3
    network.load_state_dict(weights)
    return dataclasses.replace(loaded, network=network.eval().requires_grad_(False))


def totals(share: np.ndarray) -> np.ndarray:
    return np.array([(share != 255).sum(), ((share >= 127) & (share != 255)).sum()])


def files_of(root: Path) -> list[str]:
    return [str(path) for path in sorted((root / "archive").rglob("*.jpg"))]


def ray_data(root: Path) -> np.ndarray:
    import ray

    class Network:
        def __init__(self) -> None:
            import torch
            from rivals import science  # by name: a cached function of `__main__` does not travel

            torch.set_num_threads(1)
            self.decode, self.shares = science(root)

        def __call__(self, batch):
            images = np.stack([self.decode(data) for data in batch["bytes"]])
            return {"share": self.shares(images)}

    # Two actors fill the cores; shares of one leave room for the tasks that read.
    here = {"PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    ray.init(
        num_cpus=2, logging_level="error", include_dashboard=False, runtime_env={"env_vars": here}
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    frames = ray.data.read_binary_files(
        files_of(root), override_num_blocks=16, ray_remote_args={"num_cpus": 0.25}
    )
    found = frames.map_batches(Network, batch_size=PART, concurrency=2, num_cpus=0.75)
    counts = np.zeros(2, np.int64)
    for batch in found.iter_batches(batch_size=PART):
        counts += totals(batch["share"])
    return counts


def dataloader(root: Path) -> np.ndarray:
    import torch

    decode, shares = science(root)
    names = files_of(root)

    class Frames(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(names)

        def __getitem__(self, index: int) -> np.ndarray:
            return decode(Path(names[index]).read_bytes())

    torch.set_num_threads(2)
    counts = np.zeros(2, np.int64)
    for batch in torch.utils.data.DataLoader(Frames(), batch_size=PART, num_workers=1):
        counts += totals(shares(batch.numpy()))
    return counts


def naive_dask(root: Path) -> np.ndarray:
    import dask.array as da
    from distributed import Client, LocalCluster, as_completed

    def part(names: np.ndarray) -> np.ndarray:
        import torch
        from rivals import science

        torch.set_num_threads(1)
        decode, shares = science(root)
        images = np.stack([decode(Path(str(name)).read_bytes()) for name in names])
        return totals(shares(images))[None]

    names = da.from_array(np.array(files_of(root)), chunks=PART)
    counts = np.zeros(2, np.int64)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        parts = names.map_blocks(
            part, dtype=np.int64, new_axis=1, chunks=((1,) * names.numblocks[0], (2,))
        )
        futures = client.compute(list(parts.to_delayed().ravel()))
        for future in as_completed(futures):
            counts += future.result()[0]
    return counts


SIDES = {
    "reprocess": ours,
    "openvino": functools.partial(ours, runtime="openvino"),
    "ray": ray_data,
    "dataloader": dataloader,
    "dask": naive_dask,
}

if __name__ == "__main__":
    main()
