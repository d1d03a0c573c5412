"""`reprocess cluster check` against a real Slurm whose GPUs are only pretended."""

import subprocess
import sys

import pytest

from .conftest import SLURM_HERE

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture
def check(campaign):
    """Run the check with changes to the profile."""

    def check(**changes):
        campaign.profile |= changes
        return subprocess.run(
            [sys.executable, "-m", "reprocess.cli", "cluster", "check", str(campaign.file),
             "--store", str(campaign.root / "probed")],
            capture_output=True, text=True, check=False, env=campaign.environ, cwd=campaign.root,
        )  # fmt: skip

    return check


def test_a_slurm_that_runs_is_not_started_again(slurm):
    done = subprocess.run(
        [SLURM_HERE, "start", slurm.directory], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "runs already; stop it first" in done.stderr
    assert slurm.command("sinfo", "--noheader", "--format", "%T %D") == "idle 2"


def test_a_node_is_tried_with_one_job_which_is_then_gone(check, campaign, slurm):
    done = check()
    assert done.returncode == 0, done.stderr
    assert "(node n" in done.stdout
    assert "computes on cpu" in done.stdout
    assert "written, read, deleted from the worker" in done.stdout
    assert done.stdout.endswith("ready\n")
    assert not [path for path in (campaign.root / "probed").rglob("*") if path.is_file()]
    assert set(slurm.jobs().values()) <= {"COMPLETING"}


def test_gpus_that_pytorch_cannot_use_are_an_error_with_the_jobs_last_words(check, slurm):
    done = check(gpus=2, cores=2, memory="4G", gpu_type="h100")
    assert done.returncode == 3
    assert "3 jobs in a row ended before a worker came from them" in done.stderr
    assert "found 0 CUDA devices (CUDA_VISIBLE_DEVICES=0,1), the profile asks for" in done.stderr
    assert list(slurm.ended().values()).count("FAILED") >= 3


def test_what_slurm_refuses_is_said_in_its_words(check):
    done = check(partition="lang")
    assert done.returncode == 3
    assert "Slurm refused the job" in done.stderr
    assert "invalid partition" in done.stderr
