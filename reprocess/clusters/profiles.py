"""Cluster profiles: a YAML file that says where and with what a campaign's tasks run.

Two kinds, `local` and `slurm`. A profile decides no number: nothing of it enters a
fingerprint. Every key is declared once, here; `docs/slurm.md` lists them.
"""

from __future__ import annotations

import difflib
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from reprocess.errors import ConfigurationError

ADDRESSES = ("tcp://", "tls://", "ucx://", "ws://", "wss://")
SERIAL = "serial"
SHIPPED = ("local", "slurm", "slurm-gpu")
DRIVER = "driver"
SUFFIXES = (".yaml", ".yml")
PROCESS_BYTES_MIN = 3 << 29
"""Less than this a worker process cannot work with: 1.1 GB were measured with nearly no frames."""


def walltime_seconds(value: Any) -> int:
    """Seconds of a walltime such as `04:00:00` or `1-12:00:00`.

    A number without a colon or a day is refused: Slurm would take it for minutes, most
    readers for seconds or hours. So is `4:00`, which Slurm takes for four minutes.
    """
    expected = "hours:minutes:seconds or days-hours:minutes:seconds, such as 04:00:00 or 1-12:00:00"
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", str(value).strip())
    if match is None:
        raise ValueError(expected)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total < 60:
        raise ValueError("a walltime of a minute or more; Slurm knows no shorter one")
    return total


def memory_bytes(value: Any) -> int:
    """Bytes of `16G`; the units are Slurm's, powers of 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", str(value).strip())
    if match is None:
        raise ValueError("a number with its unit, K, M, G or T, such as 16G")
    return int(float(match[1]) * 1024 ** (" KMGT".index(match[2])))


Walltime = Annotated[int, BeforeValidator(walltime_seconds)]
Memory = Annotated[int, BeforeValidator(memory_bytes)]


class Profile(BaseModel):
    """Base of both kinds: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _refuse_little_memory(memory: int, processes: int) -> None:
    least = processes * PROCESS_BYTES_MIN
    if memory < least:
        raise ValueError(
            f"memory of at least {-(-least >> 30)}G for {processes} worker processes, or fewer "
            f"processes"
        )


class LocalProfile(Profile):
    """This machine's cores, one worker process each."""

    kind: Literal["local"]
    processes: int | None = Field(
        default=None, ge=1, description="worker processes; null: as many as cores and memory allow"
    )
    memory: Memory | None = Field(
        default=None, description="for all workers together; null: the machine's"
    )
    scratch: str | None = Field(default=None, description="directory for the workers' own files")

    @model_validator(mode="after")
    def _enough(self) -> LocalProfile:
        if self.memory is not None:
            _refuse_little_memory(self.memory, self.processes or 1)
        return self


class SlurmProfile(Profile):
    """Jobs of a Slurm cluster, each with one or more worker processes."""

    kind: Literal["slurm"]
    account: str | None = Field(default=None, description="sbatch --account; null: your default")
    partition: str | None = Field(
        default=None, description="sbatch --partition; null: the cluster's default"
    )
    qos: str | None = Field(default=None, description="sbatch --qos")
    constraint: str | None = Field(default=None, description="sbatch --constraint")
    options: tuple[str, ...] = Field(
        default=(), description="more options of sbatch, one a line, such as --exclude=n7"
    )
    jobs: int = Field(default=2, ge=1, le=1000, description="jobs at one time, at most")
    cores: int = Field(default=4, ge=1, description="cores of a job (--cpus-per-task)")
    memory: Memory = Field(default="8G", validate_default=True, description="of a job (--mem)")
    walltime: Walltime = Field(
        default="04:00:00", validate_default=True, description="of a job (--time)"
    )
    processes: int | None = Field(
        default=None, ge=1,
        description="worker processes of a job; null: one a GPU, or without GPUs one a core",
    )  # fmt: skip
    gpus: int = Field(default=0, ge=0, le=64, description="GPUs of a job, one process each")
    gpu_type: str | None = Field(default=None, description="such as h100; null: any")
    gpu_option: Literal["gres", "gpus", "gpus-per-node"] = Field(
        default="gres", description="how your cluster wants to be asked for GPUs"
    )
    cpu_fallback: bool = Field(
        default=False, description="compute on the cores where a GPU job finds no CUDA device"
    )
    prologue: tuple[str, ...] = Field(
        default=(), description="shell lines before the worker: modules, environment"
    )
    python: str | None = Field(
        default=None, description="the nodes' Python; null: the one that runs the driver"
    )
    interface: str | None = Field(
        default=None, description="network between driver and nodes, such as ib0; null: any"
    )
    scratch: str | None = Field(
        default=None, description="directory on the node for the workers' own files"
    )
    logs: str = Field(
        default="reprocess-logs",
        description="directory that driver and nodes share: job logs, and the run's certificates",
    )
    encrypt: bool = Field(default=True, description="TLS with certificates made for this run")
    poll_s: float = Field(default=15.0, ge=1, description="seconds between two looks at the queue")

    @model_validator(mode="after")
    def _consistent(self) -> SlurmProfile:
        if self.gpus and self.processes not in (None, self.gpus):
            raise ValueError(f"processes null or {self.gpus}: one worker process for each GPU")
        if self.n_processes > self.cores:
            raise ValueError(
                f"cores of at least {self.n_processes}: one for each of a job's worker processes"
            )
        _refuse_little_memory(self.memory, self.n_processes)
        if not self.gpus and (self.gpu_type or self.cpu_fallback):
            raise ValueError("gpus of 1 or more where gpu_type or cpu_fallback is set")
        for option in self.options:
            if not option.startswith("-") or "\n" in option:
                raise ValueError(f"options that begin with -, one a line, not {option!r}")
        return self

    @property
    def n_processes(self) -> int:
        return self.processes or self.gpus or self.cores

    @property
    def threads(self) -> int:
        """Cores of each worker process."""
        return self.cores // self.n_processes


