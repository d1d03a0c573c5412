"""The processes of one training: one, or as many as `torchrun` has started.

Each has its own GPU and its own part of every batch; torch's DistributedDataParallel averages
their gradients. Between GPUs NCCL carries them, between CPUs gloo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from reprocess.errors import ConfigurationError

PATIENCE = timedelta(hours=6)
"""Processes wait so long for one of them, such as the one that renders the frames."""


CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the training; alone it is `Ranks()`."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def spread(self, network: nn.Module) -> nn.Module:
        """The network as it is trained: alike in every process, gradients averaged over them.

        On GPUs batch normalisation takes its statistics over the whole batch (torch's
        SyncBatchNorm exists for GPUs only); between CPUs over each process's part.
        """
        if self.size == 1:
            return network
        if self.device.type == "cuda":
            convert = nn.SyncBatchNorm.convert_sync_batchnorm
            network = convert(network)  # type: ignore[no-untyped-call]
            return DistributedDataParallel(network, device_ids=[self.device.index])
        return DistributedDataParallel(network)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def every(self, value: Any) -> list[Any]:
        """What each process has, in order; in the first process only, elsewhere empty."""
        if self.size == 1:
            return [value]
        found: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, found)
        return found or []

    def shared(self, value: Any) -> Any:
        """What the first process has."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box, device=self.device)
        return box[0]

    def align(self, network: nn.Module) -> None:
        """Give every process the running statistics of the first."""
        if self.size > 1:
            for buffer in network.buffers():
                dist.broadcast(buffer, 0)

    @contextmanager
    def first_first(self) -> Iterator[None]:
        """Let the first process through before the others, which then find what it left."""
        if self.size > 1 and not self.first:
            dist.barrier()
        yield
        if self.size > 1 and self.first:
            dist.barrier()


@contextmanager
def open_ranks(device: str = "auto") -> Iterator[Ranks]:
    """Join the processes of this training.

    Parameters
    ----------
    device : `auto` (a GPU where there is one), `cpu` or `cuda`

    Raises
    ------
    ConfigurationError
        If there is no GPU, or fewer than processes on this machine.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = _device(device, local)
    if size == 1:
        yield Ranks(device=place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), size, place)
    finally:
        dist.destroy_process_group()


def _device(name: str, local: int) -> torch.device:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and found == 0):
        return CPU
    if local >= found:
        raise ConfigurationError(
            f"training: found {found} GPUs on this machine for process {local} (from 0), expected "
            f"one a process; start fewer (torchrun --nproc-per-node), or use --device cpu"
        )
    return torch.device("cuda", local)


def bare(network: nn.Module) -> nn.Module:
    """The network inside what spreads it."""
    return cast(nn.Module, network.module) if hasattr(network, "module") else network
