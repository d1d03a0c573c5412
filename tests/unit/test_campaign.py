import re
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reprocess import stages
from reprocess.campaign import Campaign, campaign_from_mapping, load_campaign, parse_years
from reprocess.errors import ConfigurationError


@pytest.fixture
def write(tmp_path, campaign_document):
    """Write the campaign to a file of its own directory."""

    def write(**changes):
        path = tmp_path / "campaign.yaml"
        path.write_text(yaml.safe_dump(campaign_document(**changes)))
        return path

    return write


def message(document):
    with pytest.raises(ConfigurationError) as caught:
        campaign_from_mapping(document, source="my.yaml")
    return str(caught.value)


def test_a_valid_campaign_loads(write):
    campaign = load_campaign(write())
    assert campaign.name == "small"
    assert campaign.years == (2020, 2021)
    assert campaign.slots_per_day == 24
    assert campaign.compared == ("diff", "fast")
    assert campaign.camera[0].name == "20180301T000000Z"


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "key", "hint"),
    [
        ("cadense_s", "cadense_s", "cadence_s"),
        ("site__lattitude_deg", "site.lattitude_deg", "latitude_deg"),
        ("camera__0__lens__px_per_degree", "camera.0.lens.px_per_degree", "px_per_deg"),
        ("camera__0__zenit_max_deg", "camera.0.zenit_max_deg", "zenith_max_deg"),
        ("cube__mlt_bin", "cube.mlt_bin", "mlt_bins"),
        ("detectors__diff__lag", "detectors.diff.lag", "lag_s"),
        ("detectors__diff__ksigma", "detectors.diff.ksigma", "k_sigma"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(campaign_document, path, key, hint):
    document = campaign_document(cube={})
    *sections, last = path.split("__")
    node = document
    for section in sections:
        node = node[int(section) if isinstance(node, list) else section]
    node[last] = 1
    text = message(document)
    assert text.startswith(f"my.yaml: {key}: unknown key; expected one of ")
    assert text.endswith(f"did you mean {hint}?")
    assert "\n" not in text


def test_an_unknown_key_unlike_any_other_gets_no_suggestion(campaign_document):
    text = message(campaign_document(zzzzqqq=1))
    assert "zzzzqqq: unknown key" in text
    assert "did you mean" not in text


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("cadence_s", "often", r"cadence_s: found 'often', expected .*integer"),
        ("cadence_s", 60.5, r"cadence_s: found 60.5, expected .*integer"),
        ("cadence_s", 7, r"cadence_s: found 7, expected a cadence .* divides 86400"),
        ("cadence_s", 0, r"cadence_s: found 0, expected greater than 0"),
        ("cadence_s", 172800, r"cadence_s: found 172800, expected less than or equal to 86400"),
        ("phase_s", 3600, r"phase_s: found 3600, expected .*below cadence_s \(3600\)"),
        ("phase_s", -1, r"phase_s: found -1, expected seconds from 0 to below"),
        ("site__latitude_deg", -91, r"site.latitude_deg: found -91, expected .* -90"),
        ("site__latitude_deg", "south", r"site.latitude_deg: found 'south', expected .*number"),
        ("site__longitude_deg", 361, r"site.longitude_deg: found 361"),
        ("site__latitude_deg", float("nan"), r"site.latitude_deg: found nan, expected .*finite"),
        ("site", [], r"site: found \[\], expected"),
        ("name", "", r"name: found ''"),
        ("name", "../elsewhere", r"name: found '../elsewhere'"),
        ("image__size_px", 100, r"image.size_px: found 100, expected a multiple of 8"),
        ("camera__0__lens__east", "up", r"camera.0.lens.east: found 'up', expected 'left' or"),
        ("camera__0__lens__px_per_deg", 0, r"camera.0.lens.px_per_deg: found 0"),
        ("camera__0__crop__size_px", 0, r"camera.0.crop.size_px: found 0"),
        ("camera", [], r"camera: found \[\], expected .*at least 1 item"),
        ("detectors", {}, r"detectors: found {}, expected .*at least 1 item"),
        ("detectors", {"Diff!": {"kind": "fcn"}}, r"detectors: .*labels of a-z.*not 'Diff!'"),
        ("detectors__diff__kind", "magic", r"detectors.diff: .*'difference', 'fcn'"),
        ("detectors__diff__threshold_dn", -1, r"detectors.diff.threshold_dn: found -1"),
        ("detectors__diff__lag_s", 4000, r"detectors.diff.lag_s: found 4000"),
        ("archive__pattern", "%Y%m%d.jpg", r"archive.pattern: .*a pattern with %H, %M in it"),
        ("archive__pattern", "%m%d%H%M.jpg", r"archive.pattern: .*a pattern with %Y or %y in it"),
        ("archive__pattern", "%Y%b%H%M", r"archive.pattern: .*%m and %d \(or %b and %d, or %j\)"),
        ("archive__pattern", "%Y%d%H%M", r"archive.pattern: .*%m and %d \(or %b and %d, or %j\)"),
        ("archive__timezone", "CEST", r"archive.timezone: found 'CEST', expected .*Europe/Oslo"),
        ("archive__timezone", "+1", r"archive.timezone: found '\+1', expected .*\+01:00"),
        ("archive__bits", 12, r"archive.bits: found 12, expected 8 or 16"),
        (
            "archive__bits",
            16,
            r"camera.0.white_level: found null, expected at least 256 counts above black_level",
        ),
        ("archive__time", "mtime", r"archive.time: found 'mtime', expected 'name', 'header' or"),
        (
            "camera__0__valid_from",
            2021,
            r"camera.0.valid_from: found 2021, expected a UTC",
        ),
        (
            "camera__0__valid_from",
            -1,
            r"camera.0.valid_from: found -1, expected .*2021-01-01",
        ),
        ("camera__0__valid_from", "20210101", r"camera.0.valid_from: found '20210101', expected a"),
        (
            "camera__0__valid_from",
            "0221-01-01",
            r"camera.0.valid_from: .* a time from 1900",
        ),
        ("camera__0__valid_until", 2021.5, r"camera.0.valid_until: found 2021.5, expected a UTC"),
        ("store", "/data/d\udcf6/store", r"store: found '/data/d.udcf6/store', expected a name in"),
        ("store", "http://host/store", r"store: found .http://host/store., expected a directory"),
        ("camera__0__mask", "m\udcf6.png", r"camera.0.mask: found 'm.udcf6.png', expected a name"),
        (
            "camera__0__time_stamps",
            "start",
            r"camera.0.exposure_s: found null, expected seconds, since",
        ),
        (
            "camera__0__white_level",
            300,
            r"camera.0.white_level: found 300.0, expected up to 255, since",
        ),
        ("camera__0__black_level", 255, r"camera.0.white_level: .* above black_level \(255\)"),
        ("camera__0__channel_response", [1, 0, 1], r"three responses from 0.1 to 10"),
        ("cube", {"moon_illuminated_max": 0.3}, r"cube.moon_elevation_max_deg: found null, exp"),
        (
            "cells",
            {"n": 300},
            r"cells.n: found 300, expected .*null with others \(layout: rings-10",
        ),
        ("process__sun_elevation_max_deg", -20, r"process.sun_elevation_max_deg: found -20.0, exp"),
        (
            "cube",
            {"flags": [{"table": "t.csv", "reject": ["x"]}]},
            r"cube.flags.0.unknown: missing",
        ),
        ("archive__pattern", "../%Y%m%d%H%M", r"archive.pattern: .*inside the archive"),
        (
            "cube",
            {"compare": ["diff", "fnc"]},
            r"cube.compare: found \['fnc'\], expected .*\(diff, fast\)",
        ),
        ("cube", {"mlt_bins": 0}, r"cube.mlt_bins: found 0"),
        ("years", [], r"years: found \[\], expected at least one, such as 2021"),
        ("years", [2017], r"years: found 2017, expected years from 2018 on, where"),
        ("years", ["2021-2020"], r"years: .*a range that goes forward, not '2021-2020'"),
        ("years", ["twenty"], r"years: .*years like 2021 or 2018-2023, not 'twenty'"),
        ("years", {"from": 2020}, r"years: found dict"),
        (
            "camera__0__noise",
            {"red_dn": [1.0, 2.0]},
            r"camera.0.noise.red_dn: found 2 numbers, expected",
        ),
    ],
)
def test_an_impossible_value_is_named_with_what_was_expected(
    campaign_document, path, value, expected
):
    document = campaign_document(image={}, **{path: value} if path != "image__size_px" else {})
    if path == "image__size_px":
        document["image"]["size_px"] = value
    text = message(document)
    assert re.search(f"^my.yaml: (camera.0.white_level: |{path.split('__')[0]})", text), text
    assert re.search(expected, text), text


