"""`cameras.json` of a labelled set: the camera epochs its images were taken with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprocess.campaign import CameraEpoch
from reprocess.errors import ConfigurationError
from reprocess.labels.labelled import CAMERAS_NAME

BYTES_MAX = 64 << 20
ALWAYS = "1970-01-01T00:00:00Z"


def read_cameras(directory: Path) -> dict[str, CameraEpoch]:
    """Read the cameras that a set describes; none if it has no `cameras.json`.

    Returns
    -------
    dict
        Camera's name → epoch. Keys are those of a campaign's `camera` entry; `valid_from` may
        be left out. Relative paths (mask, skymap) are relative to the set's folder.

    Raises
    ------
    ConfigurationError
        Naming the camera, the key, and what was expected.
    """
    path = directory / CAMERAS_NAME
    if not path.is_file():
        return {}
    if path.stat().st_size > BYTES_MAX:
        raise ConfigurationError(f"{path}: expected at most {BYTES_MAX >> 20} MiB")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{path}: found {type(document).__name__}, expected camera's name: its epoch"
        )
    return {name: _epoch(path, name, section) for name, section in document.items()}


def cameras_json(cameras: Mapping[str, CameraEpoch]) -> str:
    """The text of a `cameras.json`; equal cameras give equal text."""
    sections = {
        name: epoch.model_dump(mode="json", exclude_defaults=True)
        for name, epoch in cameras.items()
    }
    return json.dumps(sections, indent=1, sort_keys=True) + "\n"


def _epoch(path: Path, name: str, section: Any) -> CameraEpoch:
    if not isinstance(section, dict):
        raise ConfigurationError(f"{path}: {name}: expected the keys of a camera epoch")
    values = {"valid_from": ALWAYS, **section}
    if values.get("mask"):
        values["mask"] = str(path.parent / str(values["mask"]))
    lens = values.get("lens")
    if isinstance(lens, dict) and lens.get("model") == "skymap":
        values["lens"] = {
            key: str(path.parent / value) if key in ("azimuth", "elevation") and value else value
            for key, value in lens.items()
        }
    try:
        return CameraEpoch.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"{path}: {name}: {key}: {first['msg']}; expected a camera epoch as in a campaign "
            f"(docs/campaign.md)"
        ) from error
