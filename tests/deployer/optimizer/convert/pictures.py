"""Real photographs with known content, out of scikit-image's wheel."""

import io
import zipfile
from functools import cache

from PIL import Image

from catalog.importers.packages import fetch_archive
from tests.deployer.server.pipelines.test_image_to_text import SCAN
from tests.shelf_files import cache_dir


@cache
def picture(name: str) -> Image.Image:
    """One of the wheel's pictures as RGB: astronaut.png, chelsea.png (a cat), coffee.png, rocket.jpg …"""
    with (
        zipfile.ZipFile(fetch_archive(SCAN, cache_dir())) as wheel,
        wheel.open(f"skimage/data/{name}") as file,
    ):
        return Image.open(io.BytesIO(file.read())).convert("RGB")