@pytest.mark.parametrize("key", ["site", "camera", "archive", "store", "cadence_s", "years"])
def test_a_missing_key_is_named(campaign_document, key):
    document = campaign_document()
    del document[key]
    assert message(document).startswith(f"my.yaml: {key}: missing; expected a value")


def test_every_problem_is_named_at_once(campaign_document):
    text = message(campaign_document(cadence_s=7, store=3, site__code="no blanks please"))
    assert [line.split(":")[1].strip() for line in text.splitlines()] == [
        "site.code", "store", "cadence_s",
    ]  # fmt: skip


def test_camera_epochs_come_in_order_and_once(campaign_document):
    first = campaign_document()["camera"][0]
    later = {**first, "valid_from": "2020-01-01T00:00:00Z"}
    campaign_from_mapping(campaign_document(camera=[first, later]))
    for camera in ([later, first], [first, first]):
        assert "epochs in order of valid_from, each once" in message(
            campaign_document(camera=camera)
        )


def test_openvino_has_one_precision(campaign_document):
    detectors = {"net": {"kind": "fcn", "runtime": "openvino", "precision": "float16"}}
    assert "detectors.net.precision: found float16, expected float32 with runtime" in message(
        campaign_document(detectors=detectors)
    )


def test_a_detector_needs_a_threshold(campaign_document):
    detectors = {"diff": {"kind": "difference", "k_sigma": None}}
    assert "detectors.diff.threshold_dn: found null, expected a number of counts" in message(
        campaign_document(detectors=detectors)
    )


