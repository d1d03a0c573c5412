"""What a training starts from: chance, somebody's published weights, or a network of one's own.

Published weights are torchvision's (BSD licence; trained on images of ImageNet or COCO, whose own
terms hold for them). They are looked for in torch.hub's cache and downloaded where they are not
there. A file is told by what is in it: ours (safetensors), or a state dict with torchvision's
names, saved by `torch.save`, which is read as tensors only and so cannot run code.
"""

from __future__ import annotations

import functools
import hashlib
import pickle
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import PACKAGE_PREFIX, load_network
from reprocess.errors import ConfigurationError
from reprocess.extras import require

SCRATCH = "scratch"
KINDS = ("coco", "imagenet")
"""Of published weights; not every architecture has both."""
SILENT_S = 20.0
"""A download is given up when nothing has come for so long."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESNET18_NAMES = {"conv1.": "stem.0.", "bn1.": "stem.1."}
"""torchvision's names of the first layers → those of our `FcnResnet18`."""

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Published:
    """Weights that torchvision offers for download."""

    name: str
    url: str
    trained_on: str

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def digest_begins(self) -> str:
        """Beginning of the file's SHA-256, in hexadecimal: the last part of its name."""
        return self.file_name.rpartition("-")[2].partition(".")[0]


@functools.cache
def published() -> Mapping[tuple[str, str], Published]:
    """(architecture, kind) → the weights that torchvision has.

    Raises
    ------
    ConfigurationError
        If torchvision is not installed.
    """
    require("torchvision", "train", "--start coco and --start imagenet")
    from torchvision.models import ResNet18_Weights, ResNet50_Weights
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    coco, imagenet = "COCO images with the 20 categories of Pascal VOC", "ImageNet-1K"
    found = {
        ("fcn_resnet50", "coco"): (FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1, coco),
        ("fcn_resnet50", "imagenet"): (ResNet50_Weights.IMAGENET1K_V1, imagenet),
        ("fcn_resnet18", "imagenet"): (ResNet18_Weights.IMAGENET1K_V1, imagenet),
    }
    return {key: Published(str(w), w.url, on) for key, (w, on) in found.items()}


@dataclass(frozen=True, eq=False)
class Start:
    """A network before its first step.

    Attributes
    ----------
    mean, std : its normalisation; None: from the training frames
    said : what it is and what became of each part, for the card and the log
    """

    network: nn.Module
    mean: Numbers | None
    std: Numbers | None
    said: dict[str, Any]

    def text(self) -> str:
        """One line for the log."""
        parts = [f"start: {self.said['from']}"]
        parts += [f"{key} {self.said[key]}" for key in ("new", "left_out") if self.said.get(key)]
        return "; ".join(parts)


def make_start(start: str, architecture: str, seed: int) -> Start:
    """Make the network that a training starts from.

    Parameters
    ----------
    start : `scratch`, `imagenet`, `coco`, or a file: safetensors of ours (or `package:NAME`), or a
        state dict with torchvision's names
    seed : of whatever is not started from anything

    Raises
    ------
    ConfigurationError
        If there are no such weights, they cannot be had, are damaged, or are of another
        architecture.
    """
    if start == SCRATCH:
        return Start(
            _random(architecture, seed), None, None, {"from": f"random weights, seed {seed}"}
        )
    if start in KINDS:
        offer = published().get((architecture, start))
        if offer is None:
            offered = sorted(kind for name, kind in published() if name == architecture)
            raise ConfigurationError(
                f"--start {start}: there are no such weights of {architecture}; expected "
                f"{', '.join([*offered, SCRATCH])} or a file"
            )
        path = obtain(offer)
        said = {"from": f"{offer.name}, trained on {offer.trained_on}"}
        said |= {"url": offer.url, "sha256": _check_digest(path, offer)}
        return _of_torchvision(_random(architecture, seed), architecture, path, said)
    path = Path(start)
    if not start.startswith(PACKAGE_PREFIX) and not path.is_file():
        raise ConfigurationError(
            f"--start {start}: no such file; expected scratch, imagenet, coco or a file of weights"
        )
    if start.startswith(PACKAGE_PREFIX) or not _is_pickle(path):
        loaded = load_network(start, architecture)
        network = loaded.network.requires_grad_(True)
        earlier = {k: loaded.card[k] for k in ("command", "started_from") if k in loaded.card}
        said = {"from": f"{path.name}, {architecture} of ours", "sha256": loaded.digest} | earlier
        return Start(network, loaded.mean, loaded.std, said)
    said = {"from": f"{path.name}, a state dict", "sha256": _digest(path)}
    return _of_torchvision(_random(architecture, seed), architecture, path, said)


