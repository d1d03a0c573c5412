"""The conda environments, the extras and pyproject.toml say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {
    "astropy-base": "astropy",
    "matplotlib-base": "matplotlib",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
}
FILES = ("environment.yml", "environment-gpu.yml")


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required():
    """Name to least version of every package that a whole installation has."""
    extras = project()["optional-dependencies"]
    lines = [*project()["dependencies"], *extras["torch"], *extras["train"], *extras["slurm"]]
    lines = [line for line in lines if not line.startswith("reprocess[")]
    return dict(re.fullmatch(r"([a-z0-9-]+)>=([\d.]+)", line).groups() for line in lines)


def conda(name):
    document = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return [item for item in document["dependencies"] if isinstance(item, str)], document


@pytest.mark.parametrize("name", FILES)
def test_conda_takes_the_versions_of_pyproject_and_pip_the_rest(name):
    items, document = conda(name)
    versions = dict(item.split(">=") for item in items if ">=" in item)
    versions = {CONDA_NAMES.get(package, package): least for package, least in versions.items()}
    assert versions == {package: required().get(package) for package in versions}
    assert [i for i in items if ">=" not in i] == ["python=3.11", "pip"]
    assert document["dependencies"][-1] == {"pip": [".[train,slurm]"]}
    assert document["channels"] == ["conda-forge", "nodefaults"]


def test_the_two_differ_in_pytorch_alone():
    cpu, gpu = (set(conda(name)[0]) for name in FILES)
    assert {item.split(">=")[0] for item in cpu ^ gpu} == {"pytorch-cpu", "pytorch-gpu"}


def test_the_plain_installation_has_neither_pytorch_nor_slurm():
    plain = " ".join(project()["dependencies"])
    assert not re.search(r"torch|jobqueue|cryptography", plain)
    extras = project()["optional-dependencies"]
    wanted = next(line for line in extras["test"] if line.startswith("reprocess["))
    assert set(wanted[len("reprocess[") : -1].split(",")) == set(extras) - {"test"}
