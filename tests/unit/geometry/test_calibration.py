from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from reprocess.campaign import Campaign
from reprocess.errors import ConfigurationError
from reprocess.geometry.calibration import (
    epoch_geometry,
    geometry_settings,
    magnetic_epoch,
    station_mlon_deg,
)

MakeCampaign = Callable[..., Campaign]
LENS = {
    "center_x_px": 159.5,
    "center_y_px": 119.5,
    "px_per_deg": 1.0,
    "north_deg": 0.0,
    "east": "left",
}


def test_cells_turn_with_magnetic_north(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign()
    geometry = epoch_geometry(campaign, campaign.camera[0])
    assert geometry.cells.azimuth_reference == "magnetic"
    assert geometry.cells.north_azimuth_deg == pytest.approx(70.0, abs=3.0)
    # Geographic azimuth 75, elevation about 89: a little east of AACGM north.
    assert geometry.cells.index(75.0, 89.0) == 0
    assert geometry.skymap.visible.shape == geometry.cellmap.cell.shape == (200, 200)


def test_geographic_cells_do_not(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign(cells={"azimuth": "geographic"})
    assert epoch_geometry(campaign, campaign.camera[0]).cells.north_azimuth_deg == 0.0


def test_geographic_cells_need_no_aacgm(make_campaign: MakeCampaign) -> None:
    site = {"code": "EQU", "latitude_deg": 10.0, "longitude_deg": 0.0}
    geographic = make_campaign(site=site, cells={"azimuth": "geographic"})
    assert epoch_geometry(geographic, geographic.camera[0]).cells.n_cells == 400
    magnetic = make_campaign(site=site)
    with pytest.raises(ConfigurationError, match="not defined"):
        epoch_geometry(magnetic, magnetic.camera[0])


def test_all_epochs_share_the_magnetic_date_of_the_first(make_campaign: MakeCampaign) -> None:
    first = make_campaign().camera[0].model_dump(mode="json")
    later = first | {"valid_from": "2023-01-01T00:00:00Z"}
    campaign = make_campaign(camera=[first, later])
    one, two = (epoch_geometry(campaign, epoch).cells for epoch in campaign.camera)
    assert magnetic_epoch(campaign) == datetime(2018, 1, 1, tzinfo=UTC)
    assert one.north_azimuth_deg == two.north_azimuth_deg
    assert station_mlon_deg(campaign) == pytest.approx(-53.8, abs=0.2)


def test_geometry_is_computed_once(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign()
    same = make_campaign(name="renamed", store="elsewhere")
    assert epoch_geometry(campaign, campaign.camera[0]) is epoch_geometry(same, same.camera[0])


def test_a_mask_drawn_again_is_read_again(make_campaign: MakeCampaign, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    campaign = make_campaign(epoch={"mask": str(mask)})
    seen, settings = [], []
    for columns in (320, 160):
        pixels = np.zeros((240, 320), np.uint8)
        pixels[:, :columns] = 255
        assert cv2.imwrite(str(mask), pixels)
        seen.append(int(epoch_geometry(campaign, campaign.camera[0]).skymap.visible.sum()))
        settings.append(geometry_settings(campaign, campaign.camera[0])["mask_sha256"])
    assert seen[1] == seen[0] / 2
    assert settings[0] != settings[1]


def test_settings_are_the_same_for_a_mask_copied_elsewhere(
    make_campaign: MakeCampaign, tmp_path: Path
) -> None:
    found = []
    for name in ("a.png", "b.png"):
        assert cv2.imwrite(str(tmp_path / name), np.full((240, 320), 255, np.uint8))
        campaign = make_campaign(epoch={"mask": str(tmp_path / name)})
        found.append(geometry_settings(campaign, campaign.camera[0]))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": {"lens": LENS | {"north_deg": 1.0}}},
        {"epoch": {"crop": {"left_px": 61, "top_px": 20, "size_px": 200}}},
        {"epoch": {"zenith_max_deg": 85.0}},
        {"epoch": {"image_width_px": 321}},
        {"epoch": {"valid_from": "2018-01-02T00:00:00Z"}},  # the magnetic date
        {"image": {"size_px": 208}},
        {"cells": {"layout": "rings-20"}},
        {"cells": {"area": "image"}},
        {"cells": {"emission_height_km": 120.0}},
        {"cells": {"visible_min": 0.4}},
        {"site": {"code": "JBS", "latitude_deg": -74.62, "longitude_deg": 164.23}},
    ],
)
def test_everything_that_moves_a_direction_is_in_the_settings(
    make_campaign: MakeCampaign, changes: dict[str, Any]
) -> None:
    before, after = make_campaign(), make_campaign(**changes)
    assert geometry_settings(before, before.camera[0]) != geometry_settings(after, after.camera[0])


def test_what_moves_none_is_not(make_campaign: MakeCampaign) -> None:
    before = make_campaign()
    after = make_campaign(
        epoch={"noise": {"red_dn": 1.0}},
        name="other",
        store="other",
        site={
            "code": "X",
            "name": "renamed",
            "latitude_deg": -74.62,
            "longitude_deg": 164.22,
        },
    )
    settings = geometry_settings(before, before.camera[0])
    assert settings == geometry_settings(after, after.camera[0])
    assert json.loads(json.dumps(settings)) == settings


def test_a_missing_mask_is_a_configuration_error(
    make_campaign: MakeCampaign, tmp_path: Path
) -> None:
    campaign = make_campaign(epoch={"mask": str(tmp_path / "absent.png")})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        geometry_settings(campaign, campaign.camera[0])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        epoch_geometry(campaign, campaign.camera[0])


@pytest.mark.data
def test_kho_mask_is_the_disk_of_98_px_and_hides_no_sky_above_the_horizon(
    make_campaign: MakeCampaign, kho_folder: Path
) -> None:
    fit = json.loads((kho_folder / "calib.json").read_text())
    campaign = make_campaign(
        epoch={
            "valid_from": "2013-12-04T00:00:00Z",
            "lens": {
                "center_x_px": fit["cx"],
                "center_y_px": fit["cy"],
                "px_per_deg": fit["k_px_per_deg"],
                "north_deg": np.degrees(fit["theta0_rad"]) + 90.0,
                "east": "left",
            },
            "crop": {"left_px": 67, "top_px": 28, "size_px": 200},
            "mask": str(kho_folder / "sky_mask_r98.png"),
        },
        site={"code": "KHO", "latitude_deg": 78.148, "longitude_deg": 16.043, "altitude_m": 520},
        years=[2013],
    )
    geometry = epoch_geometry(campaign, campaign.camera[0])
    above = np.isfinite(geometry.skymap.elevation_deg)
    assert np.array_equal(geometry.skymap.visible, above)
    assert geometry.cellmap.observed.all()
    # The burnt-in labels put N at the upper left and E at the lower left.
    azimuth = geometry.skymap.azimuth_deg
    assert abs((azimuth[20, 55] + 180) % 360 - 180) < 20
    assert azimuth[140, 20] == pytest.approx(90, abs=20)


def test_a_mask_that_cannot_be_read_is_named_with_its_epoch(make_campaign: MakeCampaign) -> None:
    campaign = make_campaign(epoch={"mask": "/no/such/mask.png"})
    with pytest.raises(ConfigurationError, match=r"0101T000000Z: mask: found /no/such"):
        epoch_geometry(campaign, campaign.camera[0])
