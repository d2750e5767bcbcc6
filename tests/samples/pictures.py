"""Pictures of text: lines and small pages to be read, and pages that were laid on the scanner turned.

Drawn with the Noto CJK fonts: sizes, weights, ink and paper differ, pages lie a little askew, are blurred,
grainy and squeezed through JPEG, so that a reader is not always right.
"""

import io
import random
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests.samples.texts import chinese_sentences, english_lines
from tests.samples.writing import Made, Missing

FACES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJK-Bold.ttc",
    "NotoSerifCJK-Regular.ttc",
    "NotoSerifCJK-Bold.ttc",
)
_SIMPLIFIED = 2  # the index of simplified Chinese in Noto's collections
TURNS = {
    "0": None,
    "90": Image.Transpose.ROTATE_270,
    "180": Image.Transpose.ROTATE_180,
    "270": Image.Transpose.ROTATE_90,
}
Font = ImageFont.FreeTypeFont


@cache
def font(size: int, face: str = FACES[0]) -> Font:
    """A Noto CJK font; raises Missing when it is not installed."""
    try:
        return ImageFont.truetype(face, size, index=_SIMPLIFIED)
    except OSError as error:
        raise Missing(f"the font {face} (Debian: fonts-noto-cjk)") from error


def lines(rows: int, seed: int) -> list[Made]:
    """{"image", "label": text}: one to three lines in a picture, Chinese or English."""
    chance = random.Random(seed)
    made = []
    for _ in range(rows):
        count = chance.choice((1, 1, 1, 1, 2, 3))
        texts = chance.sample(chinese_sentences() if chance.random() < 0.75 else english_lines(), count)
        picture = block(texts, chance)
        made.append(Made({"label": "\n".join(texts)}, {"image": jpeg(worn(picture, chance), chance)}))
    return made


def block(texts: list[str], chance: random.Random) -> Image.Image:
    """Lines below one another, black or coloured on light paper."""
    face = font(chance.choice((13, 16, 18, 22, 28)), chance.choice(FACES))
    boxes = [face.getbbox(text) for text in texts]
    high = int(max(box[3] for box in boxes) * chance.uniform(1.25, 1.8))
    edge = chance.randint(high // 2, high)
    size = (int(max(box[2] for box in boxes)) + 2 * edge, high * len(texts) + 2 * edge)
    paper, ink = chance.randint(190, 255), chance.randint(0, 90)
    tint = tuple(paper - chance.randint(0, 25) for _ in range(3))
    picture = Image.new("RGB", size, tint)
    draw = ImageDraw.Draw(picture)
    for number, text in enumerate(texts):
        colour = tuple(ink + chance.randint(0, 30) for _ in range(3))
        draw.text((edge, edge + number * high), text, font=face, fill=colour)
    return picture


def worn(picture: Image.Image, chance: random.Random, *, most: float = 1.0) -> Image.Image:
    """Askew by up to 2 degrees, blurred and grainy; `most` scales the damage."""
    corner = picture.getpixel((0, 0))
    angle = chance.uniform(-2, 2) * most
    picture = picture.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=corner)
    if chance.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(chance.uniform(0.3, 1.5) * most))
    grain = np.random.default_rng(chance.getrandbits(32)).normal(
        0, chance.uniform(0, 30) * most, (*picture.size[::-1], 1)
    )
    pixels = np.asarray(picture, np.float32) + grain
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def jpeg(picture: Image.Image, chance: random.Random) -> tuple[bytes, str]:
    """The picture's file, at a quality of 40 to 90."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=chance.randint(40, 90))
    return buffer.getvalue(), "jpg"


def turned(rows: int, seed: int) -> list[Made]:
    """{"image", "label": 0 | 90 | 180 | 270}: pieces of pages, by how far they were turned clockwise."""
    chance = random.Random(seed)
    made = []
    for number in range(rows):
        label = list(TURNS)[number % 4]
        picture = worn(paragraph(chance), chance, most=0.6)
        turn = TURNS[label]
        picture = picture if turn is None else picture.transpose(turn)
        made.append(Made({"label": label}, {"image": jpeg(picture, chance)}))
    chance.shuffle(made)
    return made


def paragraph(chance: random.Random) -> Image.Image:
    """A piece of a page, 240 to 400 pixels a side, filled with lines that run over its edges."""
    chinese = chance.random() < 0.6
    source = chinese_sentences() if chinese else english_lines()
    size = (chance.randint(240, 400), chance.randint(240, 400))
    face = font(chance.choice((13, 16, 20, 26)), chance.choice(FACES))
    picture = Image.new("RGB", size, (chance.randint(215, 255),) * 3)
    draw = ImageDraw.Draw(picture)
    step = int(face.size * chance.uniform(1.3, 2.0))
    left, right = chance.randint(4, 40), size[0] - chance.randint(4, 40)
    top, bottom = chance.randint(4, size[1] // 3), size[1] - chance.randint(4, size[1] // 3)
    ink = (chance.randint(0, 90),) * 3
    for place in range(top, bottom - int(face.size), step):
        text = ("" if chinese else " ").join(chance.sample(source, 3))
        while text and face.getlength(text) > right - left:
            text = text[: int(len(text) * min(0.97, (right - left) / face.getlength(text)))]
        if chance.random() < 0.2:  # the end of a paragraph
            text = text[: len(text) // 2]
        draw.text((left, place), text, font=face, fill=ink)
    return picture