@pytest.mark.parametrize(
    "pattern", ["%Y%j%H%M.jpg", "%d%b%Y/%H%M.jpg", "%y%m%d_%H%M.jpg", "%Y/%b/%d/%H%M.jpg"]
)
def test_a_pattern_may_tell_the_day_in_several_ways(small_campaign, pattern):
    assert small_campaign(archive__pattern=pattern).archive.pattern == pattern


@pytest.mark.parametrize("time", ["header", "exif"])
def test_where_files_tell_the_time_names_need_not(campaign_document, time):
    document = campaign_document()
    document["archive"] = {"url": "archive", "pattern": "*", "time": time}
    assert campaign_from_mapping(document).archive.pattern == "*"


@pytest.mark.parametrize("zone", ["UTC", "+05:30", "-03:00", "Europe/Oslo"])
def test_zones(small_campaign, zone):
    assert small_campaign(archive__timezone=zone).archive.timezone == zone


def test_flag_tables_are_relative_to_the_campaign_file(campaign_document, tmp_path):
    document = campaign_document()
    flags = [
        {"table": "clouds.csv", "reject": ["x"], "unknown": "keep"},
        {"table": "https://example.org/c.csv", "reject": ["x"], "unknown": "keep"},
    ]
    document["cube"] = {"flags": flags}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(document))
    first, second = load_campaign(tmp_path / "my.yaml").cube.flags
    assert first.table == str(tmp_path / "clouds.csv")
    assert second.table == "https://example.org/c.csv"


# --- what it means ---------------------------------------------------------------------------


def test_settings_never_change(small_campaign):
    campaign = small_campaign()
    with pytest.raises(ValueError, match="frozen"):
        campaign.cadence_s = 60
    with pytest.raises(ValueError, match="frozen"):
        campaign.site.code = "X"


def test_equal_campaigns_are_one_key(small_campaign):
    one, same, other = small_campaign(), small_campaign(), small_campaign(phase_s=30)
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert hash(one) != hash(other)
    assert {one: 1}[same] == 1


def test_compared_is_in_campaign_order(small_campaign):
    assert small_campaign(cube={"compare": ["fast", "diff"]}).compared == ("diff", "fast")
    assert small_campaign(cube={"compare": ["fast"]}).compared == ("fast",)


def test_times_without_a_zone_are_utc_and_others_become_it(small_campaign):
    for text in ("2018-03-01", "2018-03-01T00:00:00", "2018-03-01T09:00:00+09:00"):
        epoch = small_campaign(camera__0__valid_from=text).camera[0]
        assert epoch.valid_from == datetime(2018, 3, 1, tzinfo=UTC)
        assert epoch.name == "20180301T000000Z"


def test_an_epoch_holds_from_its_time_until_the_next(campaign_document):
    first = campaign_document()["camera"][0]
    later = {**first, "valid_from": "2020-01-01T12:00:00Z"}
    campaign = campaign_from_mapping(campaign_document(camera=[first, later]))
    times = np.array(
        ["2018-02-28T23:59:59.999999", "2018-03-01", "2020-01-01T11:59:59.999999",
         "2020-01-01T12", "2099-01-01"], "datetime64[us]",
    )  # fmt: skip
    assert campaign.epoch_index(times).tolist() == [-1, 0, 0, 1, 1]
    assert campaign.epoch_at(times[0]) is None
    assert campaign.epoch_at(times[3]) is campaign.camera[1]


