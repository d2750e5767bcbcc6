"""Pages of Chinese reports with titles, text, figures, tables, captions, and where each stands."""

import random
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw

from tests.samples.photos import photographs
from tests.samples.pictures import FACES, font, jpeg, worn
from tests.samples.texts import chinese_sentences
from tests.samples.writing import Made

Box = tuple[int, int, int, int]
_EDGE = 56


@dataclass
class Page:
    """A page under way: the next thing is drawn at `top` between `left` and `right`."""

    picture: Image.Image
    chance: random.Random
    left: int
    right: int
    top: int = _EDGE + 24
    regions: list[dict[str, Any]] = field(default_factory=list)

    def add(self, label: str, box: Box) -> None:
        """Note what stands in a box."""
        self.regions.append({"label": label, "box": list(box)})

    @property
    def draw(self) -> ImageDraw.ImageDraw:
        """What draws on the picture."""
        return ImageDraw.Draw(self.picture)

    def text(
        self, label: str, lines: list[str], size: int, *, bold: bool = False, middle: bool = False
    ) -> None:
        """Lines below one another, as one region."""
        face = font(size, FACES[1 if bold else 0])
        boxes: list[tuple[float, float, float, float]] = []
        for line in lines:
            spare = int(self.right - self.left - face.getlength(line)) // 2 if middle else 0
            place = (self.left + spare, self.top)
            self.draw.text(place, line, font=face, fill=(20, 20, 20))
            boxes.append(self.draw.textbbox(place, line, font=face))
            self.top += int(size * 1.55)
        left, right = min(box[0] for box in boxes), max(box[2] for box in boxes)
        self.add(label, (round(left), round(boxes[0][1]), round(right), round(boxes[-1][3])))
        self.top += size


def reports(rows: int, seed: int) -> list[Made]:
    """{"image", "label": [{"label", "box": [x0, y0, x1, y1] in pixels}]}: 608 × 800 to 912 × 1200."""
    chance = random.Random(seed)
    return [_report(chance) for _ in range(rows)]


def _report(chance: random.Random) -> Made:
    scale = chance.uniform(1.0, 1.5)
    size = (round(608 * scale), round(800 * scale))
    picture = Image.new("RGB", size, (chance.randint(235, 255),) * 3)
    page = Page(picture, chance, _EDGE, size[0] - _EDGE)
    unit = chance.randint(12, 15)
    page.text("title", ["".join(_words(chance, 8, 16))], unit + 9, bold=True, middle=True)
    parts = ["paragraph", *chance.choices(("paragraph", "heading", "figure", "table"), k=8)]
    for part in parts:
        if page.top > size[1] - _EDGE - 14 * unit:
            break
        _PARTS[part](page, unit)
    file = jpeg(worn(picture, chance, most=0.15), chance)
    return Made({"label": page.regions}, {"image": file})


def _words(chance: random.Random, least: int, most: int) -> str:
    text = "".join(c for c in "".join(chance.sample(chinese_sentences(), 6)) if c.isalpha())
    return text[: chance.randint(least, most)]


def _heading(page: Page, unit: int) -> None:
    page.top += unit
    number = page.chance.randint(1, 9)
    page.text("title", [f"{number}. {_words(page.chance, 5, 12)}"], unit + 4, bold=True)
    _paragraph(page, unit)


def _paragraph(page: Page, unit: int) -> None:
    wide = (page.right - page.left) // unit
    text = "　　" + "".join(page.chance.sample(chinese_sentences(), 14))
    count = page.chance.randint(3, 6)
    lines = [text[place : place + wide] for place in range(0, wide * count, wide)]
    lines[-1] = lines[-1][: page.chance.randint(wide // 3, wide)]
    page.text("text", lines, unit)


def _figure(page: Page, unit: int) -> None:
    high = page.chance.randint(9, 13) * unit
    picture = page.chance.choice(photographs())
    wide = min(page.right - page.left, round(high * picture.width / picture.height))
    left = page.left + (page.right - page.left - wide) // 2
    page.picture.paste(picture.resize((wide, high)), (left, page.top))
    page.add("figure", (left, page.top, left + wide, page.top + high))
    page.top += high + unit // 2
    caption = f"图 {page.chance.randint(1, 20)}　{_words(page.chance, 5, 14)}"
    page.text("figure_caption", [caption], unit - 1, middle=True)


def _table(page: Page, unit: int) -> None:
    caption = f"表 {page.chance.randint(1, 20)}　{_words(page.chance, 5, 14)}"
    page.text("table_caption", [caption], unit - 1, middle=True)
    page.top -= unit // 2
    rows, columns = page.chance.randint(4, 6), page.chance.randint(3, 5)
    step, wide = round(unit * 1.8), (page.right - page.left) // columns
    box = (page.left, page.top, page.left + wide * columns, page.top + step * rows)
    face = font(unit - 1)
    for row in range(rows + 1):
        page.draw.line((box[0], page.top + row * step, box[2], page.top + row * step), fill=(60, 60, 60))
    for column in range(columns + 1):
        page.draw.line((box[0] + column * wide, box[1], box[0] + column * wide, box[3]), fill=(60, 60, 60))
    for row in range(rows):
        for column in range(columns):
            head = row == 0 or column == 0
            text = _words(page.chance, 2, 4) if head else f"{page.chance.uniform(0, 9999):.1f}"
            place = (box[0] + column * wide + 6, page.top + row * step + unit // 3)
            page.draw.text(place, text, font=face, fill=(20, 20, 20))
    page.add("table", box)
    page.top = box[3] + unit


_PARTS = {"heading": _heading, "paragraph": _paragraph, "figure": _figure, "table": _table}
