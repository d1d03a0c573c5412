"""Only plain files of a sane size are read, whatever a name leads to."""

import pytest
from odd_files import make_odd

from reprocess.archive.files import FILE_BYTES_MAX, ArchiveBytes
from reprocess.archive.regular import read_regular
from reprocess.campaign import Archive
from reprocess.errors import UnreadableFrame


@pytest.fixture
def archive(tmp_path):
    return ArchiveBytes(Archive(url=str(tmp_path), pattern="%Y%m%d_%H%M%S.npy"))


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pipe", "is a named pipe"),
        ("socket", "is a socket"),
        ("device", "is a device"),
        ("circle", "Too many levels"),
        ("nowhere", "No such file"),
        ("directory", "is a directory"),
        ("huge", "has 1099511627776 bytes, more than the 301 MB allowed"),
        ("below a file", "Not a directory"),
    ],
)
@pytest.mark.timeout(20)
def test_what_is_no_plain_file_is_an_unreadable_frame(archive, tmp_path, kind, says):
    found = make_odd(tmp_path / "f.npy", kind)
    name = "f.npy" + ("/frame.npy" if found.name == "frame.npy" else "")

    with pytest.raises(UnreadableFrame, match=says):
        archive.read(name)


def test_a_link_to_a_plain_file_is_read(archive, tmp_path):
    (tmp_path / "here").write_bytes(b"image")
    (tmp_path / "f.npy").symlink_to("here")

    assert archive.read("f.npy") == b"image"


def test_a_file_that_grows_while_it_is_read_is_cut_off(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 101)

    with pytest.raises(UnreadableFrame, match="more than"):
        read_regular(path, 100)
    assert read_regular(path, 101) == b"x" * 101


def test_the_largest_image_allowed_fits():
    assert FILE_BYTES_MAX > 3 * 100_000_000
