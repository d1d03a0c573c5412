"""The model card of a weights file: what it is and what is known of it, as a page to read.

Everything but the digest stands in the file itself, so the page can always be made again. torch is
not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprocess.detectors.weights import NORMALISATION, read_card, resolve_weights, weights_digest

SECTIONS = {
    "data": "Data",
    "started_from": "Started from",
    "metrics": "Metrics",
    "recipe": "Recipe",
    "command": "Command",
    "intended_use": "Intended use",
    "licence": "Licence",
    "made_with": "Made with",
}
"""Keys of the card that come first, in this order; all others follow by name."""
SHOWN_MAX = 12
"""Longer lists are shown by their length: a split names every image."""


def card_text(path: str | Path) -> str:
    """The card of a weights file as Markdown.

    Parameters
    ----------
    path : a safetensors file of ours, or `package:NAME`

    Raises
    ------
    ConfigurationError
        If it is none.
    """
    header = read_card(path)
    card: dict[str, Any] = header["card"]
    rows = {
        "architecture": header["architecture"],
        "classes": ", ".join(header["classes"]),
        "normalisation": header.get("normalisation", NORMALISATION),
        "mean of R, G, B": _numbers(header["mean"]),
        "std of R, G, B": _numbers(header["std"]),
        "SHA-256 of the file": weights_digest(path),
        "SHA-256 of the tensors": header.get("tensors_sha256", "not in this file"),
    }
    lines = [f"# {resolve_weights(path).name}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    keys = [key for key in SECTIONS if key in card]
    keys += [key for key in sorted(card) if key not in SECTIONS]
    for key in keys:
        title = SECTIONS.get(key, key.replace("_", " ").capitalize())
        lines += ["", f"## {title}", "", *_body(key, card[key])]
    return "\n".join(lines) + "\n"


def _body(key: str, value: Any) -> list[str]:
    if key == "history" and isinstance(value, list) and value and isinstance(value[0], Mapping):
        # A header's keys come back in alphabetical order.
        names = sorted(value[0], key=lambda name: name != "step")
        return [
            f"| {' | '.join(names)} |",
            "|" + "---|" * len(names),
            *(f"| {' | '.join(_text(row.get(name)) for name in names)} |" for row in value),
        ]
    if key == "command":
        return [f"    {_text(value)}"]
    return _lines(value, 0) if isinstance(value, Mapping) else [_text(value)]


def _lines(value: Mapping[str, Any], depth: int) -> list[str]:
    found = []
    for key, inner in value.items():
        begins = f"{'  ' * depth}- {key}:"
        if isinstance(inner, Mapping):
            found += [begins, *_lines(inner, depth + 1)]
        else:
            found.append(f"{begins} {_text(inner)}")
    return found


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} of them" if len(value) > SHOWN_MAX else _numbers(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else str(value)


def _numbers(values: Any) -> str:
    return ", ".join(_text(value) for value in values)
