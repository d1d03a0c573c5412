"""What works without the optional packages, and what is said where they are missing."""

import subprocess
import sys

import pytest

from reprocess.errors import ConfigurationError
from reprocess.extras import require

# Runs a command line where packages or modules named in the first argument cannot be found.
WITHOUT = """
import sys
blocked = set(sys.argv[1].split(","))

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in blocked or name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name in blocked else find_spec(name, *a)
sys.meta_path.insert(0, Blocked())
from reprocess import cli
code = cli.main(sys.argv[2:])
assert blocked.isdisjoint(sys.modules), blocked & set(sys.modules)
sys.exit(code)
"""
TORCH = "torch,torchvision"
SLURM = "dask_jobqueue,cryptography"


def without(packages, *arguments, **keywords):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT, packages, *map(str, arguments)],
        capture_output=True, text=True, check=False, **keywords,
    )  # fmt: skip


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    require("json", "torch", "this")
    with pytest.raises(
        ConfigurationError, match=r"^this needs nowhere_, .*: pip install 'reprocess\[slurm\]'$"
    ):
        require("nowhere_", "slurm", "this")


@pytest.fixture
def tiny(tiny):
    tiny.put_days("2021-12-31")
    return tiny


def test_a_login_node_plans_without_torch(tiny):
    done = without(f"{TORCH},{SLURM}", "run", tiny.file, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert "2 evidence" in done.stdout


def test_a_network_without_torch_is_refused_before_anything_is_written(tiny):
    done = without(TORCH, "run", tiny.file, "--cluster", "serial")
    assert done.returncode == 2, done.stderr
    assert "the fcn detector needs torch" in done.stderr
    assert "pip install 'reprocess[torch]'" in done.stderr
    assert not tiny.store.exists()


@pytest.mark.parametrize("module", ["torchvision", "torch._dynamo", "torch._inductor"])
def test_the_network_runs_without(module, tiny):
    """Their import costs each worker seconds and memory; a CPU-only torch has no torchvision."""
    done = without(module, "run", tiny.file, "--cluster", "serial")
    assert done.returncode == 0, done.stderr


def test_training_needs_torchvision_only_for_its_published_weights(tmp_path):
    out = tmp_path / "weights.safetensors"
    command = (
        "train", out, "--simulated", "12", "--size", "64", "--batch", "1", "--steps", "1",
        "--validation", "4", "--test", "4", "--threads", "1",
    )  # fmt: skip
    done = without("torchvision", *command)
    assert done.returncode == 0, done.stderr
    out.unlink()
    done = without("torchvision", *command, "--start", "imagenet")
    assert done.returncode == 2
    assert "pip install 'reprocess[train]'" in done.stderr
    assert not out.exists()


def test_the_difference_method_cube_and_picture_need_no_torch(tiny):
    del tiny.document["detectors"]["fcn"]
    picture = tiny.root / "occurrence.png"
    done = without(f"{TORCH},{SLURM}", "run", tiny.file, "--cluster", "serial")
    assert done.returncode == 0, done.stderr
    done = without(f"{TORCH},{SLURM}", "plot", "occurrence", tiny.store, picture)
    assert done.returncode == 0, done.stderr
    assert picture.stat().st_size > 10_000


def test_submitting_to_slurm_needs_no_torch(tiny, tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: no such account' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    done = without(
        TORCH, "run", tiny.file, "--cluster", "slurm", cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "Slurm refused the job: sbatch: error: no such account" in done.stderr


def test_slurm_without_its_extra_is_refused_by_name(tiny):
    done = without(SLURM, "run", tiny.file, "--cluster", "slurm")
    assert done.returncode == 2, done.stderr
    assert "needs dask_jobqueue" in done.stderr
    assert "pip install 'reprocess[slurm]'" in done.stderr
