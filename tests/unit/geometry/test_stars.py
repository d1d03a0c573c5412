from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from reprocess.campaign import Site
from reprocess.errors import ConfigurationError
from reprocess.geometry.ephemeris import apparent_elevation_deg
from reprocess.geometry.lens import Equidistant
from reprocess.geometry.stars import (
    bright_stars,
    geometric_elevation_deg,
    position_of,
    star_positions,
)

KHO = Site(code="KHO", latitude_deg=78.148, longitude_deg=16.043, altitude_m=520)


def test_the_catalogue_holds_the_bright_stars_where_they_are() -> None:
    """Hipparcos, J2000: Vega 279.2347 +38.7837, Polaris 37.9546 +89.2641."""
    stars = bright_stars()
    assert stars.name[0] == "Sirius"
    assert np.all(np.diff(stars.v_mag) >= 0)
    assert len(stars.name) == 902
    for name, ra, dec in (("vega", 279.2347, 38.7837), ("polaris", 37.9546, 89.2641)):
        index = stars.keys[name]
        assert stars.ra_deg[index] == pytest.approx(ra, abs=0.005)
        assert stars.dec_deg[index] == pytest.approx(dec, abs=0.001)
    assert {"Canopus", "Arcturus", "Capella", "Rigel", "Procyon", "Altair"} <= set(stars.name[:21])


def test_polaris_stands_near_the_pole_at_the_elevation_of_the_latitude() -> None:
    for hour in range(0, 24, 3):
        azimuth, elevation = position_of(
            KHO, np.datetime64("2020-12-11") + np.timedelta64(hour, "h"), "Polaris"
        )
        assert abs(elevation - 78.148) < 0.75
        assert abs((azimuth + 180) % 360 - 180) * np.cos(np.radians(elevation)) < 0.75


def test_meeus_venus() -> None:
    """Meeus, Astronomical Algorithms, example 13.b: Venus from the US Naval Observatory on
    1987-04-10 19:21:00 UT, azimuth 68.0337 from the south (248.03), elevation 15.1249."""
    site = Site(code="USNO", latitude_deg=38.92139, longitude_deg=-77.06556)
    azimuth, elevation = position_of(site, np.datetime64("1987-04-10T19:21:00"), "venus")
    assert azimuth == pytest.approx(248.0337, abs=0.01)
    assert elevation == pytest.approx(15.1249, abs=0.01)


def test_names_designations_and_numbers_are_the_same_star() -> None:
    time = np.datetime64("2020-12-11T20:00:00")
    assert (
        position_of(KHO, time, "Vega")
        == position_of(KHO, time, "α lyr")
        == position_of(KHO, time, "HR 7001")
    )
    with pytest.raises(ConfigurationError, match=r"star 'Agol': .* did you mean .*Algol"):
        position_of(KHO, time, "Agol")
    with pytest.raises(ConfigurationError, match="1900 to 2050"):
        position_of(KHO, np.datetime64("2090-01-01"), "Vega")


def test_listed_stars_are_up_and_bright_enough() -> None:
    names, azimuth, elevation, v_mag = star_positions(
        KHO, np.datetime64("2013-12-04T19:00:00"), v_mag_max=1.5, elevation_min_deg=15.0
    )
    assert elevation.min() >= 15.0
    assert v_mag.max() <= 1.5
    assert names[0] == "Jupiter"  # -2.6; Venus was below the horizon
    assert {"Vega", "Capella", "Deneb"} <= set(names)
    assert len(azimuth) == len(names)


def test_refraction_of_the_standard_tables() -> None:
    """Meeus 16: an apparent elevation of 0.5 degrees is 28.754' too high (example 16.a)."""
    assert (0.5 - geometric_elevation_deg(0.5)) * 60 == pytest.approx(28.754, abs=0.01)
    elevation = np.linspace(0.0, 90.0, 50)
    back = geometric_elevation_deg(apparent_elevation_deg(elevation))
    assert np.abs(back - elevation).max() < 0.1 / 60


@pytest.mark.data
def test_kho_stars_recomputed_fall_on_its_stars(kho_folder: Path) -> None:
    """86 stars seen in the hour; catalogue and time alone, through its calibration: <= 0.5 deg."""
    lens = Equidistant(166.59763109946064, 127.73435278503196, 1.0706991051341759, -29.0874, "left")
    off = []
    with (kho_folder / "stars_matched.csv").open() as file:
        for row in csv.DictReader(file):
            azimuth, elevation = position_of(KHO, np.datetime64(row["time_utc"]), row["name"])
            assert azimuth == pytest.approx(float(row["az_deg"]), abs=0.02)
            assert elevation == pytest.approx(float(row["alt_deg"]), abs=0.02)
            x, y = lens.pixel(azimuth, elevation)
            off.append(np.hypot(x - float(row["x_px"]), y - float(row["y_px"])))
    assert len(off) == 86
    assert np.median(off) / lens.px_per_deg <= 0.3
