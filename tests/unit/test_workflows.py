"""The campaign files that the project ships."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from reprocess.campaign import load_campaign
from reprocess.detectors.difference import DifferenceDetector
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import epoch_geometry
from reprocess.geometry.lens import lens_from_settings

REPOSITORY = Path(__file__).resolve().parents[2]
KHO = REPOSITORY / "workflows" / "kho_2013.yaml"
JBS = REPOSITORY / "workflows" / "jbs_2018_2023.yaml"
FILLED_IN = {
    "camera.0.lens.center_x_px": "512",
    "camera.0.lens.center_y_px": "512",
    "camera.0.lens.px_per_deg": "5.5",
    "camera.0.lens.north_deg": "10",
    "camera.0.lens.east": "left",
    "camera.0.image_width_px": "1024",
    "camera.0.image_height_px": "1024",
    "camera.0.crop.left_px": "0",
    "camera.0.crop.top_px": "0",
    "camera.0.crop.size_px": "1024",
    "archive.url": "images",
    "archive.pattern": '"%Y%m%d_%H%M%S.jpg"',
    "store": "store",
}


def test_kho_sees_every_cell_and_has_a_usable_threshold() -> None:
    campaign = load_campaign(KHO)
    (epoch,) = campaign.camera
    geometry = epoch_geometry(campaign, epoch)
    assert geometry.cellmap.observed.all()
    # The whole upper hemisphere lies in the crop.
    assert geometry.skymap.solid_angle_sr.sum(dtype=float) == pytest.approx(2 * np.pi, rel=2e-3)
    settings = campaign.detectors["diff"]
    assert settings.kind == "difference"
    assert DifferenceDetector("diff", settings).detection_settings(epoch)["k_sigma"] == 5
    assert campaign.compared == ("diff", "fcn")


def test_kho_takes_its_archive_from_the_command_line() -> None:
    assert "NOT-SET" in load_campaign(KHO).archive.url
    assert load_campaign(KHO, ["archive.url=/images"]).archive.url == "/images"


@pytest.mark.data
def test_kho_lens_puts_the_stars_where_they_were_seen() -> None:
    folder = REPOSITORY.parent / "shared" / "data" / "kho_20131204"
    if not folder.is_dir():
        pytest.skip("the real KHO hour is absent: ../shared/data/kho_20131204 beside the checkout")
    lens = lens_from_settings(load_campaign(KHO).camera[0].lens)
    with (folder / "stars_matched.csv").open() as table:
        stars = list(csv.DictReader(table))
    seen = {key: np.array([float(star[key]) for star in stars]) for key in list(stars[0])[2:]}
    x, y = lens.pixel(seen["az_deg"], seen["alt_deg"])
    distance = np.hypot(x - seen["x_px"], y - seen["y_px"])
    assert np.median(distance) == pytest.approx(0.302, abs=0.002)


def test_jbs_is_refused_naming_every_key_that_is_left_to_fill_in() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_campaign(JBS)
    lines = str(refused.value).splitlines()
    named = {line.removeprefix(f"{JBS}: ").split(":")[0] for line in lines}
    assert named - {"camera"} == set(FILLED_IN)  # the list itself may be named beside its keys
    assert JBS.read_text(encoding="utf-8").count("# <<< FILL IN") == len(FILLED_IN)


@pytest.mark.parametrize("key", FILLED_IN)
def test_jbs_is_refused_for_each_single_key_left_out(key: str) -> None:
    overrides = [f"{k}={v}" for k, v in FILLED_IN.items() if k != key]
    with pytest.raises(ConfigurationError, match=rf"jbs_2018_2023.yaml: {key}: found null"):
        load_campaign(JBS, overrides)


def test_jbs_filled_in_is_a_campaign_of_six_years() -> None:
    campaign = load_campaign(JBS, [f"{key}={value}" for key, value in FILLED_IN.items()])
    assert campaign.years == (2018, 2019, 2020, 2021, 2022, 2023)
    cells = epoch_geometry(campaign, campaign.camera[0]).cells
    assert cells.north_azimuth_deg == pytest.approx(71.4, abs=0.1)
