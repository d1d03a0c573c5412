import re

import matplotlib.image
import pytest

from reprocess import cli
from reprocess.cube.open import open_cube

KINDS = {
    "occurrence.png": ["occurrence"],
    "strip.svg": ["occurrence", "--strip"],
    "ratio.pdf": ["occurrence", "--ratio", "--width", "85"],
    "difference.png": ["occurrence", "--difference", "--detectors", "fcn,diff"],
    "dial.png": ["occurrence", "--dial"],
    "year.png": ["occurrence", "--by", "year"],
    "compare.png": ["compare", "--time", "2021-12-31T00:20"],
    "keogram.png": ["keogram", "--day", "2021-12-31"],
    "coverage.png": ["coverage", "--years", "2021-2022"],
}


@pytest.mark.parametrize("name", list(KINDS))
def test_every_kind_writes_its_picture(drawn_store, tmp_path, capsys, name):
    kind, *options = KINDS[name]
    path = tmp_path / name
    arguments = ["plot", kind, str(drawn_store.store), str(path), "--dpi", "40", *options]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert path.stat().st_size > 1000
    if path.suffix == ".png":
        assert matplotlib.image.imread(path)[..., :3].std() > 0.01
    else:
        head = path.read_bytes()[:300]
        assert b"%PDF" in head or b"<svg" in path.read_bytes()


def test_equal_vector_pictures_are_equal_files(drawn_store, tmp_path):
    for ending in ("svg", "pdf"):
        paths = [tmp_path / f"{i}.{ending}" for i in range(2)]
        for path in paths:
            store = str(drawn_store.store)
            assert cli.main(["plot", "coverage", store, str(path)]) == 0
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_years_without_an_observation_make_a_picture_that_says_so(
    drawn_store, tmp_path, monkeypatch
):
    path = tmp_path / "none.svg"
    store = str(drawn_store.store)
    cube = open_cube(store)
    cube = cube.assign(counts=cube["counts"].where(cube["time"].dt.year != 2022, 0))
    monkeypatch.setattr("reprocess.cube.open.open_cube", lambda *_, **__: cube)
    assert cli.main(["plot", "occurrence", store, str(path), "--years", "2022"]) == 0
    # Text is drawn as glyphs; matplotlib keeps each string in a comment.
    said = " ".join(re.findall(r"<!-- (.*?) -->", path.read_text()))
    assert "No frame was observed in 2022" in said


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", ["occurrence"], "found the ending '.jpg', expected one of .png, .pdf, .svg"),
        ("no/a.png", ["occurrence", "--strip"], "cannot be written"),
        ("a.png", ["occurrence", "--years", "x"], "--years: expected"),
        ("a.png", ["occurrence", "--years", "2030"], "--years: found 2030, expected years that"),
        ("a.png", ["occurrence", "--years", "2021-2023", "--dial"], "--years: found 2023, "),
        ("a.png", ["coverage", "--years", "2030"], "holds (2021, 2022)"),
        ("a.png", ["occurrence", "--by", "moon"], "found no such grouping"),
        ("a.png", ["compare", "--time", "x"], "--time x: cannot be read"),
        ("a.png", ["keogram", "--day", "x"], "--day x: cannot be read"),
    ],
)
def test_bad_input_is_named_and_leaves_no_picture(
    drawn_store, tmp_path, capsys, name, options, message
):
    kind, *rest = options
    code = cli.main(["plot", kind, str(drawn_store.store), str(tmp_path / name), *rest])
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("kind", ["occurrence", "coverage"])
def test_a_store_of_another_campaign_is_refused(drawn_store, tmp_path, capsys, kind):
    other = ["--campaign", str(drawn_store.file), "--set", "site.code=JBS"]
    arguments = ["plot", kind, str(drawn_store.store), str(tmp_path / "a.png"), *other]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert "is of another campaign" in error
    assert "JBS" in error
    assert "KHO" in error
