"""A simulated sample as a labelled set: frames in sequence, so the difference has its pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reprocess.campaign import load_campaign
from reprocess.errors import ArchiveError
from reprocess.labels import AURORA, BACKGROUND, LabelWriter
from reprocess.simulate.truth import DayTruth, load_truth

FAMILY = "sample"
CONDITIONS = (
    "family", "session", "moon_elevation_deg", "moon_phase", "cloud_cover",
    "drift_deg_per_min", "change_per_min",
)  # fmt: skip


def label_sample(directory: Path, target: Path) -> int:
    """Write the whole frames of a sample, with their truth, as a labelled set.

    Parameters
    ----------
    directory : the folder given to `write_sample`
    target : new folder

    Returns
    -------
    int
        Images written. Damaged frames and those before the first camera epoch are left out.

    Raises
    ------
    ArchiveError
        If there is no truth, or a frame of it is not in the archive.

    Notes
    -----
    Each camera epoch is a camera of the set. `session` is the situation;
    drift and change are those of the form that covers most of the image, 0
    without one, the change as a magnitude. Nothing is unjudged: the truth of a
    simulation has no doubtful edge unless its family draws one.
    """
    campaign = load_campaign(directory / "sample.yaml")
    archive = Path(campaign.archive.url)
    with LabelWriter(target, CONDITIONS) as writer:
        for truth in load_truth(directory).values():
            epochs = campaign.epoch_index(truth.time)
            for row in np.flatnonzero(~truth.damaged & (epochs >= 0)):
                epoch = campaign.camera[int(epochs[row])]
                image = archive / str(truth.name[row])
                if not image.is_file():
                    raise ArchiveError(f"{image}: is not there, although the truth knows it")
                writer.add(
                    image,
                    np.where(truth.label[row] > 0, AURORA, BACKGROUND).astype(np.uint8),
                    time=truth.time[row],
                    station=campaign.site.code,
                    camera=f"{campaign.site.code}-{epoch.name}",
                    conditions=_conditions(truth, int(row)),
                    epoch=epoch,
                    name=image.stem,
                )
        return len(writer)


def _conditions(truth: DayTruth, row: int) -> dict[str, str | float]:
    area = truth.form_area[row]
    form = int(area.argmax())
    shown = float(area[form]) > 0
    return {
        "family": FAMILY,
        "session": str(truth.session[row]),
        "moon_elevation_deg": round(float(truth.moon_elevation_deg[row]), 2),
        "moon_phase": round(float(truth.moon_phase[row]), 3),
        "cloud_cover": round(float(truth.cloud_cover[row]), 3),
        "drift_deg_per_min": round(float(truth.form_drift_deg_per_min[row, form]), 3)
        if shown
        else 0.0,
        "change_per_min": round(abs(float(truth.form_change_per_min[row, form])), 4)
        if shown
        else 0.0,
    }
