"""Pictures of every kind decode to upright RGB; hostile ones are refused and nothing else."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deployer.server.errors import BadInput
from deployer.server.vision.images import decode, resize_short, tensor


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large and has next to nothing in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def left_red() -> Image.Image:
    picture = Image.new("RGB", (40, 20), "blue")
    picture.paste("red", (0, 0, 20, 20))
    return picture


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_keeps_size_and_colours(form: str) -> None:
    found = decode(encoded(left_red(), form))
    assert (found.mode, found.size) == ("RGB", (40, 20))
    red, blue = np.array(found.getpixel((5, 10))), np.array(found.getpixel((35, 10)))
    assert np.abs(red - [255, 0, 0]).max() < 12
    assert np.abs(blue - [0, 0, 255]).max() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    grey = Image.new("L", (8, 8), 255)
    if mode == "I;16":
        picture = Image.fromarray(np.full((8, 8), 65535, np.uint16))
    else:
        picture = grey.convert("RGB" if mode == "CMYK" else "L").convert(mode)
    found = decode(encoded(picture, "TIFF" if mode in ("CMYK", "F") else "PNG"))
    assert found.mode == "RGB"
    assert found.getpixel((3, 3)) == (255, 255, 255)


def test_transparent_parts_are_white() -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    palette = Image.new("P", (4, 4), 0)
    assert decode(encoded(picture)).getpixel((1, 1)) == (255, 255, 255)
    assert decode(encoded(palette, transparency=0)).getpixel((1, 1)) == (255, 255, 255)


def test_dark_sixteen_bit_pixels_stay_dark() -> None:
    picture = Image.fromarray(np.full((8, 8), 200, np.uint16))
    assert decode(encoded(picture)).getpixel((0, 0)) == (0, 0, 0)


def test_a_photo_stands_upright_by_its_exif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held clockwise: the file lies on its side
    found = decode(encoded(left_red(), "JPEG", exif=exif))
    assert found.size == (20, 40)
    assert found.getpixel((10, 3))[0] > 200


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello, this is text", "is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a picture"),
        (b"\x89PNG\r\n\x1a\n", "is not a picture"),
        (png_header(60_000, 60_000), "has far too many pixels"),
        (png_header(8_000, 8_000), "has 8000 × 8000 pixels"),
        (png_header(300, 300), "is a broken picture"),
        (encoded(left_red(), "JPEG")[:-20], "is a broken picture"),
        (encoded(left_red(), "PPM"), "is not a picture"),
    ],
)
def test_what_is_no_good_picture_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(BadInput) as refused:
        decode(data)
    assert refused.value.where == "image"
    assert refused.value.why.en == why
    assert "PNG" in refused.value.expected.zh


@given(
    st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=12),
    st.floats(0.1, 1),
)
@settings(max_examples=200, deadline=None)
def test_damaged_files_decode_or_are_refused(
    form: str, changes: list[tuple[float, int]], kept: float
) -> None:
    data = bytearray(encoded(left_red(), form))
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    try:
        assert decode(bytes(data[: int(len(data) * kept)])).mode == "RGB"
    except BadInput as refused:
        assert refused.where == "image"


def test_a_very_long_picture_is_cropped_before_it_is_scaled() -> None:
    strip = Image.new("RGB", (30_000, 2), "green")
    found = resize_short(strip, 256, (224, 224), Image.Resampling.BILINEAR)
    assert found.size == (224, 224)


def test_the_short_side_then_the_centre() -> None:
    picture = Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))).convert("RGB")
    whole = picture.resize((240, 120), Image.Resampling.BILINEAR).crop((70, 10, 170, 110))
    found = resize_short(picture, 120, (100, 100), Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(found, int) - np.asarray(whole, int)).max() <= 1


def test_tensors_are_normalised_in_the_order_of_their_channels() -> None:
    picture = Image.new("RGB", (3, 2), (255, 102, 0))
    first = tensor(picture, mean=(0.5, 0.4, 0), std=(0.5, 1, 1))
    assert first.shape == (1, 3, 2, 3)
    assert np.allclose(first[0, :, 0, 0], [1, 0, 0], atol=1e-6)
    second = tensor(picture, mean=(1, 2, 3), scale=1, channels="BGR", layout="NHWC")
    assert second.shape == (1, 2, 3, 3)
    assert second[0, 0, 0].tolist() == [-1, 100, 252]
