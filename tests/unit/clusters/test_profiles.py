"""Cluster profiles: what is accepted, what is refused and how, and those that are shipped."""

from pathlib import Path

import pytest

from reprocess.clusters.open import check_cluster, check_walltime
from reprocess.clusters.profiles import (
    DRIVER,
    SHIPPED,
    LocalProfile,
    SlurmProfile,
    load_profile,
    memory_bytes,
    shipped_text,
    walltime_seconds,
)
from reprocess.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def write(tmp_path):
    """Write a profile and return its path as `--cluster` takes it."""

    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_a_scratch_that_is_not_there_is_refused_and_not_made(write, tmp_path):
    check_cluster(write(f"kind: local\nscratch: {tmp_path}\n"))
    missing = tmp_path / "scrtch" / "me"
    with pytest.raises(ConfigurationError, match=r"scratch: found .*/scrtch/me \(No such file"):
        check_cluster(write(f"kind: local\nscratch: {missing}\n"))
    assert not missing.parent.exists()


@pytest.mark.parametrize("name", SHIPPED)
def test_the_copies_to_edit_are_those_of_the_package(name):
    assert (ROOT / "cluster" / f"{name}.yaml").read_text(encoding="utf-8") == shipped_text(name)


def test_the_batch_script_of_the_driver_is_that_of_the_package():
    assert (ROOT / "cluster" / "driver.sbatch").read_text(encoding="utf-8") == shipped_text(DRIVER)


def test_no_other_profile_lies_in_cluster():
    assert sorted(path.stem for path in (ROOT / "cluster").glob("*.yaml")) == sorted(SHIPPED)


def test_shipped_profiles_are_valid_and_found_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    local, slurm, gpu = (load_profile(name) for name in SHIPPED)
    assert local == LocalProfile(kind="local")
    assert isinstance(slurm, SlurmProfile)
    assert (slurm.gpus, slurm.n_processes, slurm.threads) == (0, 8, 1)
    assert slurm.walltime == 4 * 3600
    assert isinstance(gpu, SlurmProfile)
    assert (gpu.gpus, gpu.n_processes, gpu.threads) == (1, 1, 8)
    assert not gpu.cpu_fallback


def test_a_users_own_profile_of_that_name_comes_first(monkeypatch, tmp_path):
    own = tmp_path / "reprocess" / "clusters"
    own.mkdir(parents=True)
    (own / "slurm.yaml").write_text("kind: slurm\naccount: physics\n")
    (own / "lab.yaml").write_text("kind: local\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_profile("slurm").account == "physics"
    assert load_profile("lab").kind == "local"
    with pytest.raises(ConfigurationError, match=r"expected serial, local, slurm, slurm-gpu, lab,"):
        load_profile("labb")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("04:00:00", 14_400), ("12:00:00", 43_200), ("1-12:00:00", 129_600), ("00:01:00", 60)],
)
def test_walltimes(write, text, seconds):
    assert walltime_seconds(text) == seconds
    # Unquoted too: 12:00:00 is a number of base 60 to most readers of YAML.
    assert load_profile(write(f"kind: slurm\nwalltime: {text}\n")).walltime == seconds


@pytest.mark.parametrize("text", ["12", "4h", "4:00", "04:60:00", "00:00:59", "-1:00:00", "soon"])
def test_what_is_no_walltime(write, text):
    with pytest.raises(ConfigurationError, match=r"mine.yaml: walltime: found .*expected"):
        load_profile(write(f"kind: slurm\nwalltime: {text}\n"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("16G", 16 << 30), ("16 GiB", 16 << 30), ("512M", 512 << 20), ("1.5T", 3 << 39)],
)
def test_memory(text, wanted):
    assert memory_bytes(text) == wanted


@pytest.mark.parametrize("text", ["16", "16000000000", "G", "16 apples"])
def test_memory_without_a_unit_is_refused(write, text):
    with pytest.raises(ConfigurationError, match=r"mine.yaml: memory: found .*unit"):
        load_profile(write(f"kind: slurm\nmemory: {text}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: pbs", r"kind: found pbs, expected local or slurm"),
        ("jobs: 3", r"kind: found nothing, expected local or slurm"),
        ("[1, 2]", r"expected a mapping with kind: local or slurm, found list"),
        ("kind: [", r"not valid YAML"),
        ("kind: slurm\nacount: x", r"acount: unknown key; expected one of .*did you mean account"),
        ("kind: local\njobs: 3", r"jobs: unknown key; expected one of kind, processes, memory"),
        ("kind: slurm\njobs: many", r"jobs: found 'many', expected"),
        ("kind: slurm\njobs: 0", r"jobs: found 0, expected greater"),
        ("kind: slurm\nprologue: module load x", r"prologue: found 'module load x', expected"),
        ("kind: slurm\ngpu_option: gpu", r"gpu_option: found 'gpu', expected 'gres', 'gpus' or"),
        ("kind: slurm\ngpus: 2\nprocesses: 3", r"expected processes null or 2: one worker process"),
        ("kind: slurm\ngpus: 8\ncores: 4\nmemory: 64G", r"expected cores of at least 8"),
        ("kind: slurm\ncores: 40\nmemory: 16G", r"expected memory of at least 60G for 40 worker"),
        ("kind: slurm\ncores: 3\nmemory: 4G", r"expected memory of at least 5G for 3 worker"),
        ("kind: local\nprocesses: 2\nmemory: 600M", r"expected memory of at least 3G for 2 worker"),
        ("kind: slurm\ncpu_fallback: true", r"expected gpus of 1 or more"),
        ("kind: slurm\noptions: [exclude=n7]", r"expected options that begin with -"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_expected(write, text, message):
    with pytest.raises(ConfigurationError, match=message) as refused:
        load_profile(write(text))
    assert str(refused.value).startswith(write(text))


def test_a_profile_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none.yaml: cannot be read .*cluster show slurm"):
        load_profile(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigurationError, match=r"did you mean slurm-gpu\?"):
        load_profile("slurm-gpus")


class TestWalltimeOfTheLargestDay:
    def test_half_of_the_walltime_is_enough(self, write):
        cluster = write("kind: slurm\nwalltime: 01:00:00")
        from datetime import date

        day = date(2021, 6, 10)
        check_walltime(cluster, day, 1440, None)
        check_walltime(cluster, day, 1440, 1.25)  # 30 min
        with pytest.raises(
            ConfigurationError,
            match=r"walltime: found 60 min, but 2021-06-10 with its 1440 frames is expected to "
            r"take 31 min .*more than 62 min",
        ):
            check_walltime(cluster, day, 1440, 1.3)
        check_walltime("serial", day, 1440, 99.0)
        check_walltime("local", day, 1440, 99.0)
        check_walltime("tcp://10.0.0.1:8786", day, 1440, 99.0)
