"""A campaign small enough to be run many times in a test, and what is asked of its stores."""

import contextlib
import io
import itertools
import json
import os
import pickle
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from reprocess import run
from reprocess.campaign import parse_years
from reprocess.stores.layout import YearLayout

pytest_plugins = ["s3_services"]

SIZE_PX = 32
CADENCE_S = 600
TIMES = ("00:00", "00:10", "23:40", "23:50")
FREE_KEYS = ("runs/", "failures/", "locks/")
"""Where two equal runs may differ."""


def picture(seed):
    """A blotchy (32, 32, 3) uint8 image; another seed, another image."""
    coarse = np.random.default_rng(seed).integers(20, 120, (8, 8, 3))
    return np.repeat(np.repeat(coarse, 4, 0), 4, 1).astype(np.uint8)


def npy(image):
    """The bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, image)
    return stream.getvalue()


def store_keys(store):
    """Every object of a store in which two equal runs must agree, by key."""
    root = Path(store)
    files = (path for path in root.rglob("*") if path.is_file())
    keys = {path.relative_to(root).as_posix(): path for path in files}
    return {k: path.read_bytes() for k, path in keys.items() if not k.startswith(FREE_KEYS)}


@dataclass
class Outcome:
    """What one run returned and said."""

    code: int
    out: str
    err: str

    @property
    def report(self):
        """The JSON line."""
        return json.loads(self.out.splitlines()[-1])

    def years(self, key):
        """One number of the report by year, as `{2021: 3}`."""
        return {int(year): entry[key] for year, entry in self.report["years"].items()}

    @property
    def done(self):
        return sum(self.years("done").values())


@dataclass
class Tiny:
    """A campaign file and its archive: .npy frames at 10 minute cadence, two detectors."""

    root: Path
    weights: Path
    document: dict = field(default_factory=dict)
    _fresh: itertools.count = field(default_factory=itertools.count)

    def __post_init__(self):
        self.archive.mkdir(parents=True)
        self.document = {
            "name": "tiny",
            "site": {"code": "KHO", "latitude_deg": 78.148, "longitude_deg": 16.043},
            "camera": [
                {
                    "valid_from": "2020-01-01T00:00:00Z",
                    "lens": {
                        "center_x_px": 15.5, "center_y_px": 15.5, "px_per_deg": 0.19,
                        "north_deg": 0.0, "east": "left",
                    },
                    "image_width_px": SIZE_PX,
                    "image_height_px": SIZE_PX,
                    "crop": {"left_px": 0, "top_px": 0, "size_px": SIZE_PX},
                }
            ],
            "archive": {
                "url": str(self.archive), "pattern": "%Y/%m%d/%Y%m%d_%H%M%S*.npy", "reader": "npy",
            },
            "store": str(self.store),
            "cadence_s": CADENCE_S,
            "image": {"size_px": SIZE_PX},
            "process": {"sun_elevation_max_deg": None},
            "detectors": {
                "diff": {
                    "kind": "difference", "lag_s": CADENCE_S, "lag_tolerance_s": 60,
                    "sky_shift_max_dn": 100, "k_sigma": None, "threshold_dn": 5.0,
                },
                "fcn": {"kind": "fcn", "weights": str(self.weights)},
            },
            "cube": {"mlt_bins": 12, "sun_elevation_max_deg": 90},
            "years": [2021, 2022],
        }  # fmt: skip

    @property
    def archive(self):
        return self.root / "archive"

    @property
    def store(self):
        return self.root / "store"

    @property
    def file(self):
        """The campaign's file, as the document is now."""
        path = self.root / "tiny.yaml"
        path.write_text(yaml.safe_dump(self.document, sort_keys=False))
        return path

    def path(self, day, time, suffix=""):
        """Where the frame of a UTC day (`2021-12-30`) and time (`00:10`) lies."""
        at = datetime.fromisoformat(f"{day}T{time}")
        return self.archive / at.strftime(f"%Y/%m%d/%Y%m%d_%H%M%S{suffix}.npy")

    def put(self, day, time, data=None, suffix=""):
        """Write a frame: bytes, or an image by default its own for every time."""
        if data is None:
            at = datetime.fromisoformat(f"{day}T{time}")
            data = npy(picture(int((at - datetime(2020, 1, 1)) / timedelta(seconds=1))))
        path = self.path(day, time, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def put_days(self, *days, times=TIMES):
        """Write whole days."""
        for day, time in itertools.product(days, times):
            self.put(day, time)

    def lost_years(self):
        """Years of the campaign of which the archive holds no file."""
        years = parse_years(self.document["years"])
        return [year for year in years if not any((self.archive / str(year)).rglob("*.*"))]

    def run(self, *arguments, store=None, page=False, give_up=False):
        """Run the main job in this process, serially; its page only if asked for.

        With `give_up`, years without a file were removed on purpose (`--gone`).
        """
        out, err = io.StringIO(), io.StringIO()
        command = [str(self.file), "--json", *arguments]
        if "--cluster" not in arguments:
            command += ["--cluster", "serial"]
        if give_up and (lost := self.lost_years()):
            command += ["--gone", *map(str, lost)]
        if not page:  # seconds of drawing, and outside what two equal runs must agree on
            command += ["--no-report"]
        if store is not None:
            command += ["--store", str(store)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run.main(command)
        return Outcome(code, out.getvalue(), err.getvalue())

    def keys(self, store=None):
        """What two equal runs must agree on, of the campaign's store or another."""
        return store_keys(self.store if store is None else store)

    def from_scratch(self):
        """What a run over the same archive and settings leaves in a fresh store."""
        fresh = self.root / f"fresh-{next(self._fresh)}"
        outcome = self.run(store=fresh)
        assert outcome.code == 0, outcome.err
        return store_keys(fresh)

    def check_identity(self):
        """Every key equals a from-scratch run's, byte for byte; and nothing is left to do."""
        assert_same_keys(self.keys(), self.from_scratch())


def assert_same_keys(found, wanted):
    """Compare two stores; a failure names the keys, not their bytes."""
    assert sorted(found) == sorted(wanted)
    assert [key for key in sorted(wanted) if found[key] != wanted[key]] == []


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """What runs side by side (`-n 2`): files, whose fixtures are shared, and all of a service.

    A Slurm and an S3 server are started once and serve one process. By names and not by the marker
    `xdist_group`, which pytest-xdist 3.8 loses under pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByService(LoadFileScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            if path.startswith("tests/slurm/"):
                return "slurm"
            return "s3" if path.startswith("tests/s3/") or "[radosgw" in nodeid else path

    return ByService(config, log)


REQUIRED = frozenset(filter(None, os.environ.get("REPROCESS_REQUIRE", "").split(",")))
"""Markers whose tests may not be skipped here: CI names those whose services it has installed."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """A skip of a test that this machine has to run is a failure that says why it would skip."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        must = sorted(REQUIRED & {mark.name for mark in item.iter_markers()})
        if must:
            report.outcome = "failed"
            report.longrepr = f"REPROCESS_REQUIRE={','.join(must)}, and yet: {report.longrepr[-1]}"
    return report


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """A small network of random weights: what it sees is meaningless, and always the same."""
    import torch

    from reprocess.detectors.networks import build_network
    from reprocess.detectors.weights import save_network

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(20131204)
        network = build_network("fcn_resnet18")
        save_network(path, network, "fcn_resnet18", [0.27] * 3, [0.11] * 3, {"data": "none"})
    return path


@pytest.fixture(scope="session")
def same_keys():
    return assert_same_keys


@pytest.fixture(scope="session")
def frame_bytes():
    """Bytes of a good frame, by seed."""
    return lambda seed: npy(picture(seed))


@pytest.fixture(scope="session")
def frame_of():
    """Bytes of a frame, from its counts."""
    return npy


@pytest.fixture(scope="session")
def make_tiny(tiny_weights):
    """Make a tiny campaign in a directory."""
    return lambda root: Tiny(Path(root), tiny_weights)


@pytest.fixture
def unsynced():
    """Spare this process the syncing to disk: no test here cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture
def swift(unsynced, monkeypatch):  # noqa: ARG001
    """Spare tests of thousands of tiny runs what each does again and what they do not look at.

    The metadata of a year are half the time of a tiny run and always the same; the summary
    reads the cube, another third.
    """
    make, made = YearLayout.objects, {}

    def objects(layout):
        key = pickle.dumps(layout)
        if key not in made:
            made[key] = make(layout)
        return dict(made[key])

    monkeypatch.setattr(YearLayout, "objects", objects)
    monkeypatch.setattr("reprocess.report.summary", lambda _job: "")


@pytest.fixture
def tiny(tmp_path, make_tiny, unsynced):  # noqa: ARG001
    """A tiny campaign with an empty archive."""
    return make_tiny(tmp_path / "tiny")
