"""The three files of an evaluation: numbers, tables, and a page with pictures."""

from __future__ import annotations

import base64
import functools
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2

from reprocess.evaluate.evaluate import Evaluation
from reprocess.evaluate.pictures import (
    draw_images,
    draw_key,
    draw_reliability,
    draw_thresholds,
    worst_images,
)
from reprocess.evaluate.results import score_document
from reprocess.evaluate.text import markdown, tables_of

FORMAT = "reprocess-evaluation-1"
NAMES = ("evaluation.json", "evaluation.md", "evaluation.html")


def write_evaluation(found: Evaluation, directory: Path, worst: int = 4) -> list[Path]:
    """Write JSON, Markdown and the page into a folder, and return where they are.

    Parameters
    ----------
    directory : made if need be; files of the same names are replaced
    worst : images drawn of each kind of failure

    Notes
    -----
    The page refers to nothing outside itself. Equal evaluations give equal files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    contents = (
        json.dumps(document(found), indent=1, sort_keys=True, allow_nan=False) + "\n",
        markdown(found),
        page(found, worst),
    )
    paths = [directory / name for name in NAMES]
    for path, text in zip(paths, contents, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def document(found: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON has it; null where there is no number."""
    t = found.tables
    whole = {
        "format": FORMAT,
        **found.facts,
        "cautions": list(found.cautions),
        "colour_rule": {"pixels": t.colour_pixels, "cells": t.colour_cells},
        "difference_rule": t.difference_rule,
        "images_with_a_pair": t.n_pairs,
        "scores": [score_document(score) for score in t.scores],
        "occurrence": [asdict(rate) for rate in t.occurrence],
        "reliability": [asdict(row) for row in t.reliability],
        "calibration_error": t.calibration_error,
        "brier": t.brier,
        "thresholds": asdict(t.curve),
        "faint_edge": [asdict(d) for d in t.doubt],
        "images": [asdict(w) for w in sorted(t.wrong, key=lambda w: w.image)],
    }
    if found.simulated:
        whole["scores"] = [{**score, "simulated": True} for score in whole["scores"]]
        whole["occurrence"] = [{**rate, "simulated": True} for rate in whole["occurrence"]]
    return dict(_plain(whole))


def page(found: Evaluation, worst: int) -> str:
    """Render the page as one HTML document without any outside reference."""
    groups = [
        (title, [(w.image, draw_images(found, [w])) for w in listed])
        for title, listed in worst_images(found, worst)
    ]
    return _template().render(
        facts=found.facts,
        cautions=found.cautions,
        simulated=found.simulated,
        tables=tables_of(found),
        reliability=draw_reliability(found),
        thresholds=draw_thresholds(found),
        key=draw_key(),
        groups=groups,
    )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PackageLoader("reprocess", "evaluate"),
                jinja2.PackageLoader("reprocess", "page"),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = _picture
    return environment.get_template("evaluation.html.j2")


def _picture(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _plain(value: Any) -> Any:
    """JSON-able: tuples as lists, NaN as null."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
