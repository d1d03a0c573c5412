"""Campaigns for the archive's tests."""

import pytest

from reprocess.campaign import campaign_from_mapping


@pytest.fixture
def make_campaign():
    """Build a valid campaign; keywords replace or extend its top-level keys."""

    def make(url="archive", pattern="%Y%m%d_%H%M%S*.png", **changes):
        document = {
            "name": "test",
            "site": {"code": "TST", "latitude_deg": -74.62, "longitude_deg": 164.22},
            "camera": [
                {
                    "valid_from": "2018-01-01T00:00:00Z",
                    "lens": {
                        "center_x_px": 31.5, "center_y_px": 23.5, "px_per_deg": 0.25,
                        "north_deg": 0.0, "east": "left",
                    },
                    "image_width_px": 64,
                    "image_height_px": 48,
                    "crop": {"left_px": 8, "top_px": 0, "size_px": 48},
                }
            ],
            "archive": {"url": str(url), "pattern": pattern},
            "store": "store",
            "cadence_s": 60,
            "process": {"sun_elevation_max_deg": None},
            "detectors": {"difference": {"kind": "difference"}},
            "years": [2018, 2019],
        }  # fmt: skip
        document.update(changes)
        return campaign_from_mapping(document)

    return make