AnyProfile = Annotated[LocalProfile | SlurmProfile, Field(discriminator="kind")]


def own_profiles() -> Path:
    """Directory of a user's own profiles, found by name."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "reprocess" / "clusters"


def is_address(cluster: str) -> bool:
    """Whether `--cluster` gives the address of a running scheduler."""
    return cluster.startswith(ADDRESSES)


def shipped_text(name: str) -> str:
    """The text of a file that comes with the package, to be copied and edited.

    Parameters
    ----------
    name : of a profile, or `driver`: the batch script that runs the driver as a job
    """
    if name not in (*SHIPPED, DRIVER):
        known = ", ".join((*SHIPPED, DRIVER))
        raise ConfigurationError(f"cluster show {name}: expected one of {known}")
    file = "driver.sbatch" if name == DRIVER else f"{name}.yaml"
    return files("reprocess.clusters").joinpath(f"profiles/{file}").read_text("utf-8")


def load_profile(cluster: str) -> LocalProfile | SlurmProfile:
    """Read the profile that `--cluster NAME|FILE` names.

    A name is looked for in `~/.config/reprocess/clusters/`, then among those that come with
    the package.

    Raises
    ------
    ConfigurationError
        Naming the file, the key, what was found and what was expected.
    """
    source, text = _find(cluster)
    try:
        document = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source}: is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{source}: expected a mapping with kind: local or slurm, "
            f"found {type(document).__name__}"
        )
    try:
        return TypeAdapter[Any](AnyProfile).validate_python(document)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise ConfigurationError(_explain(error, document, source)) from error


def _find(cluster: str) -> tuple[str, str]:
    if "://" in cluster:
        raise ConfigurationError(
            f"--cluster {cluster}: found no scheduler's address; expected tcp://HOST:PORT or "
            f"tls://HOST:PORT"
        )
    if cluster.endswith(SUFFIXES) or os.sep in cluster:
        path = Path(cluster).expanduser()
    else:
        path = own_profiles() / f"{cluster}.yaml"
        if not path.is_file():
            if cluster in SHIPPED:
                return f"{cluster}.yaml (of the package)", shipped_text(cluster)
            own = sorted(p.stem for p in own_profiles().glob("*.yaml"))
            names = [SERIAL, *dict.fromkeys([*SHIPPED, *own])]
            close = difflib.get_close_matches(cluster, names, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigurationError(
                f"--cluster {cluster}: no such cluster; expected {', '.join(names)}, a profile "
                f"(FILE.yaml), or tcp://HOST:PORT or tls://HOST:PORT{hint}"
            )
    try:
        return str(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text"
        raise ConfigurationError(
            f"--cluster {path}: cannot be read ({reason}); expected a profile in YAML, such as "
            f"`reprocess cluster show slurm` prints"
        ) from error


class _Loader(yaml.SafeLoader):
    """YAML without base-60 numbers: 12:00:00 is a walltime, not 43200."""


_Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:int"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)


def _explain(error: ValidationError, document: dict[str, Any], source: str) -> str:
    model = SlurmProfile if document.get("kind") == "slurm" else LocalProfile
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"] if part not in ("local", "slurm")]
        key = ".".join(location) or "profile"
        if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
            found = document.get("kind", "nothing")
            lines.append(f"{source}: kind: found {found}, expected local or slurm")
        elif problem["type"] == "extra_forbidden":
            known = list(model.model_fields)
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            lines.append(f"{source}: {key}: unknown key; expected one of {', '.join(known)}{hint}")
        else:
            expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            found = problem["input"]
            shown = "this" if isinstance(found, dict) else repr(found)
            lines.append(f"{source}: {key}: found {shown}, expected {expected}")
    return "\n".join(lines)