def obtain(offer: Published) -> Path:
    """The downloaded file: from torch.hub's cache, or into it.

    Raises
    ------
    ConfigurationError
        If it is not there and cannot be downloaded: names the address, the file and where it
        goes.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / offer.file_name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _patience(SILENT_S):
            torch.hub.download_url_to_file(
                offer.url, str(path), offer.digest_begins, progress=False
            )
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigurationError(
            f"{offer.name}: is not at {path} and could not be downloaded ({reason}). Where "
            f"there is a network, download {offer.url} and put it there as {path.name}; or "
            f"give the file itself: --start PATH/{path.name}"
        ) from error
    return path


def _random(architecture: str, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(architecture)


def _of_torchvision(
    network: nn.Module, architecture: str, path: Path, said: dict[str, Any]
) -> Start:
    """Load what fits of a state dict with torchvision's names; the rest stays as it is."""
    found = _renamed(_tensors(path), architecture)
    wanted = network.state_dict()
    head = tuple(n for n in wanted if n.startswith(("classifier.", "score_")))
    body = [n for n in wanted if n not in head]
    missing = [n for n in body if n not in found and not n.endswith("num_batches_tracked")]
    other = [n for n in body if n in found and found[n].shape != wanted[n].shape]
    if missing or other:
        name = (missing or other)[0]
        here = "nothing" if missing else str(tuple(found[name].shape))
        raise ConfigurationError(
            f"--start {path}: {len(missing) + len(other)} of the {len(body)} tensors of the "
            f"backbone do not fit {architecture}: for {name} found {here}, expected "
            f"{tuple(wanted[name].shape)}; the file begins with {', '.join(list(found)[:3])}. "
            f"Is it of another architecture?"
        )
    fits = {n: t for n, t in found.items() if n in wanted and t.shape == wanted[n].shape}
    unfit = [n for n, t in fits.items() if not bool(torch.isfinite(t).all())]
    if unfit:
        raise ConfigurationError(f"--start {path}: found values that are not finite in {unfit[0]}")
    network.load_state_dict(fits, strict=False)
    new = [n for n in head if n not in fits]
    text = ", ".join(
        f"{n} ({found[n].shape[0]} classes there, {wanted[n].shape[0]} here)" if n in found else n
        for n in new
    )
    left = sorted({n.partition(".")[0] for n in found if n not in wanted})
    said |= {"tensors_kept": len(fits), "new": text, "left_out": ", ".join(left)}
    return Start(network, IMAGENET_MEAN, IMAGENET_STD, said)


def _renamed(found: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """With the names of our architecture, where the file is a bare ResNet."""
    if any(name.startswith(("backbone.", "stem.")) for name in found):
        return dict(found)
    if architecture == "fcn_resnet50":
        return {f"backbone.{n}" if not n.startswith("fc.") else n: t for n, t in found.items()}
    renamed = {}
    for name, tensor in found.items():
        begins = next((b for b in RESNET18_NAMES if name.startswith(b)), None)
        renamed[RESNET18_NAMES[begins] + name[len(begins) :] if begins else name] = tensor
    return renamed


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"--start {path}: cannot be read as tensors: {first}; expected a state dict saved by "
            f"torch.save, whole"
        ) from error
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        found = found["model"]  # as torchvision's own training script saves it
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise ConfigurationError(
            f"--start {path}: found a {type(found).__name__}, expected a state dict: tensors by "
            f"name"
        )
    return found


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        begins = file.read(2)
    return begins == b"PK" or begins[:1] == b"\x80"


@contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Give up on a server that says nothing; torch.hub itself would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check_digest(path: Path, published: Published) -> str:
    found = _digest(path)
    if not found.startswith(published.digest_begins):
        raise ConfigurationError(
            f"{path}: found SHA-256 {found}, expected one that begins with "
            f"{published.digest_begins}: the file is damaged or another one. Remove it and "
            f"download {published.url} again; a file of your own is given as --start PATH"
        )
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
