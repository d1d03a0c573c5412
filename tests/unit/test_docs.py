"""The pages that list keys, variables and flags say what the code has, and nothing else."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic_core import PydanticUndefined

import reprocess
from reprocess import cli, stages
from reprocess.archive.inputs import Column
from reprocess.campaign import Campaign, Settings, load_campaign
from reprocess.clusters.profiles import LocalProfile, SlurmProfile
from reprocess.cube.count import OUTCOMES
from reprocess.cube.shape import shape_cube
from reprocess.plan import Reason
from reprocess.stores.layout import YearLayout
from reprocess.stores.objects import MemoryObjects

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "cluster/README.md", *sorted(DOCS.rglob("*.md"))]
SAMPLE = Path(reprocess.__file__).parent / "simulate" / "sample.yaml"
SECTION = "section"
REQUIRED = "required"


def _page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def _models(annotation: Any) -> list[type[Settings]]:
    """Sections inside an annotation such as `tuple[CameraEpoch, ...]` or `Noise | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _sections(model: type[Settings], name: str) -> Iterator[tuple[str, type[Settings]]]:
    yield name, model
    for key, field in model.model_fields.items():
        for inner in _models(field.annotation):
            path = key if model is Campaign else f"{name}.{key}"
            if key == "detectors":
                path = (
                    f"detectors.LABEL, kind: {get_args(inner.model_fields['kind'].annotation)[0]}"
                )
            elif key == "lens":
                path += f", model: {get_args(inner.model_fields['model'].annotation)[0]}"
            elif "tuple" in str(field.annotation):
                path += "[]"
            yield from _sections(inner, path)


def _settings() -> dict[tuple[str, str], str]:
    """(section, key) → default as the page should show it."""
    found = {}
    for section, model in _sections(Campaign, "campaign"):
        for key, field in model.model_fields.items():
            default = field.get_default()
            if _models(field.annotation) and default is not None:
                shown = SECTION
            elif default is PydanticUndefined:
                shown = REQUIRED
            else:
                shown = repr(list(default) if isinstance(default, tuple) else default)
            found[section, key] = shown
    return found


def _described() -> dict[tuple[str, str], str]:
    found = {}
    for part in re.split(r"^## ", _page("campaign.md"), flags=re.MULTILINE)[1:]:
        section = part.partition("\n")[0].strip()
        for row in re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", part, flags=re.MULTILINE):
            key, shown = row[0], row[1].strip()
            assert (section, key) not in found, f"{section}: {key} is listed twice"
            quoted = re.fullmatch(r"`(.*)`", shown)
            found[section, key] = repr(yaml.safe_load(quoted[1])) if quoted else shown
    return found


def test_every_campaign_key_and_default_is_listed_and_no_other() -> None:
    assert _described() == _settings()


def test_every_profile_key_and_default_is_listed_and_no_other() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", _page("slurm.md"), flags=re.MULTILINE)
    listed = {key: yaml.safe_load(shown.strip("`")) for key, shown in rows}
    slurm = SlurmProfile.model_fields
    defaults = {key: field.get_default() for key, field in slurm.items()}
    defaults = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
    assert listed == defaults | {"kind": "required"}
    assert set(LocalProfile.model_fields) <= set(slurm)


def _layouts() -> list[tuple[str, YearLayout]]:
    campaign = load_campaign(SAMPLE)
    labels = {settings.kind: label for label, settings in campaign.detectors.items()}
    return [
        ("frames", stages.frames_layout(campaign, 2021)),
        ("evidence", stages.evidence_layout(campaign, labels["difference"], 2021)),
        ("evidence", stages.evidence_layout(campaign, labels["fcn"], 2021)),
        ("detections", stages.detections_layout(campaign, labels["fcn"], 2021)),
    ]


