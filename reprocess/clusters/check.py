"""`reprocess cluster check`: one tiny job tells what a worker finds where it runs."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from reprocess import __version__
from reprocess.campaign import StoreAccess
from reprocess.clusters.executors import DaskExecutor
from reprocess.clusters.node import DEVICES
from reprocess.clusters.open import open_executor
from reprocess.clusters.profiles import (
    SERIAL,
    LocalProfile,
    SlurmProfile,
    is_address,
    load_profile,
)
from reprocess.detectors.runtimes import available_cores
from reprocess.errors import ClusterError, ConfigurationError
from reprocess.stores.objects import SCRATCH, open_objects

WAIT_S = 1.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    found : what is there
    todo : what to do about it; None where all is well
    """

    what: str
    found: str
    todo: str | None = None

    def __str__(self) -> str:
        line = f"{'ok   ' if self.todo is None else 'WRONG'} {self.what + ':':9} {self.found}"
        return line if self.todo is None else f"{line}\n                {self.todo}"


def check(
    cluster: str,
    store: str | None,
    say: Callable[[str], None],
    access: StoreAccess | None = None,
) -> list[Finding]:
    """Start one worker as a run would, and judge what it reports.

    Parameters
    ----------
    cluster : as for `--cluster`; not `serial`
    store : URL to write, read and delete a probe object at, from the worker; None: not tried
    access : how an S3 store is reached

    Raises
    ------
    ConfigurationError
        If the profile is wrong.
    ClusterError
        If no worker comes, with the reason and the last lines of the job's log.
    """
    if cluster == SERIAL:
        raise ConfigurationError(
            "cluster check serial: that is this process; expected local, slurm, slurm-gpu, a "
            "profile FILE.yaml or an address"
        )
    if store is not None and "://" not in store:
        store = str(Path(store).expanduser().absolute())
    profile = None if is_address(cluster) else load_profile(cluster)
    with open_executor(cluster, 1, say) as executor:
        assert isinstance(executor, DaskExecutor)
        future = executor.client.submit(probe, store, access, pure=False)
        while True:
            try:
                facts: dict[str, Any] = future.result(timeout=WAIT_S)
                break
            except TimeoutError:
                executor.tend()
            except ModuleNotFoundError as error:
                raise ClusterError(
                    f"the worker's Python has no {error.name}: install this package on the nodes, "
                    f"or name the right Python in the profile (python, prologue)"
                ) from error
    return judge(facts, profile, store)


def probe(store: str | None, access: StoreAccess | None = None) -> dict[str, Any]:
    """Say where this process runs and what it reaches; runs on the worker."""
    facts: dict[str, Any] = {
        "host": platform.node(),
        "node": os.environ.get("SLURMD_NODENAME"),
        "job": os.environ.get("SLURM_JOB_ID"),
        "cores": available_cores(),
        "python": platform.python_version(),
        "reprocess": __version__,
        "devices": os.environ.get(DEVICES),
        "torch": None,
        "torch_device": None,
        "scratch": None,
        "store": None,
    }
    for name in ("numpy", "zarr", "distributed"):
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "not installed"
    facts |= _torch()
    facts["scratch"] = _scratch()
    if store is not None:
        facts["store"] = _store(store, access)
    return facts


def _torch() -> dict[str, Any]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch_error": str(error)}
    if not torch.cuda.is_available():
        return {"torch": torch.__version__, "torch_device": "cpu"}
    try:
        name = torch.cuda.get_device_name(0)
        total = float((torch.ones(1000, device="cuda") * 2).sum())
    except RuntimeError as error:
        return {"torch": torch.__version__, "torch_error": str(error).splitlines()[0]}
    return {
        "torch": torch.__version__,
        "torch_device": "cuda" if total == 2000 else f"cuda that sums wrongly ({total})",
        "gpu": f"{name}, {torch.cuda.get_device_properties(0).total_memory / (1 << 30):.0f} GiB",
    }


def _scratch() -> str:
    """Write to the worker's own directory; empty if that works."""
    from distributed import get_worker

    directory = Path(get_worker().local_directory)
    probe_file = directory / f"probe-{uuid.uuid4().hex}"
    try:
        probe_file.write_bytes(b"probe")
        probe_file.unlink()
    except OSError as error:
        return f"{directory}: {error.strerror}"
    return str(directory)


