"""`reprocess cluster check`: what is judged well, what is not, and what it ends with."""

import platform
from importlib.metadata import version

import pytest

from reprocess import __version__, cli
from reprocess.clusters.check import judge
from reprocess.clusters.profiles import load_profile
from reprocess.errors import ClusterError

GOOD = {
    "host": "gpu07", "node": "gpu07", "job": "42", "cores": 8, "devices": "3",
    "python": platform.python_version(), "reprocess": __version__, "numpy": version("numpy"),
    "zarr": version("zarr"), "distributed": version("distributed"),
    "torch": "2.9", "torch_device": "cuda", "gpu": "NVIDIA H100, 80 GiB",
    "scratch": "/scratch/x", "store": {"seconds": 0.1},
}  # fmt: skip


def judged(profile="slurm-gpu", **facts):
    return judge(GOOD | facts, load_profile(profile), "/store")


def test_all_is_well():
    findings = judged()
    assert [f.what for f in findings] == ["worker", "software", "torch", "GPU", "scratch", "store"]
    assert all(finding.todo is None for finding in findings)
    assert "gpu07 (node gpu07), job 42, 8 cores" in str(findings[0])
    assert "NVIDIA H100, 80 GiB, CUDA_VISIBLE_DEVICES=3" in str(findings[3])


@pytest.mark.parametrize(
    ("facts", "what", "found", "todo"),
    [
        ({"cores": 4}, "cores", "4 of the 8", "--cpus-per-task"),
        ({"python": "3.9.0"}, "software", "python 3.9.0", "one environment on both"),
        ({"torch_device": "cpu"}, "GPU", "none that PyTorch can use", "CUDA driver"),
        ({"torch_error": "no libcudart"}, "torch", "no libcudart", "reprocess[torch]"),
        ({"scratch": "/scratch: Permission denied"}, "scratch", "denied", "(scratch)"),
        ({"store": {"error": "write: OSError: full"}}, "store", "write: OSError: full", "the same"),
    ],
)
def test_what_is_wrong_says_what_to_do(facts, what, found, todo):
    (wrong,) = [finding for finding in judged(**facts) if finding.todo is not None]
    assert wrong.what == what
    assert found in wrong.found
    assert todo in wrong.todo


def test_a_cpu_profile_needs_no_gpu():
    findings = judged(profile="slurm", torch_device="cpu", devices="")
    assert all(finding.todo is None for finding in findings)


@pytest.mark.slow
def test_this_machine_through_the_command_line(tmp_path, capsys):
    store = tmp_path / "store"
    assert cli.main(["cluster", "check", "local", "--store", str(store)]) == 0
    out = capsys.readouterr().out
    assert f"store:    {store}: written, read, deleted" in out
    assert out.endswith("ready\n")
    assert not [path for path in store.rglob("*") if path.is_file()]
    (tmp_path / "file").write_text("")
    assert cli.main(["cluster", "check", "local", "--store", str(tmp_path / "file" / "x")]) == 1
    assert "WRONG store:" in capsys.readouterr().out


def test_exit_codes_of_what_cannot_be_checked(monkeypatch, capsys):
    assert cli.main(["cluster", "check", "serial"]) == 2
    assert cli.main(["cluster", "check", "nowhere"]) == 2
    assert "no such cluster" in capsys.readouterr().err

    def none(*_):
        raise ClusterError("no job can start")

    monkeypatch.setattr("reprocess.clusters.check.check", none)
    assert cli.main(["cluster", "check", "slurm"]) == 3
    assert "no job can start" in capsys.readouterr().err


def test_a_profile_is_printed_to_be_copied(capsys):
    assert cli.main(["cluster", "show", "slurm-gpu"]) == 0
    assert "kind: slurm" in capsys.readouterr().out
    assert cli.main(["cluster", "show", "pbs"]) == 2
