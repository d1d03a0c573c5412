"""A sample as a labelled set: the frames' own bytes, the truth as masks, the epochs as cameras."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from reprocess.campaign import load_campaign
from reprocess.errors import ArchiveError, ConfigurationError
from reprocess.labels import AURORA, read_index
from reprocess.simulate.archive import write_sample
from reprocess.simulate.sample_labels import label_sample
from reprocess.simulate.truth import load_truth


def test_frames_masks_cameras_and_conditions_are_the_samples(tmp_path: Path) -> None:
    campaign = load_campaign(write_sample(tmp_path / "sample", tiny=True, processes=1))
    n = label_sample(tmp_path / "sample", tmp_path / "labels")
    index = read_index(tmp_path / "labels")
    truth = load_truth(tmp_path / "sample")
    assert len(index) == n == sum(int((~day.damaged).sum()) for day in truth.values())
    row = 0
    archive = Path(campaign.archive.url)
    for day in truth.values():
        for i in np.flatnonzero(~day.damaged):
            image = tmp_path / "labels" / str(index.image[row])
            assert image.read_bytes() == (archive / str(day.name[i])).read_bytes()
            mask = cv2.imread(str(tmp_path / "labels" / str(index.mask[row])), 0)
            np.testing.assert_array_equal(mask == AURORA, day.label[i] > 0)
            assert index.time[row] == day.time[i]
            assert index.conditions["session"][row] == day.session[i]
            drift = index.conditions["drift_deg_per_min"][row]
            told = day.form_drift_deg_per_min[i] if day.form_area[i].any() else np.zeros(1)
            assert np.abs(told - drift).min() <= 0.0005
            row += 1
    for camera, epoch in index.cameras.items():
        assert epoch in campaign.camera
        assert camera.endswith(epoch.name)
    with pytest.raises(ConfigurationError, match="new or empty folder"):
        label_sample(tmp_path / "sample", tmp_path / "labels")
    last = list(truth.values())[-1]
    (archive / str(last.name[~last.damaged][-1])).unlink()
    with pytest.raises(ArchiveError, match="is not there, although the truth knows it"):
        label_sample(tmp_path / "sample", tmp_path / "again")
