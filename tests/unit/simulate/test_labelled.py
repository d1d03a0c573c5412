"""Simulated scenes as a labelled set: read back as they were drawn, whatever drew them."""

import hashlib

import numpy as np
import pytest

from reprocess.cli import main
from reprocess.errors import ConfigurationError
from reprocess.geometry.lens import lens_from_settings
from reprocess.labels import AURORA, UNJUDGED, read_labels
from reprocess.simulate.grid import pixel_of
from reprocess.simulate.labelled import (
    CONDITIONS,
    camera_epoch,
    mask_of,
    time_of,
    write_scenes,
)
from reprocess.simulate.render import render
from reprocess.simulate.wide import WIDE_FAMILIES, sample_wide_scene, scene_of

N = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("set") / "wide"
    options = ["--frames", str(N), "--size", "64", "--processes", "1"]
    assert main(["simulate", str(target), *options]) == 0
    return target


def _digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_the_set_is_read_as_it_was_drawn(folder):
    found = read_labels(folder, 64)
    assert len(found) == N
    assert not found.assumed
    for number in (0, 7, 15):
        rendered = render(scene_of("wide", number, 64))
        np.testing.assert_array_equal(found.image[number], rendered.image)
        np.testing.assert_array_equal(found.mask[number], mask_of(rendered))
    assert (found.mask == AURORA).any()
    assert (found.mask == UNJUDGED).any()
    assert set(CONDITIONS) == set(found.conditions)
    assert set(found.conditions["family"]) == {"wide"}
    shown = (found.mask == AURORA).any(axis=(1, 2))
    assert (found.conditions["peak_dn"][shown] > 0).all()
    assert (found.conditions["form"][shown] != "none").all()


def test_the_bytes_do_not_depend_on_the_processes(folder, tmp_path):
    write_scenes(tmp_path / "again", "wide", N, size_px=64, processes=2)
    assert _digests(tmp_path / "again") == _digests(folder)


def test_scenes_spread_over_days():
    days = {time_of(number).astype("datetime64[D]") for number in range(100)}
    assert len(days) == 10


@pytest.mark.parametrize("family", list(WIDE_FAMILIES))
def test_a_camera_in_the_set_looks_where_the_simulated_one_does(family):
    for number in range(4):
        camera = sample_wide_scene(WIDE_FAMILIES[family], number, 200).camera
        azimuth, zenith = np.array([10.0, 130.0, 275.0]), np.array([5.0, 45.0, 80.0])
        x, y = pixel_of(camera, np.radians(azimuth), zenith)
        found = lens_from_settings(camera_epoch(camera).lens).pixel(azimuth, 90.0 - zenith)
        np.testing.assert_allclose(found, (x, y), atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--frames", "2", "--family", "winter"], "held-out-cloud"),
        (["--frames", "0"], "at least one"),
        (["--frames", "2", "--size", "65"], "multiple of 8"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, capsys, arguments, named):
    assert main(["simulate", str(tmp_path / "x"), *arguments]) == 2
    assert named in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ConfigurationError, match="new or empty"):
        write_scenes(tmp_path, "wide", 1, size_px=64)
