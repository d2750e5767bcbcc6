"""Layout of pages: the shelf's model on a report, turned sizes and blank paper."""

import io

import numpy as np
import pytest
from PIL import Image

from deployer.examples import check
from deployer.server.errors import BadInput
from deployer.server.predictor import Predictor, finish, load
from tests.deployer.server.conftest import Serve
from tests.deployer.server.pipelines.examples import example_file, examples
from tests.shelf_files import model_dir

LISTING = "doc-layout-cdla"


@pytest.fixture(scope="module")
def model() -> Predictor:
    return load(model_dir(LISTING), threads=2)


def test_the_server_answers_its_examples(serve: Serve) -> None:
    server = serve(model_dir(LISTING))
    for example in examples(LISTING):
        assert check(server.predict(example["request"]), example["expect"]) == [], example["title_en"]


def test_boxes_are_in_the_pictures_own_pixels(model: Predictor) -> None:
    page = Image.open(io.BytesIO(example_file(LISTING, "report.png")))
    buffer = io.BytesIO()
    page.resize((page.width * 2, page.height * 3), Image.Resampling.BICUBIC).save(buffer, "PNG")
    small = finish(model.predict({"image": example_file(LISTING, "report.png")}))
    large = finish(model.predict({"image": buffer.getvalue()}))
    assert (large["width"], large["height"]) == (1216, 2400)
    assert [r["label"] for r in large["regions"]] == [r["label"] for r in small["regions"]]
    for one, other in zip(small["regions"], large["regions"], strict=True):
        assert np.allclose(np.array(one["box"]) * [2, 3, 2, 3], other["box"], atol=25)


def test_a_stricter_score_leaves_fewer_regions(model: Predictor) -> None:
    data = example_file(LISTING, "report.png")
    assert finish(model.predict({"image": data, "min_score": 1}))["regions"] == []
    assert len(finish(model.predict({"image": data, "min_score": 0.1}))["regions"]) >= 6
    with pytest.raises(BadInput):
        finish(model.predict({"image": data, "max_overlap": -1}))
