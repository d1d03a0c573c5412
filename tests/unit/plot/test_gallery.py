"""The gallery's page, its figures and the command that remakes them belong together."""

import re
from pathlib import Path

import matplotlib.image
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = REPOSITORY / "docs" / "gallery.md"


@pytest.fixture(scope="module")
def figures(load_workflow):
    return load_workflow("gallery").FIGURES


def test_every_figure_is_shown_and_every_shown_one_is_remade(figures):
    shown = re.findall(r"!\[[^\]]+\]\(figures/(\w+)\.png\)", PAGE.read_text())
    assert sorted(shown) == sorted(figures)


def test_the_page_gives_the_command_of_each_figure(figures):
    commands = re.findall(r"^    reprocess plot (.+)$", PAGE.read_text(), re.MULTILINE)
    given = {" ".join(c.replace("STORE OUT", "").split()) for c in commands}
    assert {" ".join(words) for words in figures.values()} <= given


def test_the_figures_are_small_and_are_pictures(figures):
    paths = [REPOSITORY / "docs" / "figures" / f"{name}.png" for name in figures]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for path in paths:
        image = matplotlib.image.imread(path)
        # 175 mm at 150 dots an inch.
        assert abs(image.shape[1] - 1033) <= 1
        assert image[..., :3].std() > 0.05
