"""Parts of pictures: small graphs for what the options say, and the shelf's portraits."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from deployer.examples import check
from deployer.server.errors import BadInput, BadModel
from deployer.server.pipelines.image_segmentation import ImageSegmenter
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import RunningServer, Serve, graph, write_model
from tests.deployer.server.pipelines.examples import body, example_file, examples
from tests.shelf_files import model_dir

SIDE = 8
COLOURS = ["red", "green", "blue"]


def colours(folder: Path, nhwc: bool = False, **options: Any) -> Path:
    """A graph that gives the picture back as the maps of its three channels."""
    shape = ["n", SIDE, SIDE, 3] if nhwc else ["n", 3, SIDE, SIDE]
    model = graph(
        [helper.make_node("Mul", ["x", "ten"], ["y"])],
        [("x", TensorProto.FLOAT, shape)],
        [("y", TensorProto.FLOAT, shape)],
        ten=np.float32(1),
    )
    told = {"labels": COLOURS, "filter": "nearest", "activation": "none"} | options
    return write_model(folder, model, "image-segmentation", options=told)


def brightness(folder: Path, rank: int = 4, kind: int = TensorProto.FLOAT, **options: Any) -> Path:
    """A graph whose only map is the mean of the channels."""
    nodes = [helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=int(rank == 4))]
    if kind == TensorProto.FLOAT:
        nodes.append(helper.make_node("Identity", ["mean"], ["y"]))
    else:
        nodes.append(helper.make_node("Cast", ["mean"], ["y"], to=kind))
    shape = ["n", 1, SIDE, SIDE] if rank == 4 else ["n", SIDE, SIDE]
    model = graph(nodes, [("x", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])], [("y", kind, shape)])
    told = {"labels": ["light"], "filter": "nearest"} | options
    return write_model(folder, model, "image-segmentation", options=told)


def picture(size: tuple[int, int], *patches: tuple[str, tuple[int, int, int, int]]) -> bytes:
    made = Image.new("RGB", size, "black")
    for colour, box in patches:
        made.paste(colour, box)
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    return buffer.getvalue()


def answer(folder: Path, sent: bytes, **more: Any) -> dict[str, dict[str, Any]]:
    """Results by label."""
    results = finish(load(folder).predict({"image": sent, **more}))["results"]
    return {result["label"]: result for result in results}


def opened(result: dict[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(result["mask"]["base64"]))) as mask:
        assert (mask.format, mask.mode) == ("PNG", "L")
        return np.asarray(mask)


HALVES = picture((80, 40), ("#ff0000", (0, 0, 50, 40)), ("#00ff00", (50, 0, 80, 40)))


@pytest.mark.parametrize("nhwc", [False, True])
def test_labels_that_exclude_each_other_share_the_picture(tmp_path: Path, nhwc: bool) -> None:
    layout = "NHWC" if nhwc else "NCHW"
    found = answer(colours(tmp_path, nhwc, layout=layout, output_layout=layout), HALVES)
    assert list(found) == ["red", "green"]
    assert found["red"]["area"] == 0.625 and found["green"]["area"] == 0.375
    red, green = opened(found["red"]), opened(found["green"])
    assert red.shape == green.shape == (40, 80)
    assert set(np.unique(red)) == {0, 255}
    assert red[:, :45].min() == 255 and red[:, 55:].max() == 0
    assert green[:, 55:].min() == 255


def test_soft_masks_hold_probabilities(tmp_path: Path) -> None:
    sent = picture((SIDE, SIDE), ("#808080", (0, 0, 4, SIDE)), ("#ffffff", (4, 0, SIDE, SIDE)))
    found = answer(brightness(tmp_path), sent, threshold=0.6)["light"]
    assert found["area"] == 0.5 and found["score"] == 1.0
    assert opened(found)[0].tolist() == [128] * 4 + [255] * 4
    hard = answer(brightness(tmp_path), sent, threshold=0.6, soft=False)["light"]
    assert opened(hard)[0].tolist() == [0] * 4 + [255] * 4
    assert answer(brightness(tmp_path), sent, threshold=0.4, soft=False)["light"]["area"] == 1.0
    assert answer(brightness(tmp_path), picture((9, 9))) == {}


def test_labels_that_do_not_exclude_each_other(tmp_path: Path) -> None:
    yellow = picture((8, 8), ("#ffff00", (0, 0, 8, 4)))
    found = answer(colours(tmp_path, activation="sigmoid", scale=20 / 255, mean=[10, 10, 10]), yellow)
    assert set(found) == {"red", "green"}
    assert found["red"]["area"] == 0.5
    assert found["red"]["score"] == pytest.approx(1 / (1 + np.exp(-10)), abs=1e-6)


def test_logits_become_shares(tmp_path: Path) -> None:
    found = answer(colours(tmp_path, activation="softmax", scale=5 / 255), HALVES)
    assert found["red"]["score"] == pytest.approx(np.exp(5) / (np.exp(5) + 2), abs=1e-6)
    looked = answer(colours(tmp_path / "auto", activation="auto", scale=5 / 255), HALVES)
    assert looked["red"]["score"] == found["red"]["score"]
    one = answer(brightness(tmp_path / "one", scale=8 / 255, mean=[4, 4, 4]), HALVES, threshold=0)["light"]
    assert one["score"] < 0.5


@pytest.mark.parametrize(("rank", "kind"), [(3, TensorProto.INT64), (4, TensorProto.INT32)])
def test_numbers_of_labels_are_read(tmp_path: Path, rank: int, kind: int) -> None:
    sent = picture((16, 8), ("#010101", (0, 0, 8, 8)), ("#020202", (8, 0, 12, 8)))
    folder = brightness(
        tmp_path, rank, kind, labels=["nothing", "cat", "dog"], scale=1, background=["nothing"]
    )
    found = answer(folder, sent)
    assert list(found) == ["cat", "dog"]
    assert found["cat"]["area"] == 0.5 and found["cat"]["score"] == 1.0
    assert opened(found["dog"])[4, 9] == 255


def test_small_parts_and_those_beyond_top_k_are_left_out(tmp_path: Path) -> None:
    assert list(answer(colours(tmp_path, min_area=0.5), HALVES)) == ["red"]
    assert list(answer(colours(tmp_path), HALVES, top_k=1)) == ["red"]
    assert list(answer(colours(tmp_path, background=["red"]), HALVES)) == ["green"]


def test_a_single_map_without_an_axis_of_its_own(tmp_path: Path) -> None:
    assert (
        answer(brightness(tmp_path, 3), picture((10, 30), ("#ffffff", (0, 0, 10, 30))))["light"]["area"] == 1
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"labels": ["a"]}, "maps of 1 labels"),
        ({"labels": []}, "no labels"),
        ({"output": "z"}, "options.output"),
        ({"output_layout": "CHW"}, "options.output_layout"),
        ({"threshold": 2}, "threshold"),
        ({"min_area": 1}, "min_area"),
        ({"background": ["black"]}, "background"),
        ({"background": COLOURS}, "background"),
        ({"resize": [4, 4]}, "options.resize"),
        ({"activation": "relu"}, "options.activation"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(BadModel, match=named):
        load(colours(tmp_path, **options))


@pytest.fixture(scope="module")
def server(serve_module: Serve) -> RunningServer:
    return serve_module(model_dir("selfie-segmentation"))


@pytest.mark.network
def test_the_server_answers_its_examples(server: RunningServer) -> None:
    for example in examples("selfie-segmentation"):
        assert check(server.predict(example["request"]), example["expect"]) == [], example["title_en"]
    problem = server.refuse(body("image", b"GIF89a"))
    assert "PNG, JPEG" in problem["detail"] + problem["next"]
    assert "threshold: is not" in server.refuse(body("image", HALVES, threshold=7))["detail"]
    assert "soft：" in server.refuse(body("image", HALVES, soft="maybe"), "zh")["detail"]


@pytest.mark.network
def test_a_portrait_is_cut_out(server: RunningServer) -> None:
    """By its meaning: the face is in the mask, the corners are not, whichever size the picture has."""
    with Image.open(io.BytesIO(example_file("selfie-segmentation", "portrait.jpg"))) as portrait:
        for size in ((400, 400), (300, 400), (640, 480)):
            buffer = io.BytesIO()
            portrait.resize(size).save(buffer, "PNG")
            (found,) = server.predict(body("image", buffer.getvalue()))["results"]
            kept = opened(found)
            assert kept.shape == size[::-1]
            high, wide = kept.shape
            assert kept[high // 4, round(wide * 0.44)] >= 254  # the face
            assert kept[: high // 10, : wide // 10].mean() < 1  # the corners
            assert kept[: high // 10, -wide // 10 :].mean() < 1


@pytest.mark.network
def test_the_raw_graph_is_served_too() -> None:
    model = load(model_dir("selfie-segmentation"))
    (name,) = [spec.name for spec in model.inputs]
    maps = finish(model.infer({name: np.zeros((2, 3, 256, 256), np.float32)}, [model.outputs[0].name]))
    assert maps[model.outputs[0].name].shape == (2, 1, 256, 256)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ImageSegmenter:
    found = load(colours(tmp_path_factory.mktemp("m"), activation="auto"))
    assert isinstance(found, ImageSegmenter)
    return found


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    seed=st.integers(0, 1000),
    threshold=st.floats() | st.text(max_size=4) | st.none(),
    soft=st.booleans(),
)
def test_any_picture_gets_masks_of_its_size(
    model: ImageSegmenter, width: int, height: int, seed: int, threshold: Any, soft: bool
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    try:
        found = finish(model.predict({"image": buffer.getvalue(), "threshold": threshold, "soft": soft}))
    except BadInput as refused:
        assert refused.where == "threshold"
        return
    assert (found["width"], found["height"]) == (width, height)
    assert sum(result["area"] for result in found["results"]) <= 1.0001
    for result in found["results"]:
        assert opened(result).shape == (height, width)
        assert threshold - 1e-6 <= result["score"] <= 1
