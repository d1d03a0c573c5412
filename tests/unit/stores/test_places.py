"""Places that cannot be a store are refused before anything is done."""

import errno
import os

import pytest

from reprocess.errors import ConfigurationError
from reprocess.stores.objects import open_objects


def test_a_file_is_no_store(tmp_path):
    path = tmp_path / "cube.nc"
    path.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"cube\.nc: found a file, expected a directory"):
        open_objects(str(path))


def test_a_path_that_is_not_utf8_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigurationError, match=r"d.udcf6.*expected a name in UTF-8"):
        open_objects(os.fsdecode(os.fsencode(tmp_path) + b"/d\xf6"))


@pytest.mark.parametrize("write", [lambda o: o.write("a/b", b""), lambda o: o.create("a/b", b"")])
def test_a_store_that_cannot_be_made_is_refused_by_name(tmp_path, write):
    (tmp_path / "file").write_bytes(b"")
    objects = open_objects(str(tmp_path / "file" / "store"))
    with pytest.raises(ConfigurationError, match=r"file/store: cannot be made \(Not a directory"):
        write(objects)


@pytest.mark.parametrize("write", [lambda o: o.write("a/b", b""), lambda o: o.create("a/b", b"")])
def test_a_full_disk_is_told_with_the_object(tmp_path, monkeypatch, write):
    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    objects = open_objects(str(tmp_path))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a/b'"):
        write(objects)
