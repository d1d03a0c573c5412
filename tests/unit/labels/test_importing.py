"""The same drawing in four formats gives the same labelled set."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from reprocess.cli import main
from reprocess.errors import ConfigurationError
from reprocess.labels import AURORA, BACKGROUND, UNJUDGED, read_labels
from reprocess.labels.importing.importer import (
    Meaning,
    import_labels,
    origin_by_name,
    origin_by_table,
)
from reprocess.labels.labelled import assumed_camera

NAME = "JBS_20210601_105330.png"
EMPTY = "JBS_20210601_105430.png"
HEIGHT, WIDTH = 48, 64
AURORA_BOX, FAINT_BOX = (10, 20, 30, 32), (6, 16, 34, 40)
"""x0, y0, x1, y1: whole pixels from x0 to before x1."""
ORIGIN = origin_by_name("JBS_%Y%m%d_%H%M%S.png", "jbs", "sony")


def corners(box: tuple[int, int, int, int]) -> list[list[float]]:
    x0, y0, x1, y1 = map(float, box)
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for name in (NAME, EMPTY):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    return folder


def expected() -> np.ndarray:
    codes = np.zeros((HEIGHT, WIDTH), np.uint8)
    for (x0, y0, x1, y1), code in ((FAINT_BOX, UNJUDGED), (AURORA_BOX, AURORA)):
        codes[y0:y1, x0:x1] = code
    return codes


def labelme(folder: Path, shapes: list[dict[str, object]] | None = None) -> Path:
    drawn = [
        {"label": "aurora", "shape_type": "polygon", "points": corners(AURORA_BOX)},
        {"label": "faint_edge", "shape_type": "rectangle", "points": corners(FAINT_BOX)[::2]},
    ]
    for name, listed in ((NAME, drawn if shapes is None else shapes), (EMPTY, [])):
        document = {
            "imagePath": f"../images/{name}", "imageHeight": HEIGHT, "imageWidth": WIDTH,
            "shapes": listed,
        }  # fmt: skip
        folder.mkdir(exist_ok=True)
        (folder / name).with_suffix(".json").write_text(json.dumps(document))
    return folder


def coco(path: Path) -> Path:
    x0, y0, x1, y1 = FAINT_BOX
    faint = np.zeros((HEIGHT, WIDTH), bool)
    faint[y0:y1, x0:x1] = True
    runs = np.diff(np.flatnonzero(np.diff(faint.T.ravel(), prepend=0, append=0)))
    first = int(np.flatnonzero(faint.T.ravel())[0])
    counts = [first, *runs.tolist()]
    document = {
        "images": [
            {"id": 1, "file_name": NAME, "height": HEIGHT, "width": WIDTH},
            {"id": 2, "file_name": EMPTY, "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [{"id": 1, "name": "aurora"}, {"id": 2, "name": "faint_edge"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0,
             "segmentation": [np.ravel(corners(AURORA_BOX)).tolist()]},
            {"id": 2, "image_id": 1, "category_id": 2, "iscrowd": 1,
             "segmentation": {"size": [HEIGHT, WIDTH],
                              "counts": [*counts, HEIGHT * WIDTH - sum(counts)]}},
        ],
    }  # fmt: skip
    path.write_text(json.dumps(document))
    return path


def cvat(path: Path) -> Path:
    x0, y0, x1, y1 = FAINT_BOX
    points = ";".join(f"{x},{y}" for x, y in corners(AURORA_BOX))
    path.write_text(
        f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version>
<image id="0" name="{NAME}" width="{WIDTH}" height="{HEIGHT}">
<mask label="faint_edge" rle="0, {(x1 - x0) * (y1 - y0)}" left="{x0}" top="{y0}"
 width="{x1 - x0}" height="{y1 - y0}" z_order="0"/>
<polygon label="aurora" points="{points}" z_order="1"/></image>
<image id="1" name="{EMPTY}" width="{WIDTH}" height="{HEIGHT}"/></annotations>"""
    )
    return path


