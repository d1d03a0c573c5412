"""The pages that list keys, variables and flags say what the code has, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic_core import PydanticUndefined

import reprocess
from reprocess import stages
from reprocess.archive.inputs import Column
from reprocess.campaign import Campaign, Settings, load_campaign
from reprocess.clusters.profiles import LocalProfile, SlurmProfile
from reprocess.cube.count import OUTCOMES
from reprocess.cube.publish import shape_cube
from reprocess.plan import Reason
from reprocess.stores.layout import YearLayout
from reprocess.stores.objects import MemoryObjects

DOCS = Path(__file__).resolve().parents[2] / "docs"
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
    page = _page("stores/occurrence.md")
    arrays = {key.split("/")[1] for key in objects.keys("occurrence.zarr") if key.count("/") > 1}
    assert {"counts", "n_days", "n_days_committed"} <= arrays
    assert {word for word in {*arrays, *OUTCOMES} if f"`{word}`" not in page} == set()


def test_every_reason_and_ledger_column_is_explained() -> None:
    page = _page("rerun.md")
    assert {str(word) for word in (*Reason, *Column) if f"`{word}`" not in page} == set()


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(DOCS)}: {link}"
        for page in sorted(DOCS.rglob("*.md"))
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
        if not (page.parent / link).exists()
    ]
    assert broken == []