def test_between_an_epoch_that_ended_and_the_next_there_is_none(campaign_document):
    first = campaign_document()["camera"][0]
    later = {**first, "valid_from": "2020-01-01T12:00:00Z"}
    first = {**first, "valid_until": "2019-05-01T00:00:00Z"}
    campaign = campaign_from_mapping(campaign_document(camera=[first, later]))
    times = np.array(
        ["2019-04-30T23:59:59.999999", "2019-05-01", "2020-01-01T11:59", "2020-01-01T12"],
        "datetime64[us]",
    )
    assert campaign.epoch_index(times).tolist() == [0, -1, -1, 1]
    assert campaign.epoch_at(times[2]) is None
    assert stages.epochs_in(campaign, 2019) == (0,)
    assert stages.epochs_on(campaign, date(2019, 7, 1)) == ()
    assert stages.epochs_on(campaign, date(2019, 4, 30)) == (0,)


def test_epochs_do_not_overlap_and_end_after_they_begin(campaign_document):
    first = campaign_document()["camera"][0]
    later = {**first, "valid_from": "2020-01-01T12:00:00Z"}
    long = {**first, "valid_until": "2020-02-01"}
    with pytest.raises(ConfigurationError, match="epochs do not overlap"):
        campaign_from_mapping(campaign_document(camera=[long, later]))
    with pytest.raises(ConfigurationError, match=r"camera\.0\.valid_until: .* after valid_from"):
        campaign_from_mapping(campaign_document(camera=[{**first, "valid_until": "2010-01-01"}]))


def test_lens_models_are_told_apart_in_errors(campaign_document):
    first = campaign_document()["camera"][0]
    turn = {k: first["lens"][k] for k in ("center_x_px", "center_y_px", "north_deg", "east")}
    wrong = {**first, "lens": {**turn, "model": "polynomial", "px_per_deg": 1.0}}
    with pytest.raises(ConfigurationError, match=r"camera\.0\.lens\.px_per_deg_odd: missing"):
        campaign_from_mapping(campaign_document(camera=[wrong]))
    with pytest.raises(ConfigurationError, match=r"camera\.0\.lens: .*expected.*equal-area"):
        campaign_from_mapping(
            campaign_document(camera=[{**first, "lens": {**turn, "model": "stereographic"}}])
        )


def test_noise_has_as_many_numbers_as_the_layout_has_cells(campaign_document):
    first = campaign_document()["camera"][0]
    noise = {"red_dn": [1.0] * 300, "green_dn": 1.0}
    document = campaign_document(camera=[{**first, "noise": noise}])
    with pytest.raises(ConfigurationError, match="one for each of 400 cells"):
        campaign_from_mapping(document)
    campaign_from_mapping({**document, "cells": {"layout": "beckers", "n": 300}})


# --- years -----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1900, 2100), st.integers(0, 20)), min_size=1, max_size=6))
def test_years_are_the_union_of_their_ranges(ranges):
    items = [str(a) if n == 0 else f"{a}-{a + n}" for a, n in ranges]
    expected = sorted({year for a, n in ranges for year in range(a, a + n + 1)})
    assert parse_years(items) == tuple(expected)
    assert parse_years(list(reversed(items))) == tuple(expected)


@given(st.text(max_size=12))
def test_a_text_is_years_or_refused(text):
    if re.fullmatch(r"\s*\d{4}(-\d{4})?\s*", text, re.ASCII):
        return
    with pytest.raises(ValueError, match="years like 2021"):
        parse_years([text])


@given(st.integers(1900, 2100), st.integers(1, 100))
def test_a_range_never_goes_back(year, n):
    with pytest.raises(ValueError, match="goes forward"):
        parse_years([f"{year}-{year - n}"])


@pytest.mark.parametrize(
    "value", ["2020-2021", [2020, 2021], ["2020", 2021, "2020-2021"], (2021, 2020)]
)
def test_years_in_any_form(small_campaign, value):
    assert small_campaign(years=value).years == (2020, 2021)


def test_one_year_may_be_a_number(small_campaign):
    assert small_campaign(years=2020).years == (2020,)


# --- files -----------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"absent.yaml: cannot be read \(No such file"):
        load_campaign(tmp_path / "absent.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_campaign(tmp_path)


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\tx: 1", "%Y: 1"])
def test_a_file_that_is_no_yaml_is_named_with_the_line(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"bad.yaml: is not valid YAML(.|\n)*line 1"):
        load_campaign(path)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "text"])
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"bad.yaml: expected a mapping.*found"):
        load_campaign(path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "image.yaml"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"image\.yaml"):
        load_campaign(path)


