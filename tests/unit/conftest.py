"""A small valid campaign for the tests of what is decided without an image; workflows to test."""

import copy
import importlib.util
import sys
from pathlib import Path

import pytest

from reprocess.campaign import campaign_from_mapping

WORKFLOWS = Path(__file__).resolve().parents[2] / "workflows"
DOCUMENT = {
    "name": "small",
    "site": {"code": "TST", "latitude_deg": -74.62, "longitude_deg": 164.22},
    "camera": [
        {
            "valid_from": "2018-03-01T00:00:00Z",
            "lens": {
                "center_x_px": 60, "center_y_px": 50, "px_per_deg": 0.6,
                "north_deg": 20, "east": "left",
            },
            "image_width_px": 130,
            "image_height_px": 110,
            "crop": {"left_px": 5, "top_px": 0, "size_px": 110},
        }
    ],
    "archive": {"url": "archive", "pattern": "%Y%m%d_%H%M%S.jpg"},
    "store": "store",
    "cadence_s": 3600,
    "image": {"size_px": 64},
    "process": {"sun_elevation_max_deg": None},
    "detectors": {
        "diff": {"kind": "difference", "threshold_dn": 5.0},
        "fast": {"kind": "difference", "threshold_dn": 5.0, "lag_s": 60.0},
    },
    "years": [2020, 2021],
}  # fmt: skip


def _set(document, path, value):
    *sections, last = path.split("__")
    node = document
    for section in sections:
        node = node[int(section) if isinstance(node, list) else section]
    node[int(last) if isinstance(node, list) else last] = value


@pytest.fixture
def campaign_document():
    """The campaign as a mapping of its own; keywords set values, `site__code` within a section."""

    def make(**changes):
        document = copy.deepcopy(DOCUMENT)
        for path, value in changes.items():
            _set(document, path, value)
        return document

    return make


@pytest.fixture
def small_campaign(campaign_document):
    """The campaign itself, changed in the same way."""
    return lambda **changes: campaign_from_mapping(campaign_document(**changes))


@pytest.fixture(scope="module")
def load_workflow():
    """A script of `workflows/` as a module, by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(WORKFLOWS)

        def load(name):
            spec = importlib.util.spec_from_file_location(name, WORKFLOWS / f"{name}.py")
            module = importlib.util.module_from_spec(spec)
            patch.setitem(sys.modules, name, module)  # its dataclasses look for their module
            spec.loader.exec_module(module)
            return module

        yield load
