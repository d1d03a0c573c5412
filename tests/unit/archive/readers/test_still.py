"""Still images: modes, depths, damage and declared sizes."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from reprocess.archive.readers.still import StillReader
from reprocess.errors import UnreadableFrame

SCENE = np.random.default_rng(7).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def _encode(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _refusal(data):
    with pytest.raises(UnreadableFrame) as refused:
        StillReader().read(data)
    return str(refused.value)


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width, height, bits, colour, pixels):
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(pixels)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk_at(data, kind):
    return data.index(kind) - 4


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_alpha_is_dropped_not_blended(form):
    alpha = np.zeros((24, 32, 1), np.uint8)
    data = _encode(Image.fromarray(np.concatenate([SCENE, alpha], axis=2)), form)
    assert np.array_equal(StillReader().read(data), SCENE)


def test_grey_with_alpha():
    grey = SCENE[:, :, 0]
    image = Image.fromarray(np.stack([grey, 255 - grey], axis=2), "LA")
    found = StillReader().read(_encode(image, "PNG"))
    assert np.array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("options", [{}, {"transparency": 0}, {"transparency": bytes(range(64))}])
def test_palette_becomes_its_colours(options):
    palette = Image.fromarray(SCENE).quantize(64)
    expected = np.array(palette.convert("RGB"))
    assert np.array_equal(StillReader().read(_encode(palette, "PNG", **options)), expected)


def test_one_bit_is_black_and_white():
    bits = Image.fromarray(SCENE[:, :, 0] > 127)
    found = StillReader().read(_encode(bits, "PNG"))
    assert np.array_equal(found[:, :, 1], np.where(SCENE[:, :, 0] > 127, 255, 0))


@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_16_bit_png_keeps_its_depth(colour):
    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    pixel = struct.pack(">4H", 1, 258, 65535, 9)[: 2 * samples]
    found = StillReader().read(_png(4, 3, 16, colour, (b"\x00" + pixel * 4) * 3))
    assert found.dtype == np.uint16
    assert found[2, 3].tolist() == ([1, 1, 1] if samples < 3 else [1, 258, 65535])


def test_16_bit_tiff_keeps_its_depth():
    counts = SCENE[:, :, 0].astype(np.uint16) * 257
    found = StillReader().read(_encode(Image.fromarray(counts), "TIFF"))
    assert np.array_equal(found, np.repeat(counts[:, :, None], 3, axis=2))


def test_float_tiff_is_refused():
    image = Image.fromarray(SCENE[:, :, 0].astype(np.float32))
    assert _refusal(_encode(image, "TIFF")) == "32-bit images are not read by 'still'"


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_refused(form):
    data = _encode(Image.fromarray(SCENE).convert("CMYK"), form)
    assert _refusal(data) == "CMYK images are not read by 'still'"


def test_multi_page_tiff_is_refused_with_the_number():
    pages = [Image.fromarray(SCENE)] * 3
    data = _encode(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert _refusal(data) == "TIFF holds 3 images, expected one"


def test_animated_png_is_refused_with_the_number():
    frames = [Image.fromarray(SCENE), Image.fromarray(255 - SCENE)]
    data = _encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert _refusal(data) == "PNG holds 2 images, expected one"


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_png_crc_is_checked_in_every_chunk(kind):
    data = bytearray(_encode(Image.fromarray(SCENE), "PNG"))
    length = struct.unpack_from(">I", data, _chunk_at(data, kind))[0]
    data[_chunk_at(data, kind) + 8 + length] ^= 1
    assert _refusal(bytes(data)) == f"corrupt PNG: CRC of its {kind.decode()} chunk does not match"


def test_png_with_too_few_pixels_in_sound_chunks_is_refused():
    row = b"\x00" + bytes(range(96))
    whole = _png(32, 24, 8, 2, row * 24)
    assert StillReader().read(whole).shape == (24, 32, 3)
    assert "corrupt PNG" in _refusal(_png(32, 24, 8, 2, row * 23))


def test_bytes_after_the_end_of_an_image_change_nothing():
    for form in ("JPEG", "PNG"):
        data = _encode(Image.fromarray(SCENE), form)
        whole = StillReader().read(data)
        assert np.array_equal(StillReader().read(data + b"camera log\n"), whole)


def test_jpeg_cut_and_given_an_end_marker_is_refused_never_half_grey():
    data = _encode(Image.fromarray(SCENE), "JPEG")
    start = data.index(b"\xff\xda") + 14
    for cut in range(start, len(data) - 4):
        _refusal(data[:cut] + b"\xff\xd9")


def test_jpeg_with_a_hole_filled_by_zeros_is_refused():
    """What a crashed disk or a broken transfer leaves: right length, zeros at the end."""
    data = _encode(Image.fromarray(SCENE), "JPEG")
    for cut in range(len(data) // 2, len(data), 7):
        _refusal(data[:cut] + bytes(len(data) - cut))


def test_jpeg_uses_the_exact_transform():
    """The integer DCT; Pillow's libjpeg default is the same."""
    smooth = Image.fromarray(SCENE).resize((320, 240), Image.Resampling.BICUBIC)
    data = _encode(smooth, "JPEG", quality=80)
    expected = np.array(Image.open(io.BytesIO(data)))
    assert np.array_equal(StillReader().read(data), expected)


