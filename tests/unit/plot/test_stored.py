import json

import pytest
from plot_cubes import make_cube

from reprocess.campaign import load_campaign
from reprocess.cube.open import open_cube
from reprocess.errors import ConfigurationError
from reprocess.plot.stored import Stored, check_cube


def test_the_campaign_is_that_of_the_last_run(drawn_store):
    stored = Stored(str(drawn_store.store))
    assert stored.campaign == load_campaign(str(drawn_store.file))
    assert stored.labels == ("diff", "fcn")
    assert [str(day) for day in stored.days] == ["2021-12-30", "2021-12-31", "2022-01-01"]


def test_a_campaign_file_at_another_place_is_the_same_campaign(drawn_store):
    campaign = load_campaign(
        str(drawn_store.file), ["archive.url=/elsewhere", "years=[2021]"], store="/other"
    )
    assert Stored(str(drawn_store.store), campaign).campaign is campaign


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("site.code=JBS", "site.code: found JBS, committed KHO"),
        ("cadence_s=300", "cadence_s: found 300, committed 600"),
        ("camera.0.lens.north_deg=12", r"camera.0.lens.north_deg: found 12.0, committed 0.0"),
        ("detectors.fcn.threshold=0.7", "detectors.fcn.threshold: found 0.7, committed 0.5"),
    ],
)
def test_another_campaign_is_refused_by_what_differs(drawn_store, override, named):
    campaign = load_campaign(str(drawn_store.file), [override])
    with pytest.raises(ConfigurationError, match=named):
        Stored(str(drawn_store.store), campaign)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("cube.mlt_bins=24", "cube.mlt_bins: found 24, committed 12"),
        ("cube.sun_elevation_max_deg=-12", "sun_elevation_max_deg: found -12.0, committed 90"),
        ("name=other", "campaign: found other, committed tiny"),
        ("cube.compare=[fcn]", "compare: found .*fcn.*, committed"),
    ],
)
def test_a_cube_of_another_campaign_is_refused_by_what_differs(drawn_store, override, named):
    cube = open_cube(str(drawn_store.store))
    check_cube(cube, load_campaign(str(drawn_store.file)), "store")
    with pytest.raises(ConfigurationError, match=named):
        check_cube(cube, load_campaign(str(drawn_store.file), [override]), "store")


def test_a_cube_of_other_detectors_is_refused(drawn_store):
    campaign = load_campaign(str(drawn_store.file))
    with pytest.raises(ConfigurationError, match=r"committed .*difference"):
        check_cube(make_cube(), campaign, "store")


def test_without_a_run_the_campaign_must_be_given(drawn_store, tmp_path):
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "run.json").write_text("{broken")
    with pytest.raises(ConfigurationError, match="give --campaign FILE"):
        _ = Stored(str(tmp_path)).campaign
    campaign = load_campaign(str(drawn_store.file))
    assert Stored(str(tmp_path), campaign).campaign is campaign


def test_the_last_run_counts_even_if_an_earlier_one_differs(tmp_path, drawn_store):
    stored = Stored(str(drawn_store.store))
    for name, code in (("20200101T000000Z-a", "OLD"), ("20210101T000000Z-b", "NEW")):
        document = json.loads(json.dumps(stored.runs[0]))
        document["campaign"]["site"]["code"] = code
        path = tmp_path / "runs" / name / "run.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document))
    assert Stored(str(tmp_path)).campaign.site.code == "NEW"
