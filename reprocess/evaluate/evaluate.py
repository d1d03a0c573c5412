"""Run a network over labelled images and put the numbers together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reprocess.campaign import CameraEpoch, Campaign, Difference
from reprocess.cube.count import fraction_min
from reprocess.detectors.difference import flag_cells
from reprocess.detectors.runtimes import available_cores, open_runtime
from reprocess.detectors.weights import read_card, weights_digest
from reprocess.errors import ConfigurationError
from reprocess.evaluate.measure import Measured, colour_pixels, measure
from reprocess.evaluate.results import Tables
from reprocess.evaluate.sky import Views
from reprocess.evaluate.tables import CampaignRule, make_tables
from reprocess.labels import LabelIndex, LabelledSet, read_index, read_labels, set_digest
from reprocess.labels.splits import Split, read_split, split_from_document
from reprocess.scoring.levels import best_thresholds

SIZE_PX = 256
LAG_S = 120.0
FAMILY = "family"
"""Condition that only simulated images have: the family of scenes they are drawn from."""
FLATTERS = (
    "Simulated: a network that was trained on the same simulator's images is flattered by its "
    "score on them; it says how well the network knows the simulator, not the sky."
)
RESEEN = (
    "{n} of these images trained the network or chose its checkpoint: the numbers say how well it "
    "remembers, not how well it sees."
)
ASSUMED = (
    "Nothing is known of the camera {names}: the sky is taken to fill the largest square of the "
    "image, as an equidistant fisheye, so elevations and cells are rough."
)
FEW_DAYS = (
    "{days} UTC days: intervals are drawn over days, and from fewer than ten they are too narrow."
)


@dataclass(frozen=True)
class Choice:
    """What is evaluated, and by which rules.

    Attributes
    ----------
    weights : safetensors file or `package:NAME`
    data : folder of a labelled set
    split : file that `reprocess labels split` wrote; None: the one in the network's card if it
        is of this set, else all images
    part : of the split
    campaign : whose cells, cell rule and difference detectors are used, and whose camera epochs
        for cameras that the set does not describe
    size_px : side of the processed images; default the campaign's, or 256
    lag_s : of the difference method; default that of the campaign's first, or 120 s
    lag_tolerance_s, sky_shift_max_dn : of the difference method
    """

    weights: str
    data: Path
    split: Path | None = None
    part: str = "test"
    campaign: Campaign | None = None
    size_px: int | None = None
    lag_s: float | None = None
    lag_tolerance_s: float = 15.0
    sky_shift_max_dn: float = 20.0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found, with what its pictures are drawn from.

    Attributes
    ----------
    facts : what was evaluated on what, JSON-able
    cautions : sentences to stand beside every number
    tables : the numbers
    labels : the images evaluated
    measured : what was measured on them
    """

    facts: dict[str, Any]
    cautions: tuple[str, ...]
    tables: Tables
    labels: LabelledSet
    measured: Measured

    @property
    def simulated(self) -> bool:
        return bool(self.facts["data"]["simulated"])


def evaluate(choice: Choice, progress: Callable[[int, int], None] | None = None) -> Evaluation:
    """Evaluate a network on a labelled set, beside the colour rule and the difference method.

    Parameters
    ----------
    progress : called with images done and images in all

    Raises
    ------
    ConfigurationError
        If weights, set, split and campaign do not fit each other; each error names both sides.

    Notes
    -----
    Deterministic within one compute profile, as the detector is.
    """
    card = read_card(choice.weights)
    digest = weights_digest(choice.weights)
    campaign = choice.campaign
    index = read_index(choice.data)
    split, rows = _chosen(choice, card, index)
    size_px = choice.size_px or (SIZE_PX if campaign is None else campaign.image.size_px)
    cameras = {} if campaign is None else _campaign_cameras(campaign, index[rows])
    labels = read_labels(choice.data, size_px, rows=rows, cameras={**cameras, **index.cameras})
    if split is not None and split.labels != labels.digest:
        raise ConfigurationError(
            f"the split is of a labelled set of digest {split.labels}, {choice.data} has "
            f"{labels.digest}; split it again, or evaluate the set that was split"
        )
    lag_s = choice.lag_s if choice.lag_s is not None else _campaign_lag(campaign)
    cell_share = 0.5 if campaign is None else campaign.cube.cell_fraction_min
    limit = fraction_min(cell_share)
    views = Views(labels.cameras, size_px, campaign)
    runtime = open_runtime("torch", choice.weights, digest, size_px)
    measured = measure(
        labels,
        lambda images: runtime.logits(images, available_cores()),
        views,
        limit,
        lag_s=lag_s,
        lag_tolerance_s=choice.lag_tolerance_s,
        sky_shift_max_dn=choice.sky_shift_max_dn,
        progress=(lambda _: None) if progress is None else lambda n: progress(n, len(labels)),
    )
    rule = best_thresholds(measured.colours)
    counts, doubt = colour_pixels(labels, measured.bands, rule)
    rules = [] if campaign is None else _campaign_rules(lag_s, campaign, labels, measured)
    tables = make_tables(measured, labels.index, views.cells, limit, (rule, counts, doubt), rules)
    facts = {
        "weights": {
            "file": Path(choice.weights).name,
            "sha256": digest,
            "architecture": card["architecture"],
            "trained_on": card["card"].get("data"),
            "command": card["card"].get("command"),
        },
        "data": _data_facts(choice, labels, split, card),
        "settings": {
            "size_px": size_px,
            "cells": views.settings.model_dump(mode="json"),
            "campaign": None if campaign is None else campaign.name,
            "cell_share_min": cell_share,
            "threshold": 0.5,
            "lag_s": lag_s,
            "lag_tolerance_s": choice.lag_tolerance_s,
            "sky_shift_max_dn": choice.sky_shift_max_dn,
        },
    }
    return Evaluation(facts, tuple(_cautions(facts)), tables, labels, measured)