def test_orientation_tag_is_not_applied():
    exif = Image.Exif()
    exif[274] = 6
    data = _encode(Image.fromarray(SCENE), "JPEG", exif=exif)
    assert StillReader().read(data).shape == SCENE.shape


def _jpeg_declaring(width, height):
    data = bytearray(_encode(Image.fromarray(SCENE), "JPEG"))
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, height, width)
    return bytes(data)


def _tiff_declaring(width, height):
    data = bytearray(_encode(Image.fromarray(SCENE), "TIFF"))
    order = "<" if data[:2] == b"II" else ">"
    offset = struct.unpack_from(order + "I", data, 4)[0]
    for index in range(struct.unpack_from(order + "H", data, offset)[0]):
        at = offset + 2 + 12 * index
        tag = struct.unpack_from(order + "H", data, at)[0]
        if tag in (256, 257):
            struct.pack_into(order + "HII", data, at + 2, 4, 1, width if tag == 256 else height)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (_jpeg_declaring(65500, 65500), "65500 x 65500"),
        (_png(100_000, 100_000, 8, 2, b""), "100000 x 100000"),
        (_tiff_declaring(70_000, 60_000), "70000 x 60000"),
        (_png(10_001, 10_000, 8, 0, b""), "10001 x 10000"),
    ],
    ids=["jpeg", "png", "tiff", "just-above"],
)
def test_declared_size_is_refused_before_decoding(data, size, monkeypatch):
    def decode(*_args, **_options):
        raise AssertionError("decoded")

    monkeypatch.setattr("simplejpeg.decode_jpeg", decode)
    monkeypatch.setattr("reprocess.archive.readers.still._read_png", decode)
    monkeypatch.setattr("reprocess.archive.readers.still._read_tiff", decode)
    reason = _refusal(data)
    assert size in reason
    assert "100 million" in reason


@pytest.mark.parametrize("data", [_png(0, 10, 8, 2, b""), _tiff_declaring(0, 24)])
def test_an_image_without_pixels_is_refused(data):
    assert "declares an image of 0 x" in _refusal(data)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_whose_pixels_end_early_is_refused(compression):
    data = _encode(Image.fromarray(SCENE), "TIFF", compression=compression)
    assert np.array_equal(StillReader().read(data), SCENE)
    for cut in range(8, len(data), 5):
        assert _refusal(data[:cut])


def test_tiff_directories_in_a_loop_are_refused():
    data = bytearray(_encode(Image.fromarray(SCENE), "TIFF"))
    order = "<" if data[:2] == b"II" else ">"
    offset = struct.unpack_from(order + "I", data, 4)[0]
    count = struct.unpack_from(order + "H", data, offset)[0]
    struct.pack_into(order + "I", data, offset + 2 + 12 * count, offset)
    assert _refusal(bytes(data)) == "corrupt TIFF: its directories form a loop"


def test_formats_that_pillow_knows_but_we_do_not_are_refused():
    for form in ("BMP", "GIF", "PPM"):
        assert "not a JPEG, PNG or TIFF" in _refusal(_encode(Image.fromarray(SCENE), form))


def _interlaced(n_rows):
    """Adam7 of a 8 x 8 grey image; whole with the 15 rows of its seven passes."""
    widths = [1, 1, 2, 2, 2, 4, 4, 4, 4, 4, 4, 8, 8, 8, 8]
    rows = b"".join(b"\x00" + bytes([200] * width) for width in widths[:n_rows])
    data = _png(8, 8, 8, 0, rows)
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    return data[:8] + _chunk(b"IHDR", header) + data[33:]


def test_interlaced_png_is_read_whole_or_refused():
    assert np.all(StillReader().read(_interlaced(15)) == 200)
    for rows in range(15):
        assert "corrupt PNG" in _refusal(_interlaced(rows))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_shallow_grey_is_scaled_to_the_full_range(bits):
    row = b"\x00" + bytes([0b00011011]) if bits != 4 else b"\x00" + bytes([0x0F])
    width = 8 // bits
    found = StillReader().read(_png(width, 1, bits, 0, row))[0, :, 0].tolist()
    expected = {1: [0, 0, 0, 255, 255, 0, 255, 255], 2: [0, 85, 170, 255], 4: [0, 255]}
    assert found == expected[bits]


def test_gamma_and_orientation_chunks_do_not_change_the_pixels():
    data = _encode(Image.fromarray(SCENE), "PNG")
    exif = Image.Exif()
    exif[274] = 6
    body = exif.tobytes().removeprefix(b"Exif\x00\x00")
    extra = _chunk(b"gAMA", struct.pack(">I", 100_000)) + _chunk(b"eXIf", body)
    assert np.array_equal(StillReader().read(data[:33] + extra + data[33:]), SCENE)


def test_tiff_with_too_few_pixels_in_a_sound_container_is_refused():
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        data = bytearray(_encode(Image.fromarray(SCENE[:12]), "TIFF", compression=compression))
        offset = struct.unpack_from("<I", data, 4)[0]
        for index in range(struct.unpack_from("<H", data, offset)[0]):
            at = offset + 2 + 12 * index
            if struct.unpack_from("<H", data, at)[0] in (257, 278):
                struct.pack_into("<HII", data, at + 2, 4, 1, 24)
        assert "TIFF" in _refusal(bytes(data)), compression


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_of_a_tiff_is_not_applied(orientation):
    data = _encode(Image.fromarray(SCENE), "TIFF", tiffinfo={274: orientation})
    assert np.array_equal(StillReader().read(data), SCENE)
