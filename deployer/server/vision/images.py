"""Pictures from strangers: decoded within limits, upright, as RGB, and laid out as tensors.

Pillow alone. A picture is refused, never half used, when it is not one of the usual formats, is broken or
cut short, or has more pixels than a scan or photo needs; its header is checked before a pixel is decoded.
"""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from deployer.server.errors import BadInput, Words
from deployer.server.fields import Body, bytes_field
from deployer.server.signature import Array

MAX_PIXELS = 40_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff")
FIELD: dict[str, Any] = {
    "description": "PNG, JPEG, WebP, GIF, BMP or TIFF",
    "x-accepts": list(MEDIA_TYPES),
    "anyOf": [
        {
            "type": "object",
            "required": ["base64"],
            "properties": {"base64": {"type": "string", "contentEncoding": "base64"}},
        },
        {"type": "string", "contentEncoding": "base64"},
    ],
}

_EXPECTED = Words(
    f"a PNG, JPEG, WebP, GIF, BMP or TIFF picture of at most {MAX_PIXELS // 1_000_000} million pixels",
    f"PNG、JPEG、WebP、GIF、BMP 或 TIFF 图片，至多 {MAX_PIXELS // 10_000} 万像素",
)


def image_field(body: Body, name: str = "image") -> Image.Image:
    """The picture in a field of a body."""
    return decode(bytes_field(body, name), name)


def decode(data: bytes, where: str = "image") -> Image.Image:
    """A file's first picture, upright by its EXIF, on white where transparent, as RGB; raises BadInput."""
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        why = Words("has far too many pixels", "像素太多")
        raise BadInput(where, why, _EXPECTED) from error
    except Exception as error:  # Pillow's plug-ins raise anything on a hostile header
        raise BadInput(where, Words("is not a picture", "不是图片"), _EXPECTED) from error
    width, height = picture.size
    if width * height > MAX_PIXELS or width * height == 0:
        why = Words(f"has {width} × {height} pixels", f"有 {width} × {height} 像素")
        raise BadInput(where, why, _EXPECTED)
    try:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return _flatten(picture)
    except Exception as error:  # as above, and cut-short or corrupt pixel data
        raise BadInput(where, Words("is a broken picture", "图片已损坏"), _EXPECTED) from error


def _flatten(picture: Image.Image) -> Image.Image:
    """Any mode as RGB: 16 bits scaled to 8, transparency laid on white."""
    if picture.mode.startswith("I") or picture.mode == "F":
        pixels = np.asarray(picture, dtype=np.float32)
        eight_bits = not picture.mode.startswith("I;") and pixels.min() >= 0 and pixels.max() <= 255
        top = 255.0 if eight_bits else 65535.0
        scaled = np.clip(np.nan_to_num(pixels) / top * 255.0, 0, 255).astype(np.uint8)
        return Image.fromarray(scaled).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGB", layer.size, "white")
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def resize_short(
    picture: Image.Image, short: int, crop: tuple[int, int], how: Image.Resampling
) -> Image.Image:
    """The centre `crop` (height, width) of the picture scaled to the short side `short`.

    Done in one step from the source, so that a very long picture is never scaled up as a whole.
    """
    width, height = picture.size
    scale = short / min(width, height)
    high, wide = (min(side, short) for side in crop)
    left, top = (width - wide / scale) / 2, (height - high / scale) / 2
    box = (max(left, 0.0), max(top, 0.0), min(left + wide / scale, width), min(top + high / scale, height))
    return picture.resize((crop[1], crop[0]), how, box=box)


def tensor(
    picture: Image.Image,
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    scale: float = 1 / 255,
    channels: str = "RGB",
    layout: str = "NCHW",
) -> Array:
    """float32 [1, 3, h, w] or [1, h, w, 3]: (pixel × scale - mean) / std in the order of `channels`.

    A grey picture has one channel.
    """
    pixels = np.asarray(picture, dtype=np.float32)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if channels == "BGR":
        pixels = pixels[:, :, ::-1]
    factor = np.float32(scale) / np.asarray(std, np.float32)
    shift = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    values = (pixels * factor - shift)[None]
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if layout == "NCHW" else values)


def multiple_of(size: float, step: int) -> int:
    """The nearest multiple of a step, at least one step."""
    return max(step, math.floor(size / step + 0.5) * step)
