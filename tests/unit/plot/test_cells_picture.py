from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from reprocess import cli
from reprocess.campaign import Campaign, campaign_from_mapping
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import Equidistant
from reprocess.plot.cells import draw_cells, draw_compass

VIEW = (-0.5, 199.5, -0.5, 199.5)


def campaign(**epoch: Any) -> Campaign:
    return campaign_from_mapping(
        {
            "name": "kho",
            "site": {"code": "KHO", "latitude_deg": 78.148, "longitude_deg": 16.043},
            "camera": [
                {
                    "valid_from": "2020-01-01T00:00:00Z",
                    "lens": {
                        "center_x_px": 100.0, "center_y_px": 100.0, "px_per_deg": 1.1,
                        "north_deg": 0.0, "east": "left",
                    },
                    "image_width_px": 200, "image_height_px": 200,
                    "crop": {"left_px": 0, "top_px": 0, "size_px": 200},
                }
                | epoch
            ],
            "archive": {"url": "archive", "pattern": "%Y%m%d_%H%M%S.png"},
            "store": "store",
            "cadence_s": 60,
            "detectors": {"difference": {"kind": "difference"}},
            "years": [2020],
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lens", "north", "where"),
    [
        (Equidistant(100, 100, 1.0, 0.0, "left"), 0.0, {"N": "up", "E": "left", "S": "down"}),
        (Equidistant(100, 100, 1.0, 0.0, "right"), 0.0, {"N": "up", "E": "right", "W": "left"}),
        (Equidistant(100, 100, 1.0, 90.0, "left"), 0.0, {"N": "right", "E": "up", "W": "down"}),
        (Equidistant(100, 100, 1.0, 0.0, "left"), 90.0, {"N": "left", "E": "down", "S": "right"}),
    ],
)
def test_letters_stand_where_the_directions_are(
    lens: Equidistant, north: float, where: dict[str, str]
) -> None:
    axes = Figure().subplots()
    draw_compass(axes, lens, VIEW, north)
    found = {text.get_text(): text.get_position() for text in axes.texts if text.get_text()}
    for letter, side in where.items():
        x, y = found[letter][0] - 100, found[letter][1] - 100
        seen = ("left" if x < 0 else "right") if abs(x) > abs(y) else "up" if y < 0 else "down"
        assert seen == side, letter


def reddish(path: Path) -> float:
    """Share of a picture that is tinted red, as what is not visible is."""
    blue, green, red = np.moveaxis(cv2.imread(str(path)).astype(int), -1, 0)
    assert min(red.shape) > 800
    return float(((red > 60) & (red > 1.5 * blue) & (red > 1.5 * green)).mean())


def test_picture_of_the_cells_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    rng = np.random.default_rng(0)
    cv2.imwrite(str(tmp_path / "a.png"), rng.integers(0, 60, (200, 200, 3), dtype=np.uint8))
    file = tmp_path / "campaign.yaml"
    settings = campaign(hide=[[[90, 0], [110, 60]]]).model_dump(mode="json", exclude_none=True)
    file.write_text(yaml.safe_dump(settings))
    out = tmp_path / "cells.png"
    assert cli.main(["plot", "cells", str(file), str(tmp_path / "a.png"), str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    hidden = reddish(out)
    draw_cells(campaign(), campaign().camera[0], cv2.imread(str(tmp_path / "a.png")), out)
    free = reddish(out)
    # The rectangle is 20 x 60 of the picture's about 200 x 200 pixels, half of it in the sky.
    assert 0.005 < hidden - free < 0.04
    late = ["plot", "cells", str(file), str(tmp_path / "a.png"), str(out), "--epoch", "2019-01-01"]
    assert cli.main(late) == 2
    assert "no camera epoch holds then" in capsys.readouterr().err


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    one = campaign()
    with pytest.raises(ConfigurationError, match="found 50 x 40 pixels, expected 200 x 200"):
        draw_cells(one, one.camera[0], np.zeros((40, 50, 3), np.uint8), tmp_path / "x.png")
