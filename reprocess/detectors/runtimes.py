"""What runs a network: torch on a CPU or a GPU, or OpenVINO on a CPU.

Each runtime gives the same logits for a frame whatever stands beside it and
however many cores it is given. Two runtimes may differ in the last bits of
float16, so the campaign names one and its name is part of the evidence's
fingerprint. torch and OpenVINO are imported where a network is loaded, not
before.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reprocess.detectors.weights import LoadedNetwork, load_network
from reprocess.errors import ConfigurationError
from reprocess.extras import require

if TYPE_CHECKING:
    import torch

# On a GPU every batch has this many frames, the last one filled up with black ones.
CUDA_BATCH = 16
# What a lower precision may do to the first frames that it is given: at most this share of their
# probabilities may be further from float32's.
APART_MAX, AGREEMENT = 0.01, 0.02
INSTEAD = "take precision: float32, under a label of its own"
_FLOAT16_MAX = float(np.finfo(np.float16).max)


class Runtime(Protocol):
    """A network that is loaded and ready for frames of one size."""

    def logits(self, images: NDArray[np.uint8], threads: int) -> NDArray[np.float16]:
        """Aurora minus background logit of each frame on the network's grid.

        Parameters
        ----------
        images : (n, y, x, 3) uint8 array, n > 0. Not modified.
        threads : int, cores that this call may use

        Returns
        -------
        (n, y/8, x/8) float16 array, finite, the same for any `threads`
        """
        ...


class TorchCpu:
    """torch on the CPU, a frame at a time with one intra-op thread each.

    A second intra-op thread would change 8 % of the values; another frame
    beside this one changes none. The network is taken over: its weights are
    packed in place, for a second copy of them would be 130 MB a process.
    """

    def __init__(self, loaded: LoadedNetwork, size_px: int) -> None:
        from reprocess.detectors.packed import can_pack, pack

        if can_pack():
            pack(loaded.network)
        self._difference = _difference(loaded, size_px, "cpu")
        with _intraop_threads_kept():
            _one_intraop_thread()
            self._one(np.zeros((1, size_px, size_px, 3), np.uint8))  # settles the size

    def logits(self, images: NDArray[np.uint8], threads: int) -> NDArray[np.float16]:
        with (
            _intraop_threads_kept(),
            ThreadPoolExecutor(max(1, threads), "fcn", initializer=_one_intraop_thread) as pool,
        ):
            return np.concatenate(list(pool.map(self._one, images[:, None])))

    def _one(self, image: NDArray[np.uint8]) -> NDArray[np.float16]:
        import torch

        with torch.inference_mode():
            # torch wants it writable
            return _float16(self._difference(torch.from_numpy(np.array(image))))


class TorchDevice:
    """torch on a GPU: batches of a fixed size; float32 without TF32, or 16 bits where it may be.

    Copies and batches are queued, so that the GPU computes one while the next is brought.
    """

    def __init__(
        self,
        loaded: LoadedNetwork,
        size_px: int,
        device: str = "cuda",
        batch: int = CUDA_BATCH,
        precision: str = "float32",
    ) -> None:
        self._difference = _difference(loaded, size_px, device)
        self._device = device
        self._batch = batch
        self._precision = precision
        self._agrees = precision == "float32"
        # The flags below are the process's, not the thread's: one thread at a time.
        self._lock = threading.Lock()

    def logits(self, images: NDArray[np.uint8], threads: int) -> NDArray[np.float16]:  # noqa: ARG002
        import torch

        n, whole = len(images), -(-len(images) // self._batch) * self._batch
        # Only pinned memory is copied while the GPU computes; torch keeps it for the next call.
        pinned = torch.zeros(
            (whole, *images.shape[1:]), dtype=torch.uint8, pin_memory=self._device != "cpu"
        )
        given = pinned.numpy()
        parts = []
        with (
            self._lock,
            torch.inference_mode(),
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            ),
        ):
            for first in range(0, whole, self._batch):
                batch = slice(first, first + self._batch)
                given[batch][: n - first] = images[batch]
                counts = pinned[batch].to(self._device, non_blocking=True)
                parts.append(self._pass(counts, self._precision))
                if not self._agrees:
                    exact = self._pass(counts, "float32")
                    self._check_agreement(parts[0][: n - first], exact[: n - first])
            found = torch.cat(parts)[:n]
            if self._precision != "float32" and not torch.isfinite(found).all():
                raise ConfigurationError(
                    f"precision: {self._precision}: found logits that are no finite numbers; "
                    f"{INSTEAD}"
                )
            return _float16(found)

    def _pass(self, counts: torch.Tensor, precision: str) -> torch.Tensor:
        import torch

        if precision == "float32":
            return self._difference(counts)
        with torch.autocast(self._device, dtype=getattr(torch, precision)):
            return self._difference(counts)

    def _check_agreement(self, lower: torch.Tensor, exact: torch.Tensor) -> None:
        """Refuse a precision that moves the first frames' probabilities away from float32's.

        Not the logits: far from 0 a large error of theirs changes nothing at any threshold.
        """
        near = (lower.sigmoid() - exact.sigmoid()).abs() <= AGREEMENT  # not so of NaN
        share = 1.0 - float(near.float().mean())
        if share > APART_MAX:
            raise ConfigurationError(
                f"precision: {self._precision}: {100 * share:.3g} % of the first frames' "
                f"probabilities are more than {AGREEMENT} off float32's, expected at most "
                f"{100 * APART_MAX:.3g} %; {INSTEAD}"
            )
        self._agrees = True


class OpenVino:
    """OpenVINO on the CPU, float32: one stream a core, one thread and one frame a stream."""

    def __init__(self, loaded: LoadedNetwork, size_px: int) -> None:
        self._model = _openvino_model(loaded, size_px)
        self._lock = threading.Lock()
        self._queues: dict[int, Any] = {}

    def logits(self, images: NDArray[np.uint8], threads: int) -> NDArray[np.float16]:
        n = len(images)
        found: dict[int, NDArray[np.float16]] = {}

        def keep(request: Any, index: int) -> None:
            value = np.clip(request.get_output_tensor(0).data[0], -_FLOAT16_MAX, _FLOAT16_MAX)
            found[index] = value.astype(np.float16)

        with self._lock:
            queue = self._queue(max(1, threads))
            queue.set_callback(keep)
            for index in range(n):
                queue.start_async({0: images[index : index + 1]}, index)
            queue.wait_all()
        return np.stack([found[index] for index in range(n)])

    def _queue(self, streams: int) -> Any:
        import openvino

        if streams not in self._queues:
            settings = {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": streams,
                "NUM_STREAMS": streams,
                # Workers side by side would all pin themselves to the same first cores.
                "ENABLE_CPU_PINNING": False,
            }
            compiled = _openvino_core().compile_model(self._model, "CPU", settings)
            self._queues[streams] = openvino.AsyncInferQueue(compiled, streams)
        return self._queues[streams]


@functools.cache
def _openvino_core() -> Any:
    """The only core of the process.

    A core (OpenVINO 2026.4) gives its thread a stack to handle signals on and takes that away when
    it goes; of two, the second to go leaves the first's, freed: the next SIGTERM or Ctrl-C was a
    segmentation fault.
    """
    import openvino

    return openvino.Core()


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_runtime(
    name: str, weights: str, digest: str, size_px: int, precision: str = "float32"
) -> Runtime:
    """The runtime of a weights file, loaded once a process and kept.

    Parameters
    ----------
    name : `torch` (a GPU where there is one, else the CPU) or `openvino`
    digest : SHA-256 that the weights file must have
    size_px : of the frames, which are square
    precision : `float32`; on a GPU also `float16` or `bfloat16`

    Raises
    ------
    ConfigurationError
        If the weights are not of that digest, the runtime is not installed, or there is no GPU
        for the precision.
    """
    require_runtime(name, precision)
    key = (_place(name), weights, digest, size_px, precision)
    with _kept_lock:
        if key not in _kept:
            lower = {} if precision == "float32" else {"precision": precision}
            _kept[key] = _PLACES[key[0]](_load(weights, digest), size_px, **lower)
            _give_back_freed_memory()  # of the weights as they were read
        return _kept[key]


def require_runtime(name: str, precision: str = "float32") -> None:
    """Refuse to go on where a runtime is not installed, or the precision needs a GPU.

    Raises
    ------
    ConfigurationError
        Naming the command that installs it, or what to do without a GPU.
    """
    require("torch", "torch", "the fcn detector")
    if name == "openvino":
        require("openvino", "openvino", "runtime: openvino")
    if precision != "float32" and _place(name) != "torch-cuda":
        raise ConfigurationError(
            f"precision: {precision}: found no GPU that PyTorch can use here, expected one; "
            f"{INSTEAD}"
        )


def runtime_profile(name: str) -> str:
    """Device kind, instruction set, runtime and its version: what bits may depend on."""
    import torch

    place = _place(name)
    if place == "torch-cuda":
        major, minor = torch.cuda.get_device_capability()
        machine = f"cuda sm_{major}{minor}"
    else:
        machine = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    if place == "torch-cpu":
        from reprocess.detectors.packed import can_pack

        machine += " packed winograd" if can_pack() else ""
    return f"{machine} {name}-{_version(name)}"


_PLACES: dict[str, Callable[..., Runtime]] = {
    "torch-cpu": TorchCpu,
    "torch-cuda": TorchDevice,
    "openvino": OpenVino,
}
_kept: dict[tuple[str, str, str, int, str], Runtime] = {}
_kept_lock = threading.Lock()


def _load(weights: str, digest: str) -> LoadedNetwork:
    loaded = load_network(weights)
    if loaded.digest != digest:
        raise ConfigurationError(
            f"weights {weights!r}: changed while running: SHA-256 {loaded.digest}, "
            f"expected {digest}"
        )
    return loaded


def _give_back_freed_memory() -> None:
    """Give what was freed back to the system, which glibc does only at the heap's end."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _place(name: str) -> str:
    require_runtime(name)
    if name == "openvino":
        return name
    import torch

    return "torch-cuda" if torch.cuda.is_available() else "torch-cpu"


