"""Noise constants of a campaign's difference detector, from evidence that is committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import yaml
from numpy.typing import NDArray

from reprocess import stages
from reprocess.campaign import CameraEpoch, Campaign, Difference
from reprocess.detectors.detector import EvidenceStatus
from reprocess.detectors.noise import estimate_noise, sweep_thresholds
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.stores.days import DayReader
from reprocess.stores.objects import open_objects
from reprocess.stores.records import Records, day_block, only_fingerprint

SWEEP_SIGMA = (2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0)
SWEEP_DN = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0)


def measure_noise(
    campaign: Campaign, label: str, spans: Sequence[tuple[str, str]], *, per_cell: bool
) -> str:
    """Estimate the noise of each camera epoch, as YAML for the campaign file.

    Parameters
    ----------
    label : a detector of kind `difference` whose evidence is committed
    spans : (start, end) times, UTC, without aurora
    per_cell : one number for each cell instead of the sky's median

    Returns
    -------
    str
        For each epoch its `noise:` section, and as comments the share of cells that
        thresholds would flag on these very frames: the false-cell rate to expect.

    Raises
    ------
    ConfigurationError
        If the label is no difference detector, a time is none, or too few frames are committed.
    """
    settings = _difference(campaign, label)
    delta, status, acquired = _evidence(campaign, label, _parse(spans))
    lines = []
    for epoch, mine in _by_epoch(campaign, acquired):
        found = estimate_noise(delta[mine], status[mine])
        observed = epoch_geometry(campaign, epoch).cellmap.observed
        section = {"noise": found.settings(settings.statistic, per_cell)}
        text = yaml.safe_dump(section, default_flow_style=None, width=100, sort_keys=False)
        lines += [f"{_heading(epoch, status[mine])}, {settings.statistic}"]
        lines += text.splitlines()
        shares = sweep_thresholds(delta[mine], status[mine], observed, SWEEP_SIGMA, found)
        for (statistic, combine), values in shares.items():
            row = "  ".join(
                f"{k:g}: {100 * share:.2f} %" for k, share in zip(SWEEP_SIGMA, values, strict=True)
            )
            lines.append(f"# flagged at k_sigma, {statistic}, {combine}:  {row}")
    return "\n".join(lines)


def sweep(campaign: Campaign, label: str, spans: Sequence[tuple[str, str]]) -> str:
    """Tabulate, by camera epoch, the share of observed cells that each rule and threshold flags.

    The flagged share depends on statistic, threshold and AND/OR so strongly that one
    number says little about the sky; the campaign's own rule is one column of one row.

    Parameters
    ----------
    spans : (start, end) times, UTC

    Raises
    ------
    ConfigurationError
        If the label is no difference detector or no evidence is committed for the times.
    """
    _difference(campaign, label)
    delta, status, acquired = _evidence(campaign, label, _parse(spans))
    rows = []
    for epoch, mine in _by_epoch(campaign, acquired):
        observed = epoch_geometry(campaign, epoch).cellmap.observed
        shares = sweep_thresholds(delta[mine], status[mine], observed, SWEEP_DN)
        rows += [_heading(epoch, status[mine])]
        rows += ["threshold, DN    " + "".join(f"{dn:>8g}" for dn in SWEEP_DN)]
        for (statistic, combine), found in shares.items():
            values = "".join(f"{100 * share:7.1f}%" for share in found)
            rows.append(f"{statistic + ', ' + combine:<17}{values}")
    return "\n".join(rows)


def _heading(epoch: CameraEpoch, status: NDArray[np.uint8]) -> str:
    observed = int((status == EvidenceStatus.OBSERVED).sum())
    return f"# camera epoch {epoch.name}: {observed} frames observed of {len(status)}"


def _by_epoch(
    campaign: Campaign, acquired: NDArray[np.datetime64]
) -> Iterator[tuple[CameraEpoch, NDArray[np.bool_]]]:
    """The camera epochs of frames, and which frames are of each: cells are seen by epoch."""
    epochs = campaign.epoch_index(acquired)
    for index in np.unique(epochs[epochs >= 0]):
        yield campaign.camera[index], epochs == index


def _difference(campaign: Campaign, label: str) -> Difference:
    settings = campaign.detectors.get(label)
    if not isinstance(settings, Difference):
        known = [k for k, v in campaign.detectors.items() if isinstance(v, Difference)]
        raise ConfigurationError(
            f"{label}: expected a detector of kind difference, such as {', '.join(known) or 'none'}"
        )
    return settings


def _parse(spans: Sequence[tuple[str, str]]) -> list[tuple[np.datetime64, np.datetime64]]:
    try:
        return [(np.datetime64(a, "us"), np.datetime64(b, "us")) for a, b in spans]
    except ValueError as error:
        raise ConfigurationError(
            f"--between: {error}; expected ISO 8601 times such as 2021-06-01T10:00"
        ) from error


def _evidence(
    campaign: Campaign, label: str, spans: list[tuple[np.datetime64, np.datetime64]]
) -> tuple[NDArray[np.float16], NDArray[np.uint8], NDArray[np.datetime64]]:
    objects = open_objects(campaign.store, campaign.store_access)
    records = Records(objects)
    listing = records.list()
    deltas, states, times = [], [], []
    for start, end in spans:
        for day in np.arange(start.astype("datetime64[D]"), end.astype("datetime64[D]") + 1):
            when: date = day.astype(object)
            block = day_block("evidence", label, when)
            fingerprint = only_fingerprint(listing.get(block, ()))
            if fingerprint is None:  # not committed, or marked to be made again
                continue
            path = stages.evidence_path(label, when.year)
            reader = DayReader(
                objects,
                path,
                when,
                campaign.slots_per_day,
                records.read(block, fingerprint).objects,
            )
            acquired = reader.read("acquired").astype("datetime64[us]")
            chosen = (acquired >= start) & (acquired < end)
            deltas.append(reader.read("delta")[chosen])
            states.append(reader.read("status")[chosen])
            times.append(acquired[chosen])
    if not any(map(len, times)):
        raise ConfigurationError(
            f"evidence of {label}: none is committed in {campaign.store} for these times; run "
            f"the campaign with --detectors {label} first (threshold_dn lets it run without noise)"
        )
    return np.concatenate(deltas), np.concatenate(states), np.concatenate(times)
