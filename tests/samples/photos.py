"""Photographs: pieces of the pictures that scikit-image and scikit-learn carry, in other light."""

import io
import random
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageEnhance, ImageOps

from catalog.importers.packages import Archive, Member, fetch_archive, unpack
from deployer.server.predictor import Predictor, finish, load
from tests.samples.writing import Made
from tests.shelf_files import cache_dir, model_dir

SKIMAGE = Archive(
    registry="pypi",
    package="scikit-image",
    version="0.25.2",
    file="scikit_image-0.25.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    size=14785376,
    sha256="24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
)
_PHOTOS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "camera.png",
    "ihc.png",
    "retina.jpg",
    "hubble_deep_field.jpg",
    "horse.png",
    "coins.png",
    "brick.png",
    "grass.png",
    "gravel.png",
    "moon.png",
)
_SKLEARN = ("china.jpg", "flower.jpg")
_PERSONS = ("astronaut.png", "camera.png")
_WARM = ("chelsea.png", "coffee.png", "motorcycle_left.png", "camera.png", "horse.png", "moon.png")
_SIDE = 256
_TRIED = 6  # pictures for each one that is kept


@cache
def photographs() -> list[Image.Image]:
    """The pictures whole, as RGB."""
    folder = cache_dir() / "members" / SKIMAGE.sha256[:12] / "photos"
    members = [Member(f"skimage/data/{name}", folder / name, None, None) for name in _PHOTOS]
    if not all(member.out.exists() for member in members):
        unpack(fetch_archive(SKIMAGE, cache_dir()), members)
    paths = [member.out for member in members]
    paths += [Path(sysconfig.get_path("purelib")) / "sklearn/datasets/images" / name for name in _SKLEARN]
    return [Image.open(path).convert("RGB") for path in paths]


def crops(rows: int, seed: int) -> list[Made]:
    """{"image"} without a truth: half of them as they come, half of those that the shelf's model doubts.

    None of the photographs is what that model looks for; among a few times as many in the colours of skin
    are the ones that it is least sure of. Where all is plain, no variant would ever disagree.
    """
    chance = random.Random(seed)
    plain = [_file(altered(piece(chance.choice(photographs()), chance), chance), chance) for _ in range(rows)]
    model = load(model_dir("nsfw-open"), threads=2)
    doubted = [_file(piece(_flesh(chance.choice(_WARM)), chance), chance) for _ in range(_TRIED * rows // 2)]
    doubted.sort(key=lambda data: -_score(model, data))
    model.close()
    picked = [*plain[: rows - rows // 2], *doubted[: rows // 2]]
    chance.shuffle(picked)
    return [Made({}, {"image": (data, "jpg")}) for data in picked]


def scenes(rows: int, seed: int) -> list[Made]:
    """{"image"} without a truth: large parts of the photographs that show a thing."""
    return _pieces([*photographs()[:6], *photographs()[-2:]], rows, seed, least=0.6)


def people(rows: int, seed: int) -> list[Made]:
    """{"image"} without a truth: three in four with a person."""
    persons = [photographs()[_PHOTOS.index(name)] for name in _PERSONS]
    return _pieces([*persons * (len(photographs()) * 3 // len(persons)), *photographs()], rows, seed)


def _pieces(whole: Sequence[Image.Image], rows: int, seed: int, least: float = 0.25) -> list[Made]:
    chance = random.Random(seed)
    made = []
    for _ in range(rows):
        data = _file(altered(piece(chance.choice(whole), chance, least), chance), chance)
        made.append(Made({}, {"image": (data, "jpg")}))
    return made


def _file(picture: Image.Image, chance: random.Random) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=chance.randint(60, 95))
    return buffer.getvalue()


def _score(model: Predictor, data: bytes) -> float:
    results = finish(model.predict({"image": data}))["results"]
    return max(float(result["score"]) for result in results if result["label"] == "nsfw")


@cache
def _flesh(name: str) -> Image.Image:
    """A photograph in the colours of skin."""
    grey = ImageOps.autocontrast(photographs()[_PHOTOS.index(name)].convert("L"))
    return ImageOps.colorize(grey, (70, 30, 20), (250, 205, 180), mid=(200, 135, 105))


def piece(picture: Image.Image, chance: random.Random, least: float = 0.25) -> Image.Image:
    """A part of a picture, at least that share of its sides long, at the size that networks take."""
    share = chance.uniform(least, 1.0)
    width, height = (max(32, round(side * share)) for side in picture.size)
    left, top = chance.randint(0, picture.width - width), chance.randint(0, picture.height - height)
    part = picture.crop((left, top, left + width, top + height))
    return part.resize((_SIDE, max(64, round(_SIDE * height / width))), Image.Resampling.BILINEAR)


def altered(picture: Image.Image, chance: random.Random) -> Image.Image:
    """In other light, colours and contrast, perhaps mirrored, a little turned."""
    if chance.random() < 0.5:
        picture = ImageOps.mirror(picture)
    picture = picture.rotate(chance.uniform(-15, 15), Image.Resampling.BILINEAR)
    for change in (ImageEnhance.Brightness, ImageEnhance.Color, ImageEnhance.Contrast):
        picture = change(picture).enhance(chance.uniform(0.6, 1.5))
    return picture
