"""The labelled set on disk: what is written comes back, what is wrong is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from reprocess.archive.frames import prepare
from reprocess.campaign import CameraEpoch
from reprocess.errors import ConfigurationError
from reprocess.labels import AURORA, UNJUDGED, LabelWriter, read_index, read_labels, set_digest
from reprocess.labels.labelled import assumed_camera

NOON = datetime(2021, 6, 1, 12, 0, 30, tzinfo=UTC)


def picture(seed: int, height: int = 64, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = np.zeros((height, width), np.uint8)
    mask[8:24, 16:40] = AURORA
    mask[24:28, 16:40] = UNJUDGED
    return image, mask


def write(folder: Path, n: int = 3, **cameras: CameraEpoch) -> Path:
    with LabelWriter(folder, ("moon", "form"), cameras) as labels:
        for i in range(n):
            image, mask = picture(i)
            labels.add(
                image, mask, time=NOON + timedelta(minutes=i), station="jbs", camera="a",
                conditions={"moon": i / 2, "form": ["arc", None, "patch"][i % 3]},
            )  # fmt: skip
    return folder


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "set"), 64)
    for i in range(3):
        image, mask = picture(i)
        np.testing.assert_array_equal(labels.image[i], image)
        np.testing.assert_array_equal(labels.mask[i], mask)
    assert labels.time.tolist() == [datetime(2021, 6, 1, 12, i, 30) for i in range(3)]
    assert set(labels.station) == {"jbs"}
    np.testing.assert_array_equal(labels.conditions["moon"], [0, 0.5, 1])
    assert labels.conditions["form"].tolist() == ["arc", "", "patch"]
    assert labels.assumed == {"a"}


def test_the_same_set_has_the_same_bytes_and_digest_another_pixel_another_one(
    tmp_path: Path,
) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    for path in sorted(one.rglob("*.*")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()
    whole = read_labels(one, 64)
    assert whole.digest == read_labels(two, 64, rows=np.array([1])).digest
    assert whole.digest == set_digest(one)
    mask = cv2.imread(str(two / "masks/000002.png"), cv2.IMREAD_UNCHANGED)
    mask[0, 0] = AURORA
    cv2.imwrite(str(two / "masks/000002.png"), mask)
    assert whole.digest != read_labels(two, 64, rows=np.array([1])).digest


def test_rows_are_selected_before_anything_is_decoded(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    (folder / "images/000000.png").write_bytes(b"no image")
    labels = read_labels(folder, 64, rows=np.array([2, 1]))
    assert labels.name.tolist() == ["images/000002.png", "images/000001.png"]
    np.testing.assert_array_equal(labels.image[0], picture(2)[0])
    with pytest.raises(ConfigurationError, match=r"images/000000\.png.*not a JPEG"):
        read_labels(folder, 64)


def test_images_are_fitted_as_the_frames_store_fits_them(tmp_path: Path) -> None:
    epoch = CameraEpoch.model_validate(
        {
            **assumed_camera(100, 80).model_dump(),
            "crop": {"left_px": 5, "top_px": -4, "size_px": 88},
        }
    )
    image, mask = picture(0, 80, 100)
    with LabelWriter(tmp_path / "set") as writer:
        writer.add(image, mask, time=NOON, station="s", camera="c", epoch=epoch)
    labels = read_labels(tmp_path / "set", 32)
    np.testing.assert_array_equal(labels.image[0], prepare(image, epoch, 32))
    assert labels.cameras == {"c": epoch}
    assert not labels.assumed
    # 88 stored pixels become 32: 2.75 a pixel. Row 8 of the image is row 12 of the crop, so
    # processed row 4 (crop 11 to 13.75) is aurora by 1.75 / 2.75 and row 3 not at all; rows
    # 24 to 28, unjudged, are crop 28 to 32: row 10 (27.5 to 30.25) and half of 11.
    column = labels.mask[0, :, 8]
    assert np.flatnonzero(column == AURORA).tolist() == [4, 5, 6, 7, 8, 9]
    assert np.flatnonzero(column == UNJUDGED).tolist() == [10, 11]


def test_a_camera_of_which_nothing_is_known_is_the_middle_square(tmp_path: Path) -> None:
    image, mask = picture(0, 64, 96)
    with LabelWriter(tmp_path / "set") as writer:
        writer.add(image, mask, time=NOON, station="s", camera="c")
    labels = read_labels(tmp_path / "set", 64)
    np.testing.assert_array_equal(labels.image[0], image[:, 16:80])
    np.testing.assert_array_equal(labels.mask[0], mask[:, 16:80])


def test_times_are_utc(tmp_path: Path) -> None:
    east = timezone(timedelta(hours=3))
    with LabelWriter(tmp_path / "set") as writer:
        for time in (NOON, NOON.astimezone(east) + timedelta(microseconds=5)):
            writer.add(*picture(0), time=time, station="s", camera="c")
    lines = (tmp_path / "set/index.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines[1:]] == [
        "2021-06-01T12:00:30Z", "2021-06-01T12:00:30.000005Z",
    ]  # fmt: skip
    assert read_index(tmp_path / "set").time[0] == np.datetime64("2021-06-01T12:00:30")


def test_an_error_while_writing_leaves_no_index(tmp_path: Path) -> None:
    def fails() -> None:
        with LabelWriter(tmp_path / "set") as writer:
            writer.add(*picture(0), time=NOON, station="s", camera="c")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    with pytest.raises(ConfigurationError, match="expected the index of a labelled set"):
        read_index(tmp_path / "set")
    with pytest.raises(ConfigurationError, match="new or empty folder"):
        LabelWriter(tmp_path / "set")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("image,mask", "picture,mask"), "expected each once and among them image, mask, time"),
        (("masks/000001.png", "../masks/000001.png"), "line 3: mask: .*inside the set's folder"),
        (("masks/000001.png", "/etc/passwd"), "line 3: mask: .*inside the set's folder"),
        (("2021-06-01T12:01:30Z", "yesterday"), "line 3: time: found 'yesterday', expected ISO"),
        (("jbs,a,0.5", "jbs"), "line 3: expected 7 values"),
        (("images/000001.png", "images/000000.png"), "images/000000.png: found twice"),
    ],
)  # fmt: skip
def test_a_wrong_index_is_refused_by_line(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    index = write(tmp_path / "set") / "index.csv"
    index.write_text(index.read_text().replace(*change))
    with pytest.raises(ConfigurationError, match=message):
        read_index(tmp_path / "set")


def test_a_wrong_mask_is_refused_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 1)
    path = folder / "masks/000000.png"
    for pixels, message in [
        (np.full((64, 64), 7, np.uint8), "found the value 7, expected 0"),
        (np.zeros((64, 60), np.uint8), "found 60 x 64 pixels, expected its image's 64 x 64"),
        (np.zeros((64, 64, 3), np.uint8), "expected a grey PNG of 8 bits"),
    ]:
        cv2.imwrite(str(path), pixels)
        with pytest.raises(ConfigurationError, match=message):
            read_labels(folder, 64)
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"masks/000000\.png: cannot be read"):
        read_labels(folder, 64)


def test_a_camera_may_leave_out_when_it_holds_and_says_which_key_is_wrong(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 1)
    text = (
        '{"a": {"image_width_px": 64, "image_height_px": 64, "crop": {"left_px": 0, "top_px": 0, '
        '"size_px": 64}, "lens": {"model": "equal-area", "center_x_px": 31.5, "center_y_px": 31.5, '
        '"north_deg": 10, "east": "left", "focal_px": 22}}}'
    )
    (folder / "cameras.json").write_text(text)
    labels = read_labels(folder, 64)
    assert labels.cameras["a"].lens.model == "equal-area"
    (folder / "cameras.json").write_text(text.replace("focal_px", "focus_px"))
    with pytest.raises(ConfigurationError, match=r"cameras\.json: a: lens.*focal_px"):
        read_labels(folder, 64)


def test_a_sixteen_bit_image_needs_its_cameras_levels(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", 1)
    deep = np.full((64, 64, 3), 2100, np.uint16)
    cv2.imwrite(str(folder / "images/000000.png"), deep)
    with pytest.raises(ConfigurationError, match="found 16 bits; expected 8, or black_level"):
        read_labels(folder, 64)
    epoch = assumed_camera(64, 64).model_copy(update={"black_level": 100.0, "white_level": 4100.0})
    labels = read_labels(folder, 64, cameras={"a": epoch})
    assert np.unique(labels.image).tolist() == [128]
