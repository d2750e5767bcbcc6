"""Reading text: the shelf's models on invoices, turned pages, single lines, a real scan and on nothing."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from catalog.importers.packages import Archive, Member, fetch_archive, unpack
from deployer.examples import check
from deployer.server.errors import BadInput
from deployer.server.pipelines.image_to_text import TextReader, decode_ctc
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import RunningServer, Serve
from tests.deployer.server.pipelines.examples import body, example_file, examples
from tests.shelf_files import cache_dir, model_dir

LISTING = "ocr-ppocrv6-small"
ZH = ["增值税电子普通发票", "发票号码：044032100111", "开票日期：2026年07月18日"]
SCAN = Archive(
    registry="pypi",
    package="scikit-image",
    version="0.25.2",
    file="scikit_image-0.25.2-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    size=14785376,
    sha256="24cc986e1f4187a12aa319f777b36008764e856e5013666a4a83f8df083c2641",
)
SCANNED = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
]


@pytest.fixture(scope="module")
def reader() -> TextReader:
    found = load(model_dir(LISTING), threads=2)
    assert isinstance(found, TextReader)
    return found


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir(LISTING), threads=2)


def invoice() -> Image.Image:
    return Image.open(io.BytesIO(example_file(LISTING, "invoice-zh.png"))).convert("RGB")


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("example", examples(LISTING), ids=lambda e: e["title_en"])
def test_the_server_answers_its_examples(server: RunningServer, example: dict) -> None:
    assert check(server.predict(example["request"]), example["expect"]) == []


def test_a_file_may_be_posted_as_a_form(server: RunningServer) -> None:
    files = {"image": ("invoice.png", example_file(LISTING, "invoice-en.png"), "image/png")}
    answer = server.client.post("/predict", files=files)
    assert answer.status_code == 200, answer.text
    assert "Total due: USD 1,280.00" in answer.json()["text"].split("\n")


def test_the_protocol_takes_the_file_and_gives_the_answer_as_bytes(reader: TextReader) -> None:
    given_bytes = np.array([example_file(LISTING, "invoice-zh.png")], dtype=object)
    (result,) = finish(reader.infer({"image": given_bytes}, ["result"]))["result"]
    assert json.loads(result)["lines"][0]["text"] == ZH[0]
    assert [str(spec) for spec in reader.inputs] == ["image BYTES [1]"]


def test_lines_come_in_reading_order_with_their_places(reader: TextReader) -> None:
    answer = finish(reader.predict({"image": example_file(LISTING, "invoice-zh.png")}))
    texts = [line["text"] for line in answer["lines"]]
    assert texts[:3] == ZH
    assert texts[5:9] == ["货物名称", "数量", "单价", "金额"]
    assert answer["text"] == "\n".join(texts)
    (x0, y0), (x1, _), (_, y1), _ = answer["lines"][0]["box"]
    assert 200 < x0 < 240 < 480 < x1 < 520 and 15 < y0 < 35 < 45 < y1 < 65


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_turned_page_is_read_all_the_same(reader: TextReader, angle: int) -> None:
    answer = finish(reader.predict({"image": png(invoice().rotate(angle, expand=True))}))
    texts = [line["text"] for line in answer["lines"]]
    assert set(ZH) <= set(texts)
    if angle == 180:
        assert texts[:3] == ZH


@pytest.mark.parametrize("angle", [-8, 5])
def test_a_crooked_page_is_read_and_boxes_follow_its_slant(reader: TextReader, angle: int) -> None:
    turned = invoice().rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    answer = finish(reader.predict({"image": png(turned)}))
    assert set(ZH) <= {line["text"] for line in answer["lines"]}
    line = next(line for line in answer["lines"] if line["text"] == ZH[2])
    slope = np.subtract(line["box"][1], line["box"][0])
    assert np.degrees(np.arctan2(-slope[1], slope[0])) == pytest.approx(angle, abs=2)


@pytest.mark.parametrize("wide", [0, 1500])
def test_a_single_line_is_read_however_narrow_its_picture(reader: TextReader, wide: int) -> None:
    line = invoice().crop((36, 116, 360, 148))
    strip = Image.new("RGB", (line.width + wide, line.height), "white")
    strip.paste(line)
    assert finish(reader.predict({"image": png(strip)}))["text"] == ZH[2]


def test_a_real_scan_is_read(reader: TextReader, tmp_path: Path) -> None:
    scan = tmp_path / "page.png"
    unpack(fetch_archive(SCAN, cache_dir()), [Member("skimage/data/page.png", scan, None, None)])
    assert finish(reader.predict({"image": scan.read_bytes()}))["text"].split("\n")[:6] == SCANNED


@pytest.mark.parametrize("size", [(1, 1), (300, 200), (3, 2000)])
def test_an_empty_picture_has_no_lines(reader: TextReader, size: tuple[int, int]) -> None:
    assert finish(reader.predict({"image": png(Image.new("RGB", size, "white"))})) == {
        "text": "",
        "lines": [],
    }


def test_noise_is_no_text(reader: TextReader) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (200, 300, 3), np.uint8)
    lines = finish(reader.predict({"image": png(Image.fromarray(pixels))}))["lines"]
    assert len(lines) <= 2


def test_unsure_lines_are_left_out(reader: TextReader) -> None:
    data = example_file(LISTING, "invoice-zh.png")
    every = finish(reader.predict({"image": data, "min_score": 0}))["lines"]
    sure = finish(reader.predict({"image": data, "min_score": 0.99}))["lines"]
    assert 0 < len(sure) < len(every)
    with pytest.raises(BadInput) as refused:
        finish(reader.predict({"image": data, "min_score": 2}))
    assert refused.value.where == "min_score"


def test_what_is_no_picture_is_refused_in_the_readers_language(server: RunningServer) -> None:
    problem = server.refuse(body("image", b"not a picture"), "zh-CN")
    assert "不是图片" in problem["detail"]
    assert server.refuse({"image": {"base64": "%%%"}})["code"] == problem["code"]


@given(st.lists(st.integers(1, 9), max_size=12), st.data())
def test_ctc_gives_back_what_was_spelt(labels: list[int], data: st.DataObject) -> None:
    steps: list[int] = []
    for label in labels:
        blanks = data.draw(st.integers(1 if steps and steps[-1] == label else 0, 2))
        steps += [0] * blanks + [label] * data.draw(st.integers(1, 3))
    scores = np.full((len(steps) + 1, 10), 0.01)
    scores[np.arange(len(steps)), steps] = 0.9
    scores[-1, 0] = 0.9
    text, score = decode_ctc(scores, list("_abcdefghi"))
    assert text == "".join("_abcdefghi"[label] for label in labels)
    assert score == pytest.approx(0.9 if labels else 0.0)
