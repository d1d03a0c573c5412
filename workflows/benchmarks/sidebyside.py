"""Time two ways of doing the same work turn by turn, and keep every raw number.

A benchmark calls `compare` for each of its rows and `save` once. The sides of
a row alternate (A B A B …) in one process, after each has run once to warm up
and both have been shown to give the same result, so that a slow minute of the
machine falls on both. `page.py` makes docs/performance.md from what is saved.
"""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
LIBRARIES = (
    "numpy", "numba", "torch", "torchvision", "zarr", "xarray", "dask", "distributed", "openvino",
    "ray", "flox",
)  # fmt: skip


def compare(
    what: str,
    ours: tuple[str, Callable[[], Any]],
    theirs: tuple[str, Callable[[], Any]],
    *,
    work: float,
    unit: str,
    target: str,
    same: Callable[[Any, Any], str],
    rounds: int = 5,
) -> dict[str, Any]:
    """Time two sides of one row.

    Parameters
    ----------
    ours, theirs : name and call of a side
    work : how much of `unit` one call does; the row gives `unit` a second
    target : what the ratio ours / theirs is to reach, as `>= 9`
    same : says in words that two results agree, or raises

    Returns
    -------
    dict, a row of `save`
    """
    sides = {"ours": ours, "theirs": theirs}
    agreement = same(ours[1](), theirs[1]())
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, (_name, call) in sides.items():
            gc.collect()
            started = time.perf_counter()
            call()
            seconds[side].append(time.perf_counter() - started)
    row: dict[str, Any] = {"what": what, "unit": f"{unit}/s", "target": target, "same": agreement}
    for side, (name, _call) in sides.items():
        rates = [work / s for s in seconds[side]]
        row[side] = {"name": name, "raw": rates, "median": statistics.median(rates)}
    row["ratio"] = row["ours"]["median"] / row["theirs"]["median"]
    print(
        f"{what}: {ours[0]} {row['ours']['median']:.4g}, {theirs[0]} "
        f"{row['theirs']['median']:.4g} {unit}/s, ratio {row['ratio']:.3g} ({target}); {agreement}",
        flush=True,
    )
    return row


def figure(what: str, raw: list[float], unit: str, target: str, note: str = "") -> dict[str, Any]:
    """A row that stands alone: the median of raw numbers."""
    row = {
        "what": what, "unit": unit, "target": target, "note": note, "raw": raw,
        "median": statistics.median(raw),
    }  # fmt: skip
    print(f"{what}: {row['median']:.4g} {unit} ({target}) {note}", flush=True)
    return row


def save(name: str, rows: list[dict[str, Any]], notes: Mapping[str, Any] | None = None) -> Path:
    """Write the rows of one benchmark with the machine they were measured on."""
    path = RESULTS / f"{name}.json"
    document = {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": f"python workflows/benchmarks/{Path(sys.argv[0]).name} {_arguments()}".rstrip(),
        "machine": machine(),
        "notes": dict(notes or {}),
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(path)
    return path


def _arguments() -> str:
    """What the script was called with; a folder of this machine says nothing to anyone else."""
    return " ".join("SCRATCH" if Path(a).is_absolute() else a for a in sys.argv[1:])


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load and the versions of what was timed."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": ", ".join([_processor(), *_gpus()]),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
    }


def _gpus() -> list[str]:
    torch = sys.modules.get("torch")  # of benchmarks that use it: others shall not import it
    if torch is None:
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def in_a_process(
    script: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a script in a process of its own; its last line is JSON, to which peak memory is added.

    Returns
    -------
    dict
        What the script said, `wall_s`, and `peak_mb`: the largest sum, over time, of the
        proportional set sizes of the process and all its descendants.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, _family_mb(process.pid))
        time.sleep(1.0)  # a sample walks every page: five a second took a fifth of a core
    assert process.stdout is not None
    lines = process.stdout.read().strip().splitlines()
    if process.returncode or not lines:
        raise RuntimeError(f"{script.name} {' '.join(arguments)}: exit code {process.returncode}")
    found: dict[str, Any] = json.loads(lines[-1])
    return {**found, "wall_s": time.perf_counter() - started, "peak_mb": peak}


def _family_mb(root: int) -> float:
    """Memory of a process and its descendants, shared pages counted once."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    family, found = [root], 0.0
    while family:
        pid = family.pop()
        family += parents.get(pid, [])
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith("Pss:"):
                found += int(line.split()[1]) / 1024
    return found