def _version(name: str) -> str:
    if name == "openvino":
        import openvino

        return str(openvino.__version__).partition("-")[0]
    import torch

    return str(torch.__version__).partition("+")[0]


def _difference(
    loaded: LoadedNetwork, size_px: int, device: str
) -> Callable[[torch.Tensor], torch.Tensor]:
    """From (n, y, x, 3) uint8 counts to the (n, y/8, x/8) float32 logit difference."""
    import torch

    from reprocess.detectors.networks import logit_difference

    # A frame's bytes are already in channels-last order, the faster one.
    network = loaded.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # A row's worth of them: three numbers at a time would be no vector.
    mean = torch.tensor(loaded.mean * size_px, device=device)
    std = torch.tensor(loaded.std * size_px, device=device)

    def difference(counts: torch.Tensor) -> torch.Tensor:
        rows = (counts.flatten(2).float() / 255 - mean) / std
        logits = network(rows.reshape(counts.shape).permute(0, 3, 1, 2))
        return logit_difference(logits.float())

    return difference


def _float16(logits: torch.Tensor) -> NDArray[np.float16]:
    found: NDArray[np.float16] = logits.clamp(-_FLOAT16_MAX, _FLOAT16_MAX).half().cpu().numpy()
    return found


def _openvino_model(loaded: LoadedNetwork, size_px: int) -> Any:
    """The network with its normalisation as an OpenVINO model of (1, y, x, 3) uint8 frames."""
    import openvino
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = loaded.network  # its parameters belong to the exported program
            self.difference = _difference(loaded, size_px, "cpu")

        def forward(self, counts: torch.Tensor) -> torch.Tensor:
            return self.difference(counts)

    example = torch.zeros((1, size_px, size_px, 3), dtype=torch.uint8)
    with torch.inference_mode():
        program = torch.export.export(Whole().eval(), (example,))
    return openvino.convert_model(program)


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
