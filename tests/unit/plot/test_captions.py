import pytest

from reprocess.campaign import Cube
from reprocess.cube.selection import attributes
from reprocess.plot import captions


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ["Sun ≤ −15°", "any Moon"]),
        ({"moon_elevation_max_deg": 0}, ["Sun ≤ −15°", "Moon ≤ 0°"]),
        (
            {"moon_elevation_max_deg": -3, "moon_illuminated_max": 0.25, "refraction": True},
            ["Sun ≤ −15°", "Moon ≤ −3° or ≤ 25 % lit", "with refraction"],
        ),
        ({"cell_elevation_min_deg": 20}, ["Sun ≤ −15°", "any Moon", "cells above 20°"]),
    ],
)
def test_every_limit_of_the_selection_is_said(settings, words):
    said = captions.selection(attributes(Cube(**settings)))
    assert said[:-1] == words == captions.limits(attributes(Cube(**settings)))
    # True of both methods: a cell of the difference is flagged or not.
    assert said[-1] == "aurora on ≥ 50 % of a cell (masks), or in a flagged cell (difference)"


def test_flag_tables_are_named_once():
    said = captions.selection({"flags": ["cloud: table a.csv", "cloud: table b.csv", "moon: c"]})
    assert said == ["flags: cloud, moon"]


def test_limits_of_exposure_and_gain_are_told():
    said = captions.selection({"exposure_range_s": [0.5, 3.0], "gain_range": [0, 5]})
    assert said == ["exposure 0.5–3 s", "gain 0–5"]
    assert captions.selection({"exposure_range_s": "none", "gain_range": "none"}) == []


def test_without_attributes_nothing_is_claimed():
    assert captions.selection({}) == []
