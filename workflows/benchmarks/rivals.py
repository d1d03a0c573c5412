"""The same job as a user would do it without this package: Ray Data, DataLoader, naive Dask.

    python workflows/benchmarks/rivals.py /fast/disk/scratch       # small network, 960 frames
    python workflows/benchmarks/rivals.py /fast/disk/scratch --large --frames 64

Every side turns the same JPEGs into the same counts of 400 cells, in processes
of its own with the same malloc settings and two cores. A side reports when each
part of its frames was counted: steady state is from its first part to its last,
start-up is all before. Interpreters and imports are part of the start-up.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
from archives import jpeg_campaign
from inference import SMALL, large_network
from sidebyside import figure, in_a_process, save

MALLOC = {"MALLOC_TRIM_THRESHOLD_": str(256 << 20), "OMP_NUM_THREADS": "1"}
SIDES = ("reprocess", "ray", "dataloader", "dask")
STEADY = {"ray": ">= 1.2", "dask": ">= 1.2", "dataloader": ">= 1.0"}
PART = 8
DAYS = 4


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--frames", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.scratch / "rivals"
    if options.side:
        one_side(options.side, root)
        return
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    weights = large_network(root) if options.large else SMALL
    make(root, weights, options.frames)
    found: dict[str, list[dict]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            shutil.rmtree(root / "store", ignore_errors=True)
            arguments = (str(options.scratch), "--side", side)
            found[side].append(in_a_process(Path(__file__), *arguments, environment=MALLOC))
            print(side, {k: v for k, v in found[side][-1].items() if k != "counts"}, flush=True)
    totals = {side: runs[0]["counts"] for side, runs in found.items()}
    assert len(set(map(str, totals.values()))) == 1, totals
    rows = []
    for side in SIDES[1:]:
        for what, key, target in (
            ("steady state, ours / theirs", "steady_frames_per_s", STEADY[side]),
            ("whole job, theirs / ours", "wall_s", ">= 2" if side == "ray" else ""),
            ("peak memory, ours / theirs", "peak_mb", "<= 0.6" if side == "ray" else ""),
        ):
            ours = [run[key] for run in found["reprocess"]]
            theirs = [run[key] for run in found[side]]
            pairs = zip(ours, theirs, strict=True)
            ratios = [b / a if key == "wall_s" else a / b for a, b in pairs]
            row = figure(f"{side}: {what}", ratios, "ratio", target, "same counts")
            rows.append({**row, "ours": ours, "theirs": theirs})
    name = "large" if options.large else "small"
    notes = {"frames": options.frames, "network": name, "runs": found}
    save(f"rivals_{name}", rows, notes)


def make(root: Path, weights: str, n_frames: int) -> None:
    """One night of JPEGs, dealt out over four days so that both workers have some."""
    jpeg_campaign(root, 256, weights, "torch", n_frames, stored_px=960)
    files = sorted((root / "archive").rglob("*.jpg"))
    share = -(-n_frames // DAYS)
    for index, file in enumerate(files):
        day = 1 + index // share
        target = (
            root
            / "archive"
            / "2021"
            / "06"
            / f"{day:02d}"
            / file.name.replace("20210601", f"202106{day:02d}")
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def one_side(side: str, root: Path) -> None:
    started = time.time()
    times: list[tuple[float, int]] = []

    def counted(n: int) -> None:
        times.append((time.time(), n))

    counts = {"reprocess": ours, "ray": ray_data, "dataloader": dataloader, "dask": naive_dask}[
        side
    ](root, counted)
    first = times[0]
    rest = sum(n for _, n in times[1:])
    print(
        json.dumps(
            {
                "startup_s": first[0] - started,
                "steady_frames_per_s": rest / (times[-1][0] - first[0]),
                "counts": [int(c) for c in counts],
            }
        )
    )


def ours(root: Path, counted) -> list[int]:
    import reprocess
    from reprocess.campaign import load_campaign
    from reprocess.job import run_job
    from reprocess.request import Request

    campaign = load_campaign(
        root / "campaign.yaml", ["detectors={fcn: " + fcn_settings(root) + "}"]
    )
    seen = 0

    def progress(event) -> None:
        nonlocal seen
        counted(event.frames - seen)
        seen = event.frames

    run_job(campaign, Request((2021,), ("fcn",), "local"), lambda _line: None, progress)
    cube = reprocess.open_cube(campaign.store)
    return [int(cube.n_observed.sum()), int(cube.n_aurora.sum())]


def fcn_settings(root: Path) -> str:
    import yaml

    document = yaml.safe_load((root / "campaign.yaml").read_text())
    return json.dumps(document["detectors"]["fcn"])


# --- what the others share: the science, by the same functions ----------------------------


@functools.cache
def science(root: Path):
    """Decode a file; turn frames into cell shares. The network is loaded once a process."""
    import torch

    from reprocess.archive.frames import prepare
    from reprocess.archive.readers.reader import load_reader
    from reprocess.campaign import load_campaign
    from reprocess.detectors.coverage import cell_shares
    from reprocess.detectors.runtimes import _difference
    from reprocess.detectors.weights import load_network
    from reprocess.geometry.calibration import epoch_geometry

    campaign = load_campaign(root / "campaign.yaml")
    epoch = campaign.camera[0]
    cellmap = epoch_geometry(campaign, epoch).cellmap
    reader = load_reader("still")
    network = _difference(load_network(campaign.detectors["fcn"].weights), "cpu")

    def decode(data: bytes) -> np.ndarray:
        return prepare(reader.read(data), epoch, 256)

    def shares(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = network(torch.from_numpy(np.array(images))).half().numpy()
        share = cell_shares(logits, cellmap.cell, cellmap.weight, 400, 0.0)
        share[:, ~cellmap.observed] = 255
        return share

    return decode, shares


def totals(share: np.ndarray) -> np.ndarray:
    return np.array([(share != 255).sum(), ((share >= 127) & (share != 255)).sum()])


def files_of(root: Path) -> list[str]:
    return [str(path) for path in sorted((root / "archive").rglob("*.jpg"))]


def ray_data(root: Path, counted) -> np.ndarray:
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
        files_of(root), override_num_blocks=DAYS * 4, ray_remote_args={"num_cpus": 0.25}
    )
    found = frames.map_batches(Network, batch_size=PART, concurrency=2, num_cpus=0.75)
    counts = np.zeros(2, np.int64)
    for batch in found.iter_batches(batch_size=PART):
        counts += totals(batch["share"])
        counted(len(batch["share"]))
    return counts


def dataloader(root: Path, counted) -> np.ndarray:
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
        counted(len(batch))
    return counts


def naive_dask(root: Path, counted) -> np.ndarray:
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
            counted(PART)
    return counts


if __name__ == "__main__":
    main()