def _store(url: str, access: StoreAccess | None) -> dict[str, Any]:
    """Write, read, list and delete a probe object."""
    started = time.monotonic()
    key = f"{SCRATCH}/probe-{uuid.uuid4().hex}"
    wanted = uuid.uuid4().bytes
    step = "open"
    try:
        objects = open_objects(url, access)
        step = "write"
        objects.write(key, wanted)
        step = "read"
        if objects.read(key) != wanted:
            return {"error": "read: other bytes than were written"}
        step = "delete"
        objects.delete(key)
        if objects.exists(key):
            return {"error": "delete: the object is still there"}
    except Exception as error:  # noqa: BLE001 - whatever the service says is the finding
        return {"error": f"{step}: {type(error).__name__}: {error}"}
    return {"seconds": time.monotonic() - started}


def judge(
    facts: Mapping[str, Any], profile: LocalProfile | SlurmProfile | None, store: str | None
) -> list[Finding]:
    """What is well and what is not, with what to do about it."""
    slurm = profile if isinstance(profile, SlurmProfile) else None
    job = f", job {facts['job']}" if facts.get("job") else ""
    node = f" (node {facts['node']})" if facts.get("node") else ""
    findings = [Finding("worker", f"{facts['host']}{node}{job}, {facts['cores']} cores")]
    if slurm is not None and facts["cores"] < slurm.cores:
        findings.append(
            Finding(
                "cores",
                f"the worker may use {facts['cores']} of the {slurm.cores} that the profile asks "
                f"for",
                "Slurm counts hardware threads here, or binds the job: see --cpus-per-task and "
                "--hint in your cluster's guide (options)",
            )
        )
    findings.append(_versions(facts))
    findings += _device(facts, slurm)
    scratch = str(facts["scratch"])
    if ": " in scratch:
        todo = "name a directory of the node that you may write to (scratch)"
        findings.append(Finding("scratch", scratch, todo))
    else:
        findings.append(Finding("scratch", scratch))
    if store is None:
        findings.append(Finding("store", "not tried; --store URL does"))
    elif "error" in facts["store"]:
        findings.append(
            Finding(
                "store",
                f"{store}: {facts['store']['error']}",
                "the URL must mean the same on the nodes as here: a file system that they mount, "
                "or an s3:// whose credentials they have (prologue can export them)",
            )
        )
    else:
        seconds = facts["store"]["seconds"]
        findings.append(
            Finding("store", f"{store}: written, read, deleted from the worker in {seconds:.2f} s")
        )
    return findings


def _versions(facts: Mapping[str, Any]) -> Finding:
    here = {"reprocess": __version__, "python": platform.python_version()}
    for name in ("numpy", "zarr", "distributed"):
        here[name] = version(name)
    found = ", ".join(f"{name} {facts[name]}" for name in here)
    other = [f"{name} {wanted}" for name, wanted in here.items() if facts[name] != wanted]
    if not other:
        return Finding("software", found)
    return Finding(
        "software", found,
        f"here it is {', '.join(other)}: use one environment on both (python, prologue)",
    )  # fmt: skip


def _device(facts: Mapping[str, Any], slurm: SlurmProfile | None) -> list[Finding]:
    if facts.get("torch_error"):
        return [
            Finding(
                "torch", f"does not work: {facts['torch_error']}",
                "pip install 'reprocess[torch]' in the nodes' environment; campaigns without an "
                "fcn detector run without it",
            )
        ]  # fmt: skip
    visible = facts["devices"]
    shown = "not set" if visible is None else visible or "empty"
    findings = [Finding("torch", f"{facts['torch']}, computes on {facts['torch_device']}")]
    if facts["torch_device"] == "cuda":
        findings.append(Finding("GPU", f"{facts['gpu']}, {DEVICES}={shown}"))
    elif slurm is not None and slurm.gpus:
        findings.append(
            Finding(
                "GPU", f"none that PyTorch can use, {DEVICES}={shown}; cpu_fallback computes on "
                "the cores",
                "a PyTorch built for the node's CUDA driver, and gpu_option as your cluster "
                "wants it; compare nvidia-smi in a job with torch.version.cuda",
            )
        )  # fmt: skip
    else:
        findings.append(Finding("GPU", "none asked for"))
    return findings
