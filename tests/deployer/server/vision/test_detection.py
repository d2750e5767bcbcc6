"""From a detector's outputs to boxes: made-up cells and rows, doubles, and the way back to the picture."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deployer.server.errors import BadModel
from deployer.server.signature import TensorSpec
from deployer.server.vision.detection import FITS, MOST, Boxes, decode_cells, overlaps, pick, place

SIZE = (64, 128)  # of a made-up picture: 8 × 16 cells at stride 8, 4 × 8 at 16
boxes = st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(1, 50), st.floats(1, 50)).map(
    lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]]
)
NAMES = ("boxes", "scores", "labels")


def read(answer: dict[str, Any], classes: int = 3, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Outputs read by the decoder of boxes, for a picture of SIZE."""
    arrays = {name: np.asarray(value, np.float32) for name, value in answer.items()}
    specs = [TensorSpec(name, "FP32", array.shape) for name, array in arrays.items()]
    return Boxes(options, specs, classes).decode(arrays, SIZE)


def test_a_cells_distribution_becomes_a_box() -> None:
    scores = [np.zeros((128, 2)), np.zeros((32, 2))]
    spread = [np.zeros((128, 4 * 8)), np.zeros((32, 4 * 8))]
    scores[1][8 * 2 + 3, 1] = 0.9  # stride 16, row 2, column 3: its middle is at (56, 40)
    for side, bins in enumerate([1, 2, 3, 1]):
        spread[1][19, side * 8 + bins] = 100
    likely, found = decode_cells([*scores, *spread], SIZE)
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


def test_no_more_boxes_than_fit_an_answer_and_the_best_of_them() -> None:
    count = 3 * MOST
    corners = np.stack([np.arange(count), np.zeros(count)], axis=1) * 10.0
    apart = np.concatenate([corners, corners + 5], axis=1)
    scores = np.linspace(0.1, 0.9, count)[:, None] * [[1.0, 0.5]]
    kept = pick(scores, apart, 0.05, 0.5)
    assert len(kept) == MOST
    assert kept == [(0, count - 1 - place) for place in range(MOST)]


@pytest.mark.parametrize(
    ("form", "box"),
    [
        ("xyxy", [8, 4, 40, 20]),
        ("xywh", [8, 4, 32, 16]),
        ("cxcywh", [24, 12, 32, 16]),
        ("yxyx", [4, 8, 20, 40]),
    ],
)
@pytest.mark.parametrize("normalized", [False, True])
def test_forms_of_boxes(form: str, box: list[int], normalized: bool) -> None:
    width, height = SIZE[1], SIZE[0]
    shares = [height, width] * 2 if form == "yxyx" else [width, height] * 2
    given = np.array([box]) / (shares if normalized else 1)
    scores, found = read({"boxes": given, "scores": [0.5], "labels": [2]}, box=form, normalized=normalized)
    assert np.allclose(found, [[8, 4, 40, 20]])
    assert scores.tolist() == [[0, 0, 0.5]]


def test_outputs_of_many_exporters() -> None:
    rows = [[8, 4, 40, 20], [0, 0, 8, 8]]
    wanted = [[0, 0.75, 0], [0.5, 0, 0]]
    labelled = {"boxes": [rows], "scores": [[0.75, 0.5]], "labels": [[1, 0]]}
    columns = np.array([[*rows[0], 0.75, 1], [*rows[1], 0.5, 0]])
    for answer, options in [
        (labelled, {}),
        ({f"detection_{name}": value for name, value in labelled.items()}, {}),
        ({"dets": columns[None, :, :5], "labels": [[1, 0]]}, {}),  # mmdetection
        ({"output0": columns[None]}, {}),  # one array with all
        ({"a": rows, "b": wanted}, {"outputs": {"boxes": "a", "scores": "b"}}),
    ]:
        scores, found = read(answer, **options)
        assert np.allclose(found, rows), answer
        assert np.allclose(scores, wanted), answer


