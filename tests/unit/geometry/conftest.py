"""Campaigns for the geometry tests, and the real KHO hour where it is present."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprocess.campaign import CameraEpoch, Campaign, Site, campaign_from_mapping

EPOCH: dict[str, Any] = {
    "valid_from": "2018-01-01T00:00:00Z",
    "lens": {
        "model": "equidistant",
        "center_x_px": 159.5,
        "center_y_px": 119.5,
        "px_per_deg": 1.0,
        "north_deg": 0.0,
        "east": "left",
    },
    "image_width_px": 320,
    "image_height_px": 240,
    "crop": {"left_px": 60, "top_px": 20, "size_px": 200},
}


@pytest.fixture
def jbs() -> Site:
    return Site(code="JBS", latitude_deg=-74.62, longitude_deg=164.22)


@pytest.fixture
def make_epoch() -> Callable[..., CameraEpoch]:
    """Build the synthetic epoch: zenith in the middle of the image, 1 px a degree."""

    def build(**changes: Any) -> CameraEpoch:
        return CameraEpoch.model_validate(EPOCH | changes)

    return build


@pytest.fixture
def make_campaign() -> Callable[..., Campaign]:
    """Build a JBS campaign of that epoch; `epoch=` changes the epoch, others the campaign."""

    def build(epoch: dict[str, Any] | None = None, **changes: Any) -> Campaign:
        document: dict[str, Any] = {
            "name": "jbs",
            "site": {"code": "JBS", "latitude_deg": -74.62, "longitude_deg": 164.22},
            "camera": [EPOCH | (epoch or {})],
            "archive": {"url": "archive", "pattern": "%Y%m%d_%H%M%S.jpg"},
            "store": "store",
            "cadence_s": 60,
            "image": {"size_px": 200},
            "detectors": {"difference": {"kind": "difference"}},
            "years": [2018],
        }
        return campaign_from_mapping(document | changes)

    return build


@pytest.fixture
def kho_folder() -> Path:
    """Where the real KHO hour lies, beside the checkout; skips where it does not."""
    repository = Path(__file__).resolve().parents[3]
    folder = repository.parent / "shared" / "data" / "kho_20131204"
    if not folder.is_dir():
        pytest.skip("the real KHO hour is absent: ../shared/data/kho_20131204 beside the checkout")
    return folder


@pytest.fixture
def shared_data() -> Path:
    """Where the real images lie, beside the checkout; skips where they do not."""
    folder = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real images are absent: ../shared/data beside the checkout")
    return folder
