"""From a YAML file to a campaign, or to an error that names the key and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reprocess.campaign.archive import Archive, S3Access, StoreAccess
from reprocess.campaign.camera import CameraEpoch, Crop, Noise, Site
from reprocess.campaign.campaign import Campaign
from reprocess.campaign.cube import Cube
from reprocess.campaign.detectors import Difference, Fcn
from reprocess.campaign.lens import EqualAreaLens, EquidistantLens, PolynomialLens, SkymapLens
from reprocess.campaign.section import BETWEEN_KEYS, Settings
from reprocess.campaign.sky import Cells, Image, Process
from reprocess.credentials import WHERE_SECRETS_BELONG, is_secret_name, redacted
from reprocess.errors import ConfigurationError
from reprocess.strict_yaml import parse_yaml, read_yaml


def load_campaign(
    path: str | Path,
    overrides: list[str] | None = None,
    *,
    store: str | None = None,
    access: StoreAccess | None = None,
) -> Campaign:
    """Read and validate a campaign file.

    Parameters
    ----------
    path : YAML file; relative paths inside it are relative to its directory
    overrides : `key.sub=value` strings, values in YAML, applied before validation
    store : replaces the campaign's own store URL
    access : replaces the campaign's own `store_access`

    Raises
    ------
    ConfigurationError
        Naming the file, the key, what was found and what was expected.
    """
    path = Path(path)
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigurationError(
            f"{path}: expected a mapping with site, camera, archive …, "
            f"found {type(document).__name__}"
        )
    base = path.resolve().parent
    _absolute_paths(document, base)
    for override in overrides or []:
        _apply_override(document, override)
    if store is not None:
        document["store"] = store
    if access is not None:
        document["store_access"] = access.model_dump()
    return campaign_from_mapping(document, source=str(path))


def campaign_from_mapping(document: dict[str, Any], source: str = "campaign") -> Campaign:
    """Validate a campaign given as a mapping; `source` names it in errors."""
    try:
        return Campaign.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, source)) from error


def store_access(document: Mapping[str, Any], source: str = "access") -> StoreAccess:
    """How a store on S3 is reached, from keys as in a campaign's `store_access`."""
    try:
        return StoreAccess.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, source, StoreAccess)) from error


def parse_store_access(items: list[str], option: str) -> StoreAccess:
    """How a store on S3 is reached, from `key=value` strings of a command line's option."""
    document: dict[str, Any] = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator:
            raise ConfigurationError(f"{option} {item}: expected KEY=VALUE")
        document[key] = parse_yaml(text, f"{option} {key}")
    return store_access(document, option)


def _absolute_paths(document: dict[str, Any], base: Path) -> None:
    """Make the file's own relative paths absolute; URLs and package: names stay."""

    def absolute(value: Any) -> Any:
        if not isinstance(value, str) or "://" in value or value.startswith("package:"):
            return value
        return str(base / Path(value).expanduser())

    for section, key in [(document.get("archive"), "url"), (document, "store")]:
        if isinstance(section, dict) and key in section:
            section[key] = absolute(section[key])
    detectors = document.get("detectors")
    for detector in detectors.values() if isinstance(detectors, dict) else []:
        if isinstance(detector, dict) and "weights" in detector:
            detector["weights"] = absolute(detector["weights"])
    cube = document.get("cube")
    tables = cube.get("flags") if isinstance(cube, dict) else None
    for table in tables if isinstance(tables, list) else []:
        if isinstance(table, dict) and "table" in table:
            table["table"] = absolute(table["table"])
    camera = document.get("camera")
    for epoch in camera if isinstance(camera, list) else []:
        if isinstance(epoch, dict) and epoch.get("mask"):
            epoch["mask"] = absolute(epoch["mask"])
        lens = epoch.get("lens") if isinstance(epoch, dict) else None
        for key in ("azimuth", "elevation"):
            if isinstance(lens, dict) and lens.get("model") == "skymap" and lens.get(key):
                lens[key] = absolute(lens[key])


def _apply_override(document: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigurationError(f"--set {override}: expected key.sub=value")
    parts = key.split(".")
    shown = key if is_secret_name(key) else override
    node: Any = document
    for part in parts[:-1]:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise ConfigurationError(
                f"--set {shown}: {part!r} is not a section of the campaign; "
                f"expected key.sub=value with keys as in the campaign file"
            )
    if not isinstance(node, dict):
        raise ConfigurationError(f"--set {shown}: {'.'.join(parts[:-1])} is not a section")
    try:
        node[parts[-1]] = parse_yaml(text, f"--set {key}")
    except ConfigurationError:
        node[parts[-1]] = text  # such as %Y%m%d.jpg, which YAML wants quoted and a shell unquotes


def _explain(error: ValidationError, source: str, model: type[Settings] = Campaign) -> str:
    lines = []
    problems = error.errors()
    for problem in problems:
        inside = len(problem["loc"])
        if problem["type"] == "too_short" and any(
            other["loc"][:inside] == problem["loc"] and len(other["loc"]) > inside
            for other in problems
        ):
            continue  # a section that holds a wrong key is not short of sections
        location = [str(part) for part in problem["loc"]]
        if location[:1] == ["detectors"] and len(location) > 2:
            del location[2]  # pydantic names the kind that it took the detector for
        if location[:1] == ["camera"] and location[2:3] == ["lens"] and len(location) > 4:
            del location[3]  # and the model that it took the lens for
        found = problem["input"]
        expected = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if problem["type"] == BETWEEN_KEYS:
            location.append(problem["ctx"]["key"])
            found, expected = problem["ctx"]["found"], problem["ctx"]["expected"]
        key = ".".join(location) or "campaign"
        if problem["type"] == "extra_forbidden" and is_secret_name(location[-1]):
            lines.append(f"{source}: {key}: no secret belongs here; {WHERE_SECRETS_BELONG}")
        elif problem["type"] == "extra_forbidden":
            known = _known_keys(problem["loc"][:-1], model)
            close = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else ""
            expected = f"one of {', '.join(known)}" if known else "no such key"
            lines.append(f"{source}: {key}: unknown key; expected {expected}{hint}")
        elif problem["type"] == "missing":
            lines.append(f"{source}: {key}: missing; expected a value (docs/campaign.md lists it)")
        else:
            lines.append(f"{source}: {key}: found {_shown(found, problem)}, expected {expected}")
    return "\n".join(lines)


def _shown(found: Any, problem: Mapping[str, Any]) -> str:
    if found is None:
        return "null"
    if problem["type"] == BETWEEN_KEYS:
        return str(found)
    if isinstance(found, str):
        return repr(redacted(found))
    return type(found).__name__ if found and isinstance(found, dict | list) else repr(found)


def _known_keys(location: tuple[int | str, ...], model: Any) -> list[str]:
    sections: dict[str, Any] = {
        "site": Site, "camera": CameraEpoch, "lens": EquidistantLens, "crop": Crop,
        "equidistant": EquidistantLens, "polynomial": PolynomialLens,
        "equal-area": EqualAreaLens, "skymap": SkymapLens,
        "noise": Noise, "archive": Archive, "access": S3Access, "store_access": StoreAccess,
        "image": Image, "process": Process,
        "cells": Cells, "difference": Difference, "fcn": Fcn, "cube": Cube,
    }  # fmt: skip
    for part in location:
        model = sections.get(str(part), model)
    return list(model.model_fields)
