"""Everything that a training needs to go on exactly where it stopped, in one file.

Network, optimiser, scaler, step and position, random numbers of every process, the best weights
so far and the evaluations. Written beside its target and renamed. Read as tensors and plain
values only, so that loading it cannot run code.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from reprocess.errors import ConfigurationError

FORMAT = "reprocess-training-1"


def save_state(path: Path, identity: Mapping[str, Any], live: Mapping[str, Any]) -> None:
    """Write the state.

    Parameters
    ----------
    identity : JSON-able; what a training must have in common with this one to go on from here
    live : tensors and plain values
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        torch.save({"format": FORMAT, "identity": dict(identity), "live": dict(live)}, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load_state(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Read the state of a training with this identity.

    Raises
    ------
    ConfigurationError
        If the file is not one, or is of another training: each difference with both sides.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"{path}: cannot be read as the state of a training: {first}; remove it to begin anew"
        ) from error
    kind = found.get("format") if isinstance(found, dict) else type(found).__name__
    if kind != FORMAT:
        raise ConfigurationError(f"{path}: found format {kind!r}, expected {FORMAT!r}")
    there, here = _flat(found["identity"]), _flat(dict(identity))
    differences = [
        f"{key} was {there.get(key)!r}, now {here.get(key)!r}"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    if differences:
        raise ConfigurationError(
            f"{path}: is of another training: {'; '.join(differences)}. Resume with the command "
            f"that began it, or remove the file to begin anew"
        )
    live: dict[str, Any] = found["live"]
    return live


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested mappings as one, sequences as tuples: what is compared and shown."""
    if isinstance(value, Mapping):
        found: dict[str, Any] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{name}.{key}" if name else str(key))
        return found
    return {name: tuple(value) if isinstance(value, list | tuple) else value}
