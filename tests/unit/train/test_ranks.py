"""Several processes train as one: started by torchrun, over gloo, on this machine's CPU."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reprocess.errors import ConfigurationError
from reprocess.train.ranks import open_ranks

SCRIPT = Path(__file__).with_name("on_ranks.py")


def start(*command):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300,
        check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def results(tmp_path_factory, squares):
    """What one process came to, and each of two."""
    folder = tmp_path_factory.mktemp("ranks")
    frames = squares(6, 64)
    np.savez(folder / "frames.npz", image=frames.image, mask=frames.mask)
    start(SCRIPT, folder)
    start("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", SCRIPT, folder)
    return [torch.load(folder / f"{name}.pt") for name in ("1-0", "2-0", "2-1")]


@pytest.mark.parametrize("norms", ["frozen", "normal"])
def test_every_process_has_the_same_gradients_and_weights(results, norms):
    _, first, second = (result[norms] for result in results)
    assert first["losses"] == second["losses"]
    for kind in ("weights", "gradients"):
        assert first[kind].keys() == second[kind].keys()
        for name, tensor in first[kind].items():
            assert torch.equal(tensor, second[kind][name]), (kind, name)


def test_two_processes_learn_what_one_learns_from_the_same_batch(results):
    """With batch normalisation frozen: its statistics are of each CPU process's part."""
    alone, first, _ = (result["frozen"] for result in results)
    assert len(alone["losses"]) == 4
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-4)
    for kind, tolerance in (("gradients", 2e-3), ("weights", 1e-3)):
        for name, tensor in alone[kind].items():
            scale = float(tensor.abs().max())
            difference = float((first[kind][name] - tensor).abs().max())
            assert difference <= tolerance * scale + 1e-7, (kind, name, difference, scale)


def test_all_stop_after_one_step_when_one_is_asked_to_and_go_on_together(results):
    for result in results:
        stopped, resumed = result["trained"]
        assert (stopped["ended"], stopped["step"]) == ("stopped", 3)
        assert (resumed["ended"], resumed["step"]) == ("steps", 4)
    _, first, second = results
    assert [row["step"] for row in first["trained"][1]["history"]] == [2, 4]
    assert first["trained"] == second["trained"]


def test_processes_share_what_the_first_has(results):
    alone, first, second = results
    assert alone["shared"] == first["shared"] == second["shared"] == "from 0"
    assert (alone["every"], first["every"], second["every"]) == ([0], [0, 1], [])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match="found 0 GPUs"), open_ranks("cuda"):
        pass
