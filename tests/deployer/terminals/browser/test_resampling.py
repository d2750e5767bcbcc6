"""Pictures are resized in the browser to the same pixels as by Pillow."""

import json
import random
import subprocess

import numpy as np
import pytest
from PIL import Image

from deployer.optimizer.targets.players import node
from deployer.server.vision.images import resize_short
from deployer.terminals.browser.site import STATIC

SCRIPT = """
import { resize } from "%s";
const asked = JSON.parse(await new Response(process.stdin).text());
const image = ({ hex, ...told }) => ({ ...told, data: Buffer.from(hex, "hex") });
const made = asked.map(({ picture, size, filter, box }) =>
  Buffer.from(resize(image(picture), size[0], size[1], filter, box).data).toString("hex"));
console.log(JSON.stringify(made));
"""
SIZES = ((64, 48), (7, 5), (200, 33), (1, 1), (640, 3), (97, 101))


def in_node(asked: list[dict[str, object]]) -> list[bytes]:
    program = node()
    assert program is not None
    script = SCRIPT % (STATIC / "vision" / "resample.js").as_uri()
    done = subprocess.run(
        [program, "--input-type=module", "-e", script],
        input=json.dumps(asked).encode(),
        capture_output=True,
        check=True,
    )
    return [bytes.fromhex(each) for each in json.loads(done.stdout)]


def noise(width: int, height: int, channels: int, seed: int) -> Image.Image:
    """Pixels of all values, so that filters that overshoot do so."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return Image.fromarray(np.random.default_rng(seed).choice([0, 1, 127, 254, 255], shape).astype(np.uint8))


def plain(picture: Image.Image) -> dict[str, object]:
    channels = len(picture.getbands())
    return {
        "width": picture.width,
        "height": picture.height,
        "channels": channels,
        "hex": picture.tobytes().hex(),
    }


@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_the_same_pixels(filter: str) -> None:
    how, chance = Image.Resampling[filter.upper()], random.Random(filter)
    asked, expected = [], []
    for number, (width, height) in enumerate(SIZES):
        for channels in (1, 3):
            picture = noise(width, height, channels, number)
            size = (chance.randint(1, 150), chance.randint(1, 150))
            left, top = chance.random() * width / 2, chance.random() * height / 2
            box = (left, top, left + width / 2, top + height / 2)
            for taken in (box, (0, 0, width, height)):
                asked.append({"picture": plain(picture), "size": size, "filter": filter, "box": taken})
                expected.append(picture.resize(size, how, box=taken).tobytes())
    assert in_node(asked) == expected


def test_one_side_alone() -> None:
    picture = noise(40, 30, 3, 9)
    asked = [
        {"picture": plain(picture), "size": size, "filter": "bilinear", "box": (0, 0, 40, 30)}
        for size in ((40, 11), (11, 30), (40, 30))
    ]
    wanted = [picture.resize(each["size"], Image.Resampling.BILINEAR).tobytes() for each in asked]  # type: ignore[arg-type]
    assert in_node(asked) == wanted  # type: ignore[arg-type]


def test_the_box_of_a_short_side() -> None:
    """What `resize_short` hands to Pillow, written out as the browser's script does."""
    picture = noise(301, 173, 3, 2)
    scale = 64 / 173
    left, top = (301 - 56 / scale) / 2, (173 - 56 / scale) / 2
    box = (left, top, left + 56 / scale, top + 56 / scale)
    asked = [{"picture": plain(picture), "size": (56, 56), "filter": "lanczos", "box": box}]
    assert in_node(asked) == [resize_short(picture, 64, (56, 56), Image.Resampling.LANCZOS).tobytes()]  # type: ignore[arg-type]
