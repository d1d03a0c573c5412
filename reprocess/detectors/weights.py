"""Network weights on disk: one safetensors file that says what it is.

The file holds the tensors and, as metadata, everything needed to use them:
architecture, classes, normalisation and a card that tells where they come
from. Pickle files are refused: loading one runs whatever code it carries.
torch is imported only when a network is loaded or saved, so that planning a
campaign, which needs only the digest, works where torch is not installed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprocess.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

FORMAT = "reprocess-network-1"
METADATA_KEY = "reprocess"
PACKAGE_PREFIX = "package:"
HEADER_MAX_BYTES = 100_000_000
FILE_BYTES_MAX = 4 << 30
CLASSES_MAX = 64
HEADER_KEYS = frozenset({"format", "architecture", "classes", "mean", "std", "card"})
ARCHITECTURES = ("fcn_resnet18", "fcn_resnet50")
"""Names of the networks in `networks`, for where torch is not installed."""
CLASSES = ("background", "aurora")
"""What a detector's two logits stand for, in this order; another order would see the opposite."""
NORMALISATION = "(image / 255 - mean) / std"
"""What every runtime does to the counts before the network."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network ready for inference, and what it was made from.

    `mean` and `std` are for R, G, B of `image / 255`: the network's input is
    `(image / 255 - mean) / std`. `classes[1]` is aurora. `digest` is the
    SHA-256, in hexadecimal, of the file's bytes.
    """

    architecture: str
    network: nn.Module
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]
    card: Mapping[str, Any]
    digest: str


def resolve_weights(path: str | Path) -> Path:
    """The file behind a path or a `package:NAME`.

    Raises
    ------
    ConfigurationError
        If there is no such file; for `package:` the shipped names are listed.
    """
    text = str(path)
    if text.startswith(PACKAGE_PREFIX):
        name = text.removeprefix(PACKAGE_PREFIX)
        folder = Path(str(files("reprocess.detectors"))) / "checkpoints"
        found = folder / name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not found.is_file():
            shipped = sorted(f.name for f in folder.glob("*.safetensors"))
            raise ConfigurationError(
                f"weights {text!r}: not shipped with reprocess; "
                f"expected one of {', '.join(PACKAGE_PREFIX + s for s in shipped) or '(none)'}"
            )
        return found
    found = Path(text)
    if not found.is_file():
        raise ConfigurationError(f"weights {text!r}: no such file; expected a safetensors file")
    return found


def weights_digest(path: str | Path) -> str:
    """SHA-256 of a weights file's bytes, in hexadecimal. Does not import torch."""
    return hashlib.sha256(_read(resolve_weights(path))).hexdigest()


def read_card(path: str | Path) -> dict[str, Any]:
    """What a weights file says about itself, without loading the tensors or torch.

    Returns
    -------
    dict
        architecture, classes, mean, std and card, as they were saved.
    """
    found = resolve_weights(path)
    return _header(_read(found), str(path))


