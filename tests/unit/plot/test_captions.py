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
    assert said == [*words, "aurora on ≥ 50 % of a cell"]


def test_flag_tables_are_named_once():
    said = captions.selection({"flags": ["cloud: table a.csv", "cloud: table b.csv", "moon: c"]})
    assert said == ["flags: cloud, moon"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("magnetic local time of the station at the frame's time", "station"),
        ("magnetic local time of the cell's centre at the emission height", "cell"),
        ("magnetic local time of the cell", "cell"),
    ],
)
def test_whose_magnetic_local_time(text, place):
    assert captions.mlt_place({"mlt": text}) == place


def test_without_attributes_nothing_is_claimed():
    assert captions.selection({}) == []
    assert captions.mlt_place({}) == "station"