@pytest.mark.parametrize(
    ("name", "layout"), _layouts(), ids=lambda value: getattr(value, "path", value)
)
def test_every_variable_attribute_and_flag_is_on_its_stores_page(
    name: str, layout: YearLayout
) -> None:
    page = _page(f"stores/{name}.md")
    wanted = {*layout.attributes, *(c.name for c in layout.coordinates)}
    for variable in layout.variables:
        wanted |= {variable.name, *variable.dims}
        wanted |= set(str(variable.attributes.get("flag_meanings", "")).split())
    assert {word for word in wanted if f"`{word}`" not in page} == set()


def test_every_variable_and_outcome_is_on_the_cubes_page() -> None:
    objects = MemoryObjects()
    shape_cube(objects, load_campaign(SAMPLE), 2022)
    page = _page("stores/occurrence.md") + _page("stores/detections.md") + _page("stores/frames.md")
    told = json.loads(objects.read("occurrence.zarr/zarr.json"))["attributes"]
    assert {word for word in told if f"`{word}`" not in page} == set()
    arrays = {key.split("/")[1] for key in objects.keys("occurrence.zarr") if key.count("/") > 1}
    assert {"counts", "n_days", "n_days_committed"} <= arrays
    assert {word for word in {*arrays, *OUTCOMES} if f"`{word}`" not in page} == set()


def test_every_reason_and_ledger_column_is_explained() -> None:
    page = _page("rerun.md")
    assert {str(word) for word in (*Reason, *Column) if f"`{word}`" not in page} == set()


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in PAGES
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []


def test_every_page_is_linked_from_the_index() -> None:
    links = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#:]+)\)", _page("index.md"))}
    assert {page for page in PAGES if page.name != "index.md"} - links == set()


def test_every_module_and_package_is_in_the_index() -> None:
    source = Path(reprocess.__file__).parent
    found = {path.stem for path in source.glob("*.py")} - {"__init__"}
    found |= {path.parent.name for path in source.glob("*/__init__.py")}
    table = _page("index.md").partition("## The code")[2]
    listed = Counter(
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(.*?)`", row)
    )
    assert listed == Counter(found)


def test_every_dependency_is_explained_once() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        project = tomllib.load(file)["project"]
    wanted = {("", _distribution(text)) for text in project["dependencies"]}
    for extra, packages in project["optional-dependencies"].items():
        wanted |= {(extra, _distribution(text)) for text in packages}
    wanted = {(extra, name) for extra, name in wanted if name != "reprocess"}
    required, _, extras = _page("dependencies.md").partition("Extras, installed by name")
    listed = [("", row) for row in re.findall(r"^\| ([\w, -]+) \|", required, re.M)]
    listed += re.findall(r"^\| `(\w+)` \| ([\w, -]+) \|", extras, re.M)
    explained = Counter(
        (extra, name) for extra, names in listed for name in names.split(", ") if name != "package"
    )
    assert explained == Counter(wanted)


def _distribution(text: str) -> str:
    return re.split(r"[\[>=<; ]", text)[0]


def _commands(page: Path) -> Iterator[str]:
    """Lines of a page that are commands of ours, without comments and redirections."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    ours = r"^ *(?:[^\s`]*python -m reprocess\.run|reprocess)(?: .*)?$"
    for line in re.findall(ours, text, re.M):
        command = re.split(r"  +#| #| > |, ", line)[0].strip()
        command = re.sub(r"^\S*python -m reprocess\.run", "reprocess run", command)
        if " is " not in command and "KIND" not in command:
            yield command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_one(page: Path) -> None:
    for command in _commands(page):
        cli.make_parser().parse_args(shlex.split(command)[1:])
    for words in re.findall(r"`reprocess ([a-z]+(?: [a-z]+)?)", page.read_text(encoding="utf-8")):
        _check_verb(words.split(" "))


def _check_verb(words: list[str]) -> None:
    parser = cli.make_parser()
    for word in words:
        kinds = [a for a in parser._actions if isinstance(a.choices, dict)]
        if not kinds:
            return
        assert word in kinds[0].choices, " ".join(words)
        parser = kinds[0].choices[word]