def load_network(path: str | Path, architecture: str | None = None) -> LoadedNetwork:
    """Load a network for inference: float32, eval mode, on the CPU.

    Parameters
    ----------
    path : a safetensors file written by `save_network`, or `package:NAME`
    architecture : that the file must have; None: any known one

    Raises
    ------
    ConfigurationError
        If the file is missing, is a pickle or not safetensors, is of another
        architecture, other classes or another normalisation, holds other
        tensors than the architecture needs, or tensors that were changed since
        it was written. Both sides are named.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _read(resolve_weights(path))
    header = _header(content, str(path))
    _check_meaning(header, str(path), architecture)
    try:
        tensors = load(content)
    except SafetensorError as error:
        raise ConfigurationError(f"weights {str(path)!r}: damaged safetensors: {error}") from error
    network = _empty_network(header["architecture"], len(header["classes"]))
    wanted = network.state_dict()
    _check_tensors(
        {name: tuple(t.shape) for name, t in tensors.items()},
        {name: tuple(t.shape) for name, t in wanted.items()},
        f"weights {str(path)!r}",
        header["architecture"],
    )
    unfit = [k for k, t in tensors.items() if not bool(torch.isfinite(t).all())]
    if unfit:
        raise ConfigurationError(
            f"weights {str(path)!r}: {_few(sorted(unfit))}: found values that are not finite, with "
            f"which the network sees nothing anywhere; expected a trained network"
        )
    digest = header.get("tensors_sha256")
    if digest is not None and (found := _tensors_digest(tensors)) != digest:
        raise ConfigurationError(
            f"weights {str(path)!r}: damaged: found tensors of SHA-256 {found}, expected {digest} "
            f"as the file says itself; copy it again from where it came"
        )
    network.load_state_dict({k: t.to(wanted[k].dtype) for k, t in tensors.items()}, assign=True)
    network.to(torch.float32).eval().requires_grad_(False)
    return LoadedNetwork(
        architecture=header["architecture"],
        network=network,
        mean=_three(header["mean"], "mean", path),
        std=_three(header["std"], "std", path),
        classes=tuple(header["classes"]),
        card=header["card"],
        digest=hashlib.sha256(content).hexdigest(),
    )


def save_network(
    path: str | Path,
    network: nn.Module,
    architecture: str,
    mean: Sequence[float],
    std: Sequence[float],
    card: Mapping[str, Any],
    *,
    half: bool = True,
) -> str:
    """Write a network and its description; the same network gives the same bytes.

    Parameters
    ----------
    mean, std : 3 floats, of R, G, B of `image / 255`
    card : JSON-able
        Data, seed, split, metrics, command: whatever a reader must know.
    half : bool
        Store convolution kernels as float16 (half the size). Biases and batch
        normalisation stay float32.

    Returns
    -------
    str
        SHA-256 of the file, in hexadecimal.

    Raises
    ------
    ConfigurationError
        If a tensor is not finite in its stored type, or does not belong to
        the architecture.

    Notes
    -----
    Written beside the target and renamed, so that a reader never sees half a
    file.
    """
    import torch
    from safetensors.torch import save

    target = Path(path)
    state = network.state_dict()
    _check_tensors(
        {name: tuple(t.shape) for name, t in state.items()},
        {
            n: tuple(t.shape)
            for n, t in _empty_network(architecture, len(CLASSES)).state_dict().items()
        },
        "the network to save",
        architecture,
    )
    tensors = {}
    for name in sorted(state):
        tensor = state[name].detach().to("cpu")
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float16 if half and tensor.ndim > 1 else torch.float32)
            if not bool(torch.isfinite(tensor).all()):
                raise ConfigurationError(f"{target}: tensor {name} is not finite as {tensor.dtype}")
        tensors[name] = tensor.contiguous()
    header = {
        "format": FORMAT,
        "architecture": architecture,
        "classes": list(CLASSES),
        "normalisation": NORMALISATION,
        "mean": [float(v) for v in mean],
        "std": [float(v) for v in std],
        "tensors_sha256": _tensors_digest(tensors),
        "card": dict(card),
    }
    # One metadata entry: safetensors writes several in no fixed order.
    content = save(tensors, metadata={METADATA_KEY: json.dumps(header, sort_keys=True)})
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(target)
    return hashlib.sha256(content).hexdigest()


def _empty_network(architecture: str, n_classes: int) -> nn.Module:
    """A network without values: drawing random ones, to be replaced, took longer than the file."""
    import torch

    from reprocess.detectors.networks import build_network

    with torch.device("meta"):
        return build_network(architecture, n_classes)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise ConfigurationError(
                f"weights {str(path)!r}: found {size} bytes, expected at most {FILE_BYTES_MAX}"
            )
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"weights {str(path)!r}: {error.strerror}") from error


def _header(content: bytes, name: str) -> dict[str, Any]:
    """The description inside a safetensors file, checked."""
    if content[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or content[:2] == b"PK":
        raise ConfigurationError(
            f"weights {name!r}: a pickle (torch.save) file, which can run code when loaded; "
            f"expected safetensors written by reprocess.detectors.weights.save_network"
        )
    size = int.from_bytes(content[:8], "little")
    not_safetensors = ConfigurationError(
        f"weights {name!r}: not a safetensors file (first bytes {content[:8]!r})"
    )
    if len(content) < 9 or size > min(HEADER_MAX_BYTES, len(content) - 8):
        raise not_safetensors
    try:
        document = json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError) as error:
        raise not_safetensors from error
    try:
        header = json.loads(document["__metadata__"][METADATA_KEY])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"weights {name!r}: safetensors without a reprocess description; expected one "
            f"written by reprocess.detectors.weights.save_network (it tells architecture and "
            f"normalisation)"
        ) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or HEADER_KEYS - set(header):
        found = header.get("format") if isinstance(header, dict) else type(header).__name__
        raise ConfigurationError(
            f"weights {name!r}: found format {found!r}, expected {FORMAT!r} "
            f"with {', '.join(sorted(HEADER_KEYS))}"
        )
    classes, card = header["classes"], header["card"]
    if (
        not isinstance(classes, list)
        or not 2 <= len(classes) <= CLASSES_MAX
        or not all(isinstance(name, str) for name in classes)
        or not isinstance(header["architecture"], str)
        or not isinstance(card, dict)
    ):
        raise ConfigurationError(
            f"weights {name!r}: found classes {str(classes)[:100]}, expected 2 to {CLASSES_MAX} "
            f"names, the name of an architecture and a card"
        )
    return header


def _check_meaning(header: Mapping[str, Any], name: str, architecture: str | None) -> None:
    """Refuse a network whose numbers mean something else than a detector takes them for.

    Files of before `normalisation` was written have the only one there ever was.
    """
    wanted = {"classes": list(CLASSES), "normalisation": NORMALISATION}
    if architecture is not None:
        wanted["architecture"] = architecture
    found = {"normalisation": NORMALISATION} | dict(header)
    for key, expected in wanted.items():
        if found[key] != expected:
            raise ConfigurationError(
                f"weights {name!r}: found {key} {str(found[key])[:100]}, expected {expected}"
            )


def _tensors_digest(tensors: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, in order of their names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _three(values: Sequence[float], what: str, path: str | Path) -> tuple[float, float, float]:
    numbers = isinstance(values, list | tuple) and all(
        isinstance(v, int | float) and math.isfinite(v) for v in values
    )
    if not numbers or len(values) != 3 or (what == "std" and min(values) <= 0):
        raise ConfigurationError(
            f"weights {str(path)!r}: {what} is {str(values)[:100]}, expected 3 numbers for R, G, B"
        )
    return (float(values[0]), float(values[1]), float(values[2]))


def _check_tensors(
    found: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    what: str,
    architecture: str,
) -> None:
    missing = sorted(set(wanted) - set(found))
    surplus = sorted(set(found) - set(wanted))
    shapes = sorted(k for k in set(found) & set(wanted) if found[k] != wanted[k])
    if not (missing or surplus or shapes):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} tensors of {architecture} are missing ({_few(missing)})")
    if surplus:
        parts.append(f"{len(surplus)} are not part of {architecture} ({_few(surplus)})")
    for name in shapes[:3]:
        parts.append(f"{name} is {found[name]}, expected {wanted[name]}")
    raise ConfigurationError(f"{what}: {'; '.join(parts)}")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