def _chosen(
    choice: Choice, card: dict[str, Any], index: LabelIndex
) -> tuple[Split | None, NDArray[np.int64]]:
    """The split that holds, and the rows of its part; all rows without one."""
    split = read_split(choice.split) if choice.split is not None else None
    if split is None:
        own = _card_split(card)
        if own is not None and own.labels == set_digest(choice.data):
            split = own
    rows = np.arange(len(index)) if split is None else split.rows(index, choice.part)
    if not len(rows):
        what = "the set" if split is None else f"part {choice.part}"
        raise ConfigurationError(f"{choice.data}: {what} holds no image, expected some to evaluate")
    return split, rows


def _card_split(card: dict[str, Any]) -> Split | None:
    """The split of a labelled set that a network's card holds, if it was trained on one."""
    said = card["card"].get("split")
    document = said.get("labelled") if isinstance(said, dict) else None
    return None if document is None else split_from_document(document, "the network's card")


def _campaign_cameras(campaign: Campaign, index: LabelIndex) -> dict[str, CameraEpoch]:
    """The campaign's epochs for cameras that the set does not describe, by their images' times."""
    found = {}
    for camera in np.unique(index.camera).tolist():
        if camera in index.cameras:
            continue
        epochs = np.unique(campaign.epoch_index(index.time[index.camera == camera]))
        if len(epochs) != 1 or epochs[0] < 0:
            raise ConfigurationError(
                f"camera {camera}: its images are of {len(epochs)} camera epochs of the campaign, "
                f"expected one; give each epoch's images a camera of their own (`reprocess labels "
                f"import --campaign` does)"
            )
        found[camera] = campaign.camera[int(epochs[0])]
    return found


def _campaign_lag(campaign: Campaign | None) -> float:
    """The lag of the campaign's first difference detector, seconds."""
    for settings in () if campaign is None else campaign.detectors.values():
        if isinstance(settings, Difference):
            return settings.lag_s
    return LAG_S


def _campaign_rules(
    lag_s: float, campaign: Campaign, labels: LabelledSet, measured: Measured
) -> list[CampaignRule]:
    """What the campaign's own difference detectors flag; those of another lag are left out."""
    rules = []
    for label, settings in campaign.detectors.items():
        if not isinstance(settings, Difference) or settings.lag_s != lag_s:
            continue
        flags = np.zeros(measured.share.shape, np.bool_)
        for camera, epoch in labels.cameras.items():
            rows = labels.camera == camera
            limits = _limits(settings, epoch, measured.share.shape[1])
            if limits is None:
                break
            flags[rows] = flag_cells(
                measured.delta[rows], limits, settings.statistic, settings.combine
            )
        else:
            rules.append(CampaignRule(label, flags))
    return rules


def _limits(settings: Difference, epoch: CameraEpoch, n_cells: int) -> NDArray[np.float64] | None:
    """(channel, cell) thresholds, counts; None where they need a noise that nobody measured."""
    if settings.threshold_dn is not None:
        return np.full((2, n_cells), settings.threshold_dn)
    if epoch.noise is None or settings.k_sigma is None:
        return None
    noise = (epoch.noise.red_dn, epoch.noise.green_dn)
    return settings.k_sigma * np.stack([np.broadcast_to(n, n_cells) for n in noise])


def _data_facts(
    choice: Choice, labels: LabelledSet, split: Split | None, card: dict[str, Any]
) -> dict[str, Any]:
    days = np.unique(labels.time.astype("datetime64[D]"))
    family = labels.conditions.get(FAMILY)
    simulated = int((family != "").sum()) if family is not None and family.dtype.kind == "U" else 0
    own = _card_split(card)
    seen: set[str] = set()
    if own is not None and own.labels == labels.digest:
        seen = {*own.parts.get("training", ()), *own.parts.get("validation", ())}
    return {
        "folder": choice.data.resolve().name,
        "sha256": labels.digest,
        "images": len(labels),
        "days": len(days),
        "from": f"{days[0]}",
        "to": f"{days[-1]}",
        "stations": np.unique(labels.station).tolist(),
        "cameras": len(labels.cameras),
        "cameras_assumed": sorted(labels.assumed),
        "simulated": simulated,
        "families": [] if not simulated or family is None else np.unique(family).tolist(),
        "split": None
        if split is None
        else {"by": split.by, "seed": split.seed, "sha256": split.digest, "part": choice.part,
              "test_where": split.document()["test_where"]},
        "trained_on_these": len(seen & set(labels.name.tolist())),
    }  # fmt: skip


def _cautions(facts: dict[str, Any]) -> list[str]:
    data, found = facts["data"], []
    if data["simulated"]:
        found.append(FLATTERS)
    if data["trained_on_these"]:
        found.append(RESEEN.format(n=data["trained_on_these"]))
    if data["cameras_assumed"]:
        names = data["cameras_assumed"]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        found.append(ASSUMED.format(names=shown))
    if data["split"] is not None and data["split"]["by"] == "count":
        found.append(
            "Split by count: neighbouring minutes of test images were trained on, so the scores "
            "are upper bounds."
        )
    if data["days"] < 10:
        found.append(FEW_DAYS.format(days=data["days"]))
    return found
