"""Aurora as seen by a fully convolutional network: one logit difference a coarse pixel.

Evidence is `logit[aurora] - logit[background]` on the network's own grid, an
eighth of the image, as float16. Upsampling that one channel and testing
>= 0 is exactly softmax >= 0.5, so thresholds and masks can be redone without
an image. torch is imported only where a network runs.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign, Fcn
from reprocess.detectors.coverage import cell_shares, logit
from reprocess.detectors.detector import (
    FRACTION_UNOBSERVED,
    Evidence,
    EvidenceStatus,
    EvidenceVariable,
)
from reprocess.detectors.weights import LoadedNetwork, load_network, weights_digest
from reprocess.errors import ConfigurationError
from reprocess.extras import require
from reprocess.geometry.calibration import epoch_geometry

if TYPE_CHECKING:
    from reprocess.archive.frames import FrameBlock

STRIDE = 8
LOGIT = "logit"
# Raised when the way from frame to logits changes: all evidence is then stale.
VERSION = 1
# On a GPU every batch has this many frames, the last one filled up with black ones.
CUDA_BATCH = 16
_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FcnDetector:
    """A network with one campaign section's settings."""

    label: str
    settings: Fcn

    @property
    def kind(self) -> str:
        return "fcn"

    @property
    def context_s(self) -> float:
        return 0.0

    @property
    def uses_geometry(self) -> bool:
        return False

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights file, read once: what the fingerprints stand for."""
        return weights_digest(self.settings.weights)

    def variables(self, campaign: Campaign) -> tuple[EvidenceVariable, ...]:
        size = campaign.image.size_px // STRIDE
        return (
            EvidenceVariable(
                name=LOGIT,
                dims=("v", "u"),
                shape=(size, size),
                dtype="float16",
                fill=float("nan"),
                attrs={
                    "long_name": "aurora minus background logit on the network's grid",
                    "units": "1",
                    "comment": f"one value for {STRIDE} x {STRIDE} pixels; upsample bilinearly "
                    "with half-pixel centres, then aurora probability = 1 / (1 + exp(-logit))",
                },
            ),
        )

    def evidence_settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": VERSION,
            "weights": self.digest,
            "runtime": self.settings.runtime,
            "precision": self.settings.precision,
        }

    def detection_settings(self, epoch: CameraEpoch) -> dict[str, Any]:  # noqa: ARG002
        return {"threshold": self.settings.threshold}

    def profile(self) -> str:
        """Device kind, instruction set, runtime and its version, precision."""
        require_torch()
        import torch

        runtime = f"{self.settings.runtime}-{torch.__version__.partition('+')[0]}"
        if _device_kind() == "cuda":
            major, minor = torch.cuda.get_device_capability()
            machine = f"cuda sm_{major}{minor}"
        else:
            machine = f"cpu {torch.backends.cpu.get_cpu_capability()}"
        return f"{machine} {runtime} {self.settings.precision}"

    def measure(
        self,
        block: FrameBlock,
        context: FrameBlock | None,  # noqa: ARG002 - each frame stands for itself
        campaign: Campaign,
        threads: int | None = None,
    ) -> Evidence:
        n = len(block.acquired)
        (variable,) = self.variables(campaign)
        size = campaign.image.size_px
        if block.image.shape[1:] != (size, size, 3):
            raise ValueError(f"frames of {block.image.shape[1:]}, the campaign's are {size} px")
        values = np.empty((n, *variable.shape), np.float16)
        if n:
            device = _device_kind()
            loaded = _network(self.settings.weights, self.digest, device)
            if device == "cpu":
                values[:] = logits_frame_by_frame(loaded, block.image, threads or available_cores())
            else:
                values[:] = logits_in_batches(loaded, block.image, device, CUDA_BATCH)
        status = np.full(n, EvidenceStatus.OBSERVED, np.uint8)
        return Evidence(block.acquired.copy(), block.slot.copy(), status, {LOGIT: values})

    def fractions(
        self, evidence: Evidence, epoch: NDArray[np.int64], campaign: Campaign
    ) -> NDArray[np.uint8]:
        logits = evidence.values[LOGIT]
        n_cells = epoch_geometry(campaign, campaign.camera[0]).cells.n_cells
        result = np.full((len(logits), n_cells), FRACTION_UNOBSERVED, np.uint8)
        limit = logit(self.settings.threshold)
        for index in np.unique(epoch[epoch >= 0]):
            cellmap = epoch_geometry(campaign, campaign.camera[index]).cellmap
            frames = (epoch == index) & (evidence.status == EvidenceStatus.OBSERVED)
            share = cell_shares(logits[frames], cellmap.cell, cellmap.weight, n_cells, limit)
            share[:, ~cellmap.observed] = FRACTION_UNOBSERVED
            result[frames] = share
        return result


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def logits_frame_by_frame(
    loaded: LoadedNetwork, images: NDArray[np.uint8], threads: int
) -> NDArray[np.float16]:
    """Run a network on the CPU, one frame at a time with one intra-op thread each.

    Parameters
    ----------
    images : (n, y, x, 3) uint8 array, n > 0. Not modified.
    threads : int, frames in flight at one time

    Returns
    -------
    (n, y/8, x/8) float16 array
        The same for any `threads`: a second intra-op thread would change 8 %
        of the values, another frame beside this one changes none.
    """
    with (
        _intraop_threads_kept(),
        ThreadPoolExecutor(max(1, threads), "fcn", initializer=_one_intraop_thread) as pool,
    ):
        return np.concatenate(list(pool.map(lambda i: _logits(loaded, i, "cpu"), images[:, None])))


def logits_in_batches(
    loaded: LoadedNetwork, images: NDArray[np.uint8], device: str, batch: int
) -> NDArray[np.float16]:
    """Run a network on batches of a fixed size, float32 without TF32.

    Parameters
    ----------
    images : (n, y, x, 3) uint8 array, n > 0. Not modified.
    device : where `loaded.network` is
    batch : int, frames in every batch; black frames fill up the last one

    Returns
    -------
    (n, y/8, x/8) float16 array
    """
    import torch

    n = len(images)
    results = []
    # The flags are the process's, not the thread's: one thread at a time.
    with (
        _device_lock,
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        for first in range(0, n, batch):
            part = images[first : first + batch]
            full = np.zeros((batch, *images.shape[1:]), np.uint8)
            full[: len(part)] = part
            results.append(_logits(loaded, full, device)[: len(part)])
    return np.concatenate(results)


def _logits(loaded: LoadedNetwork, images: NDArray[np.uint8], device: str) -> NDArray[np.float16]:
    import torch

    from reprocess.detectors.networks import logit_difference

    with torch.inference_mode():
        mean = torch.tensor(loaded.mean, device=device).reshape(1, 3, 1, 1)
        std = torch.tensor(loaded.std, device=device).reshape(1, 3, 1, 1)
        # A frame's bytes are already in channels-last order, the faster one.
        counts = torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2)
        logits = loaded.network((counts.float() / 255 - mean) / std)
        difference = logit_difference(logits).clamp(-_FLOAT16_MAX, _FLOAT16_MAX)
        result: NDArray[np.float16] = difference.half().cpu().numpy()
        return result


def _device_kind() -> str:
    require_torch()
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def require_torch() -> None:
    """Refuse to go on where the network cannot run.

    Raises
    ------
    ConfigurationError
        Naming the command that installs PyTorch.
    """
    for module in ("torch", "torchvision"):
        require(module, "torch", "the fcn detector")


_networks: dict[tuple[str, str, str], LoadedNetwork] = {}
_networks_lock = threading.Lock()
_device_lock = threading.Lock()


def _network(path: str, digest: str, device: str) -> LoadedNetwork:
    """The network of a weights file, loaded once a process and kept."""
    with _networks_lock:
        key = (path, digest, device)
        if key not in _networks:
            loaded = load_network(path)
            if loaded.digest != digest:
                raise ConfigurationError(
                    f"weights {path!r}: changed while running: SHA-256 {loaded.digest}, "
                    f"expected {digest}"
                )
            import torch

            loaded.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            _networks[key] = loaded
        return _networks[key]


def _one_intraop_thread() -> None:
    import torch

    # Asking first ends torch's lazy initialisation of this thread, which would undo the setting.
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextlib.contextmanager
def _intraop_threads_kept() -> Iterator[None]:
    """Restore the number of threads that torch gives to threads started later."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