def test_a_class_beyond_the_labels_of_a_softmax_is_nothing() -> None:
    logits = np.log([[0.1, 0.2, 0.1, 0.6], [0.7, 0.1, 0.1, 0.1]])
    rows = [[0.5, 0.5, 0.25, 0.5], [0.5, 0.5, 1, 1]]
    options = {"box": "cxcywh", "normalized": True, "activation": "softmax"}
    scores, found = read({"logits": [logits], "pred_boxes": [rows]}, **options)
    assert np.allclose(scores, [[0.7, 0.1, 0.1], [0.1, 0.2, 0.1]], atol=1e-6)  # the likeliest first
    assert found.tolist() == [[0, 0, 128, 64], [48, 16, 80, 48]]
    one, _ = read({"logits": [logits[:, :3]], "pred_boxes": [rows]}, **options | {"activation": "sigmoid"})
    assert one.max() == pytest.approx(0.7 / 1.7)
    with pytest.raises(BadModel, match="4 classes for 3 labels"):
        read({"logits": [logits], "pred_boxes": [rows]}, **options | {"activation": "none"})


def test_padding_and_what_is_no_number_are_dropped() -> None:
    rows = [[0, 0, 9, 9], [0, 0, 8, 8], [0, 0, np.nan, 8], [0, 0, 7, 7], [0, 0, 6, 6]]
    scores, found = read({"boxes": rows, "scores": [0.9, 0.8, 0.7, np.nan, 0.6], "labels": [-1, 3, 0, 0, 2]})
    assert [(label, found[row].tolist()) for label, row in pick(scores, found, 0.1, 1)] == [(2, [0, 0, 6, 6])]
    empty = {"boxes": np.zeros((1, 0, 4)), "scores": np.zeros((1, 0)), "labels": np.zeros((1, 0))}
    assert [len(part) for part in read(empty)] == [0, 0]


@pytest.mark.parametrize(
    ("names", "options", "named"),
    [
        (["a", "b"], {}, "options.outputs"),
        (["boxes", "other_boxes"], {}, "options.outputs"),
        (NAMES, {"outputs": {"boxes": "nowhere"}}, "options.outputs"),
        (NAMES, {"outputs": {"boxes": "boxes", "masks": "scores"}}, "options.outputs"),
        (NAMES, {"box": "yolo"}, "options.box"),
        (NAMES, {"activation": "relu"}, "options.activation"),
    ],
)
def test_options_that_cannot_be_are_named(names: list[str], options: dict[str, Any], named: str) -> None:
    with pytest.raises(BadModel, match=named):
        Boxes(options, [TensorSpec(name, "FP32", (-1, 4)) for name in names], 3)


def test_numbers_of_labels_have_a_bound() -> None:
    with pytest.raises(BadModel, match="beyond"):
        Boxes({}, [TensorSpec(name, "FP32", (-1,)) for name in NAMES], 999_999)


sides = st.integers(1, 300)


@settings(deadline=None, max_examples=60)
@given(sides, sides, st.sampled_from(FITS), st.lists(boxes, min_size=1, max_size=5))
def test_the_way_back_undoes_the_way_there(
    width: int, height: int, fit: str, found: list[list[float]]
) -> None:
    placed = place(Image.new("RGB", (width, height)), SIZE, fit, Image.Resampling.NEAREST)
    assert placed.picture.size == (SIZE[1], SIZE[0])
    own = np.clip(np.array(found) / 140 * [width, height, width, height], 0, [width, height] * 2)
    there = own * [*placed.ratio, *placed.ratio] + [*placed.corner, *placed.corner]
    assert np.allclose(placed.back(there), own, atol=1e-9 * max(width, height))
    assert ((there >= -1e-9) & (there <= [128.001, 64.001, 128.001, 64.001])).all()


@pytest.mark.parametrize(("fit", "left", "top"), [("stretch", 0, 0), ("letterbox", 48, 0), ("corner", 0, 0)])
def test_where_a_picture_lies(fit: str, left: int, top: int) -> None:
    placed = place(Image.new("RGB", (10, 20), "white"), SIZE, fit, Image.Resampling.BILINEAR, 7)
    pixels = np.asarray(placed.picture)
    white = np.argwhere((pixels == 255).all(axis=2))
    assert white.min(axis=0).tolist() == [top, left]
    assert white.max(axis=0).tolist() == [63, 127 if fit == "stretch" else left + 31]
    assert fit == "stretch" or (pixels[0, -1] == 7).all()