def painted(folder: Path) -> Path:
    folder.mkdir()
    values = (expected() // 127).astype(np.uint8)
    palette = Image.new("P", (WIDTH, HEIGHT))
    palette.putpalette([0, 0, 0, 90, 200, 90, 250, 250, 250])
    palette.putdata(values.ravel().tolist())
    palette.save(folder / NAME)
    Image.new("1", (WIDTH, HEIGHT)).save(folder / EMPTY)
    return folder


@pytest.mark.parametrize("kind", ["labelme", "coco", "cvat", "masks"])
def test_four_formats_one_set(tmp_path: Path, images: Path, kind: str) -> None:
    source = {
        "labelme": lambda: labelme(tmp_path / "json"),
        "coco": lambda: coco(tmp_path / "instances.json"),
        "cvat": lambda: cvat(tmp_path / "annotations.xml"),
        "masks": lambda: painted(tmp_path / "painted"),
    }[kind]()
    meaning = Meaning(aurora=("2",), unjudged=("1",)) if kind == "masks" else Meaning()
    found = import_labels(
        kind, source, tmp_path / "set", ORIGIN, meaning=meaning, images=images
    )  # fmt: skip
    assert (found.images, found.with_aurora) == (2, 1)
    labels = read_labels(tmp_path / "set", 48, cameras={"sony": assumed_camera(WIDTH, HEIGHT)})
    np.testing.assert_array_equal(labels.mask[0], expected()[:, 8:56])
    assert not labels.mask[1].any()
    assert labels.time[0] == np.datetime64("2021-06-01T10:53:30")
    copied = tmp_path / "set/images" / NAME
    assert copied.read_bytes() == (images / NAME).read_bytes()


def test_labelme_finds_its_images_and_reads_circles_and_brushed_masks(
    tmp_path: Path, images: Path
) -> None:
    part = np.zeros((5, 7), np.uint8)
    part[1:4, 2:6] = 1
    png = base64.b64encode(cv2.imencode(".png", part)[1].tobytes()).decode()
    shapes = [
        {"label": "aurora", "shape_type": "circle", "points": [[32, 24], [32, 34]]},
        {"label": "aurora", "shape_type": "mask", "points": [[1, 2], [7, 6]], "mask": png},
        {"label": "background", "shape_type": "polygon", "points": corners((30, 20, 34, 26))},
    ]
    import_labels("labelme", labelme(tmp_path / "json", shapes), tmp_path / "set", ORIGIN)
    mask = cv2.imread(str(tmp_path / "set/masks" / NAME), cv2.IMREAD_UNCHANGED)
    y, x = np.indices(mask.shape) + 0.5
    away = np.hypot(x - 32, y - 24)
    assert (mask[away < 9.3] == AURORA).mean() > 0.9
    assert (mask[20:26, 30:34] == BACKGROUND).all()
    assert not mask[(away > 10.7) & (x > 9)].any()
    np.testing.assert_array_equal(mask[2:7, 1:8] > 0, part > 0)
    assert images.is_dir()


@pytest.mark.parametrize("told", [True, False])
def test_images_that_nobody_labelled_are_counted_and_named(
    tmp_path: Path, images: Path, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(7):
        (images / f"new_{n}.JPG").write_bytes((images / NAME).read_bytes())
    (images / "notes.txt").write_text("not an image")
    where = ["--images", str(images)] if told else []
    arguments = ["--station", "JBS", "--pattern", "JBS_%Y%m%d_%H%M%S.png"]
    source, target = str(labelme(tmp_path / "json")), str(tmp_path / "set")
    assert main(["labels", "import", "labelme", source, target, *where, *arguments]) == 0
    out = capsys.readouterr().out
    assert "2 images, 1 with aurora" in out
    assert "7 images beside those: new_0.JPG" in out
    assert "new_5.JPG" not in out


def test_a_table_tells_times_cameras_and_conditions(tmp_path: Path, images: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(
        "image,time,station,camera,moon\n"
        f"{NAME},2021-06-01T10:53:35Z,jbs,a,0.5\n{EMPTY},2021-06-01T10:54:35Z,jbs,b,\n"
    )
    origin, conditions = origin_by_table(table)
    import_labels(
        "coco", coco(tmp_path / "c.json"), tmp_path / "set", origin, conditions=conditions,
        images=images,
    )  # fmt: skip
    labels = read_labels(tmp_path / "set", 48)
    assert labels.camera.tolist() == ["a", "b"]
    np.testing.assert_array_equal(labels.conditions["moon"], [0.5, np.nan])
    table.write_text("image,time,station,camera\n" + f"{NAME},2021-06-01T10:53:35Z,jbs,a\n")
    with pytest.raises(ConfigurationError, match=f"has no line for image {EMPTY}"):
        import_labels(
            "coco", tmp_path / "c.json", tmp_path / "other", origin_by_table(table)[0],
            images=images,
        )  # fmt: skip


def test_what_cannot_be_right_is_refused_by_name(tmp_path: Path, images: Path) -> None:
    def attempt(shape: dict[str, object]) -> None:
        folder = tmp_path / "again"
        import_labels("labelme", labelme(tmp_path / "json", [shape]), folder, ORIGIN)

    for shape, message in [
        ({"label": "star", "points": corners(AURORA_BOX)}, "label 'star'.*has no meaning"),
        ({"label": "aurora", "points": [[1, 1], [2, 2]]}, "shape 1: found 2 points"),
        ({"label": "aurora", "shape_type": "line", "points": [[1, 1], [2, 2]]}, "with an area"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            attempt(shape)
        (tmp_path / "again/images").rmdir()
        (tmp_path / "again/masks").rmdir()
    (images / NAME).write_bytes((images / EMPTY).read_bytes()[:60])
    with pytest.raises(ConfigurationError, match=r"truncated|corrupt"):
        attempt({"label": "aurora", "points": corners(AURORA_BOX)})


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (HEIGHT, WIDTH)), "is 48 x 64 pixels, but .* labels 64 x 48"),
        (None, "no such image, although .* labels it"),
    ],
)
def test_an_image_of_another_size_or_none_is_refused(
    tmp_path: Path, images: Path, picture: Image.Image | None, message: str
) -> None:
    (images / NAME).unlink()
    if picture is not None:
        picture.save(images / NAME)
    with pytest.raises(ConfigurationError, match=message):
        import_labels("labelme", labelme(tmp_path / "json"), tmp_path / "set", ORIGIN)


def test_an_image_that_programs_show_turned_is_refused(tmp_path: Path, images: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    Image.new("RGB", (WIDTH, HEIGHT)).save(images / NAME, exif=exif)
    with pytest.raises(ConfigurationError, match="orientation tag 3"):
        import_labels("labelme", labelme(tmp_path / "json"), tmp_path / "set", ORIGIN)


def test_a_name_without_its_time_is_refused(tmp_path: Path, images: Path) -> None:
    origin = origin_by_name("%Y%m%d_%H%M%S.png", "jbs", "sony")
    with pytest.raises(ConfigurationError, match="does not match the pattern"):
        import_labels("coco", coco(tmp_path / "c.json"), tmp_path / "set", origin, images=images)
