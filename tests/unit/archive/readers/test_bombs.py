"""Files that declare or unpack far more than they are: refused, in little memory."""

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from reprocess.archive.readers.reader import load_reader
from reprocess.errors import UnreadableFrame

MEMORY_MB = 400
"""What reading any one of these may add; the largest image allowed is 300 MB."""


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, data, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )  # fmt: skip


def zeros(megabytes):
    """A zlib stream of so many megabytes of zeros: a thousandth of them long."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(megabytes)), packer.flush()])


def tiff_deflate(width, height, megabytes):
    """A TIFF of one strip that unpacks to more than it should."""
    strip = zeros(megabytes)
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, height), (279, 4, len(strip)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\x00" + struct.pack("<I", 8 + len(strip)) + strip + directory


def npy_header(text):
    body = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


def jpeg_declaring(width, height):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(stream, "JPEG")
    data = bytearray(stream.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


BOMBS = {
    "png-declares-much": ("still", lambda: png(60_000, 60_000, zlib.compress(b""))),
    "png-unpacks-to-more": ("still", lambda: png(32, 32, zeros(600))),
    "png-text-bomb": (
        "still",
        lambda: png(32, 32, zlib.compress(bytes(97 * 32)),
                    chunk(b"zTXt", b"a\0\0" + zeros(600))),
    ),
    "png-profile-bomb": (
        "still",
        lambda: png(32, 32, zlib.compress(bytes(97 * 32)),
                    chunk(b"iCCP", b"a\0\0" + zeros(600))),
    ),
    "png-as-large-as-allowed-and-empty": ("still", lambda: png(10_000, 10_000, zlib.compress(b""))),
    "jpeg-declares-much": ("still", lambda: jpeg_declaring(65_500, 65_500)),
    "jpeg-as-large-as-allowed": ("still", lambda: jpeg_declaring(10_000, 10_000)),
    "tiff-declares-much": ("still", lambda: tiff_deflate(60_000, 60_000, 1)),
    "tiff-unpacks-to-more": ("still", lambda: tiff_deflate(32, 32, 600)),
    "npy-declares-much": (
        "npy",
        lambda: npy_header(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999, 99999999, 3)}"),
    ),
    "npy-shape-overflows": (
        "npy",
        lambda: npy_header(
            "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 3)}"),
    ),
}  # fmt: skip

CHILD = """
import json, resource, sys
from reprocess.archive.readers.reader import load_reader
from reprocess.errors import UnreadableFrame

names, found = sys.argv[1:], {}
readers = {name.split(":")[0]: load_reader(name.split(":")[0]) for name in names}
for name in names:
    reader, _, path = name.partition(":")
    data = open(path, "rb").read()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        said = str(readers[reader].read(data).shape)
    except UnreadableFrame as error:
        said = f"refused: {error}"
    found[path] = (said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(json.dumps(found))
"""


@pytest.mark.timeout(300)
def test_no_file_takes_more_memory_than_the_largest_image(tmp_path):
    """Read in a process of their own, whose peak of memory is its own."""
    arguments = {}
    for name, (reader, make) in BOMBS.items():
        path = tmp_path / name
        path.write_bytes(make())
        arguments[name] = f"{reader}:{path}"

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD, *arguments.values()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    found = {path.rpartition("/")[2]: result for path, result in json.loads(done.stdout).items()}
    for name, (said, grown_kb) in found.items():
        # libpng steps over a text or profile that is too long: the pixels are the frame.
        whole = name in ("png-text-bomb", "png-profile-bomb", "png-unpacks-to-more",
                         "tiff-unpacks-to-more")  # fmt: skip
        assert said.startswith("refused: ") or (whole and said == "(32, 32, 3)"), (name, said)
        assert grown_kb < MEMORY_MB * 1024, (name, grown_kb)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (4, 4, 3)}",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (4, 4, 3)}",
        "-" * 9000 + "1",
        "(" * 9000,
        "[" * 300 + "]" * 300,
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-4, -4, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, True, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': ('4', 4, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': ()}",
        "{'descr': 3, 'fortran_order': False, 'shape': (4, 4, 3)}",
        "{'descr': '|u1', 'fortran_order': 7, 'shape': (4, 4, 3)}",
        "__import__('os').system('true')",
        "1 is 1",
        "\x00",
        "",
    ],
)
def test_a_header_that_no_one_writes_is_refused(text):
    with pytest.raises(UnreadableFrame):
        load_reader("npy").read(npy_header(text))


@pytest.mark.parametrize("reader", ["still", "npy"])
@pytest.mark.parametrize(
    "data", [b"PK\x03\x04" + bytes(99), b"\x1f\x8b\x08" + bytes(99), b"\x80\x04cos\nsystem\n."]
)
def test_archives_and_pickles_are_no_images(reader, data):
    with pytest.raises(UnreadableFrame):
        load_reader(reader).read(data)
