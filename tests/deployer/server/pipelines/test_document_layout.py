"""Layout of pages: the shelf's model on a report, turned sizes and blank paper; decoding on made-up cells."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deployer.examples import check
from deployer.server.errors import BadInput
from deployer.server.pipelines.document_layout import decode, overlaps, pick
from deployer.server.predictor import Predictor, finish, load
from tests.deployer.server.conftest import Serve
from tests.deployer.server.pipelines.examples import example_file, examples
from tests.shelf_files import model_dir

LISTING = "doc-layout-cdla"
SIZE = (64, 128)  # of a made-up picture: 8 × 16 cells at stride 8, 4 × 8 at 16
boxes = st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(1, 50), st.floats(1, 50)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)


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


def test_a_cells_distribution_becomes_a_box() -> None:
    scores = [np.zeros((128, 2)), np.zeros((32, 2))]
    spread = [np.zeros((128, 4 * 8)), np.zeros((32, 4 * 8))]
    scores[1][8 * 2 + 3, 1] = 0.9  # stride 16, row 2, column 3: its middle is at (56, 40)
    for side, bins in enumerate([1, 2, 3, 1]):
        spread[1][19, side * 8 + bins] = 100
    likely, found = decode([*scores, *spread], SIZE)
    ((label, cell),) = pick(likely, found, 0.5, 0.5)
    assert label == 1
    assert found[cell].tolist() == [40, 8, 104, 56]


@given(st.lists(boxes, min_size=1, max_size=20), boxes)
@settings(deadline=None)
def test_overlap_is_a_fraction_and_a_box_is_all_of_itself(
    others: list[list[float]], box: list[float]
) -> None:
    shares = overlaps(np.array(box), np.array([*others, box]))
    assert ((shares >= 0) & (shares <= 1 + 1e-9)).all()
    assert shares[-1] == pytest.approx(1)
    assert overlaps(np.array(others[0]), np.array([box]))[0] == pytest.approx(shares[0])


@given(st.lists(boxes, min_size=1, max_size=20), st.data())
@settings(deadline=None)
def test_what_is_kept_does_not_overlap_and_what_is_dropped_does(
    found: list[list[float]], data: st.DataObject
) -> None:
    values = data.draw(st.permutations(range(len(found))))
    scores = (np.array(values, float)[:, None] + 1) / len(found)
    array = np.array(found)
    kept = [cell for _, cell in pick(scores, array, 0.0, 0.4)]
    for cell in range(len(found)):
        rivals = [other for other in kept if other != cell and scores[other] > scores[cell]]
        covered = bool(rivals) and bool((overlaps(array[cell], array[rivals]) > 0.4).any())
        assert (cell in kept) == (not covered)