def test_relative_paths_are_relative_to_the_file(write, tmp_path, monkeypatch):
    path = write(
        camera__0__mask="masks/sky.png",
        detectors={"fcn": {"kind": "fcn", "weights": "w.safetensors"}},
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for given_path in (path, Path("../campaign.yaml")):
        campaign = load_campaign(given_path)
        assert campaign.archive.url == str(tmp_path / "archive")
        assert campaign.store == str(tmp_path / "store")
        assert campaign.camera[0].mask == str(tmp_path / "masks/sky.png")
        assert campaign.detectors["fcn"].weights == str(tmp_path / "w.safetensors")


def test_urls_absolute_paths_and_package_names_stay(write):
    campaign = load_campaign(
        write(
            archive__url="s3://bucket/raw",
            store="/data/store",
            detectors={"fcn": {"kind": "fcn", "weights": "package:fcn.safetensors"}},
        )
    )
    assert campaign.archive.url == "s3://bucket/raw"
    assert campaign.store == "/data/store"
    assert campaign.detectors["fcn"].weights == "package:fcn.safetensors"


def test_a_home_directory_is_expanded(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_campaign(write(store="~/store")).store == str(tmp_path / "store")


# --- --set -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("cadence_s=60", lambda c: c.cadence_s, 60),
        ("site.altitude_m=30.5", lambda c: c.site.altitude_m, 30.5),
        ("cube.mlt_bins=48", lambda c: c.cube.mlt_bins, 48),
        ("cube.compare=[fast]", lambda c: c.cube.compare, ("fast",)),
        ("years=[2018-2019, 2021]", lambda c: c.years, (2018, 2019, 2021)),
        ("years=2019", lambda c: c.years, (2019,)),
        ("years=2018-2019", lambda c: c.years, (2018, 2019)),
        ("camera.0.lens.north_deg=-5", lambda c: c.camera[0].lens.north_deg, -5.0),
        ("detectors.diff.threshold_dn=9", lambda c: c.detectors["diff"].threshold_dn, 9.0),
        ("detectors.new={kind: difference}", lambda c: list(c.detectors), ["diff", "fast", "new"]),
        ("process.sun_elevation_max_deg=-12", lambda c: c.process.sun_elevation_max_deg, -12.0),
        ("process.sun_elevation_max_deg=null", lambda c: c.process.sun_elevation_max_deg, None),
        ("archive.pattern=%Y%m%d%H%M.jpg", lambda c: c.archive.pattern, "%Y%m%d%H%M.jpg"),
        ("archive.pattern=*_%Y%m%d%H%M.jpg", lambda c: c.archive.pattern, "*_%Y%m%d%H%M.jpg"),
        ("archive.url=s3://b/x=1", lambda c: c.archive.url, "s3://b/x=1"),
    ],
)
def test_set_replaces_one_value(write, override, read, expected):
    assert read(load_campaign(write(), [override])) == expected


def test_set_is_applied_in_order_and_validated(write):
    assert load_campaign(write(), ["cadence_s=60", "cadence_s=120"]).cadence_s == 120
    with pytest.raises(ConfigurationError, match="cadence_s: found 7"):
        load_campaign(write(), ["cadence_s=7"])
    with pytest.raises(ConfigurationError, match="did you mean mlt_bins"):
        load_campaign(write(), ["cube.mlt_bin=7"])


@pytest.mark.parametrize(
    "override",
    ["cadence_s", "=5", "name.first.second=1", "camera.5.mask=x", "camera.0=x", "camera.x.y=1"],
)
def test_set_of_no_such_section_is_named(write, override):
    with pytest.raises(ConfigurationError, match=re.escape(f"--set {override}: ")):
        load_campaign(write(), [override])


def test_a_store_can_be_given(write):
    assert load_campaign(write(), store="s3://b/other").store == "s3://b/other"


def test_a_section_left_empty_is_named_by_its_key(tmp_path, campaign_document):
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(campaign_document(site=None, detectors=None, camera=None)))
    with pytest.raises(ConfigurationError) as caught:
        load_campaign(path)
    for key in ("site", "detectors", "camera"):
        assert f"template.yaml: {key}: found null" in str(caught.value)


def test_every_setting_of_a_campaign_survives_json(small_campaign):
    campaign = small_campaign()
    assert Campaign.model_validate_json(campaign.model_dump_json()) == campaign
