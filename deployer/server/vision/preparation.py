"""How a picture becomes what a graph takes, read from the options of a model.

- `scale`, `mean`, `std`: (pixel × scale - mean) / std, in the order of `channels` (RGB, BGR or L for grey).
- `layout`: NCHW or NHWC.

The names of Hugging Face's preprocessor_config.json (image_mean, image_std, rescale_factor, size, crop_size,
resample, do_…) are understood too, in the options or in a file `preprocessor`; ours prevail.
"""

import math
from typing import Any

import numpy as np
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.model import Model
from deployer.server.options import one_of
from deployer.server.signature import Array, TensorSpec
from deployer.server.vision.images import tensor

FILTERS = {name.lower(): Image.Resampling[name] for name in ("NEAREST", "BILINEAR", "BICUBIC", "LANCZOS")}
_DTYPES = {"FP32": np.float32, "FP16": np.float16, "FP64": np.float64, "UINT8": np.uint8}
_HF_NAMES = {"image_mean": "mean", "image_std": "std", "rescale_factor": "scale"}
_HF_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
_WARPED = 384  # from this size on, processors with a crop_pct resize without a crop


class Pixels:
    """A graph's input for pictures, and how pictures of its size are laid out for it."""

    def __init__(self, options: dict[str, Any], spec: TensorSpec, **defaults: Any) -> None:
        if len(spec.shape) != 4 or spec.datatype not in _DTYPES:
            raise BadModel(f"the graph takes {spec}, not a picture")
        self.layout = one_of(options, "layout", ("NCHW", "NHWC"))
        self.channels = one_of(options, "channels", ("RGB", "BGR", "L"))
        self._dtype = _DTYPES[spec.datatype]
        own = spec.shape[2:] if self.layout == "NCHW" else spec.shape[1:3]
        self.size: tuple[int, int] = (own[0], own[1])  # height and width, -1 where free
        count = 1 if self.channels == "L" else 3
        if spec.shape[1 if self.layout == "NCHW" else 3] not in (-1, count):
            raise BadModel(f"the graph takes {spec}, not {self.layout} with the channels {self.channels}")
        plain = {"mean": (0.0,) * count, "std": (1.0,) * count, **defaults}
        self.mean = _numbers({**plain, **options}, "mean", count)
        self.std = _numbers({**plain, **options}, "std", count)
        if 0.0 in self.std:
            raise BadModel("options.std holds a zero")
        self.scale = float(options.get("scale", 1.0 if self._dtype is np.uint8 else 1 / 255))

    def __call__(self, picture: Image.Image) -> Array:
        """[1, channels, h, w] or [1, h, w, channels] of the graph's own dtype."""
        if self.channels == "L":
            picture = picture.convert("L")
        values = tensor(
            picture,
            mean=self.mean,
            std=self.std,
            scale=self.scale,
            channels=self.channels,
            layout=self.layout,
        )
        if self._dtype is np.uint8:
            values = np.clip(np.rint(values), 0, 255)
        return values.astype(self._dtype, copy=False)


def picture_options(model: Model) -> dict[str, Any]:
    """The options of a model for pictures, Hugging Face's names in them told in ours too."""
    given = {**(model.json("preprocessor") if model.has("preprocessor") else {}), **model.options}
    made = {ours: given[theirs] for theirs, ours in _HF_NAMES.items() if theirs in given}
    if given.get("do_rescale") is False:
        made["scale"] = 1
    if given.get("do_normalize") is False:
        made = {name: value for name, value in made.items() if name not in ("mean", "std")}
    if given.get("resample") in _HF_FILTERS:
        made["filter"] = _HF_FILTERS[given["resample"]]
    told = "resize" in given or "resize_short" in given or "size" not in given
    if not told and given.get("do_resize") is not False:
        made |= _resizing(given["size"], given.get("crop_pct"))
    if given.get("do_center_crop") and "crop_size" in given:
        made["crop"] = _sides(given["crop_size"], "crop_size")
    return {**made, **given}


def _resizing(size: Any, share: Any) -> dict[str, Any]:
    """`resize`, or `resize_short` with `crop`, for Hugging Face's size and crop_pct."""
    edge = size.get("shortest_edge") if isinstance(size, dict) else None
    if edge is None:
        return {"resize": _sides(size, "size")}
    if share is None:
        return {"resize_short": edge}
    if edge >= _WARPED:
        return {"resize": [edge, edge]}
    return {"resize_short": math.floor(edge / share), "crop": edge}


def _sides(size: Any, name: str) -> list[int]:
    if isinstance(size, dict) and set(size) >= {"height", "width"}:
        return [size["height"], size["width"]]
    if isinstance(size, int):
        return [size, size]
    raise BadModel(f"{name} is {size!r}, not a height and width or one shortest edge")


def _numbers(options: dict[str, Any], name: str, count: int) -> tuple[float, ...]:
    """One number for each channel, or one for all."""
    value = options[name]
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) == 1:
        values *= count
    if len(values) != count or not all(isinstance(one, int | float) and math.isfinite(one) for one in values):
        raise BadModel(f"options.{name} is {value!r}, not one number or {count}")
    return tuple(float(one) for one in values)
