"""Things in pictures: a small graph that finds coloured squares, and the shelf's page detector."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from deployer.server.errors import BadInput, BadModel
from deployer.server.model import Model
from deployer.server.pipelines import object_detection
from deployer.server.pipelines.object_detection import ObjectDetector
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import RunningServer, Serve, graph, write_model
from tests.deployer.server.pipelines.examples import body, example_file
from tests.shelf_files import model_dir

CELLS = 8  # along each side of a picture of 64 × 64
COLOURS = {"0": "red", "1": "green", "3": "blue"}  # 2 is a number without a name


def squares() -> onnx.ModelProto:
    """Boxes of cells of one colour: average, likeliest channel, and suppression of doubles in the graph."""
    grid = [[8 * x, 8 * y, 8 * x + 8, 8 * y + 8] for y in range(CELLS) for x in range(CELLS)]
    boxes = np.array([grid], np.float32)
    nodes = [
        helper.make_node("AveragePool", ["x"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["means", "flat"], ["cells"]),  # [1, 3, 64]
        helper.make_node("ReduceMax", ["cells"], ["brightest"], axes=[1], keepdims=1),
        helper.make_node("ReduceMin", ["cells"], ["darkest"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["brightest", "darkest"], ["colour"]),
        helper.make_node("ArgMax", ["cells"], ["channel"], axis=1, keepdims=0),
        helper.make_node("NonMaxSuppression", ["grid", "colour", "most", "overlap", "least"], ["chosen"]),
        helper.make_node("Gather", ["chosen", "two"], ["rows"], axis=1),
        helper.make_node("Gather", ["grid", "rows"], ["boxes"], axis=1),
        helper.make_node("Squeeze", ["colour", "one"], ["flat_colour"]),
        helper.make_node("Gather", ["flat_colour", "rows"], ["scores"], axis=1),
        helper.make_node("Gather", ["channel", "rows"], ["channels"], axis=1),
        helper.make_node("Gather", ["numbers", "channels"], ["labels"]),
    ]
    return graph(
        nodes,
        [("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [
            ("boxes", TensorProto.FLOAT, [1, "n", 4]),
            ("scores", TensorProto.FLOAT, [1, "n"]),
            ("labels", TensorProto.INT64, [1, "n"]),
        ],
        grid=boxes,
        flat=np.array([1, 3, 64], np.int64),
        most=np.array([64], np.int64),
        overlap=np.array([0.5], np.float32),
        least=np.array([0.1], np.float32),
        one=np.array([1], np.int64),
        two=np.int64(2),
        numbers=np.array([0, 1, 3], np.int64),
    )


def detector(folder: Path, **options: Any) -> Path:
    told = {"labels": COLOURS, "filter": "nearest"} | options
    return write_model(folder, squares(), "object-detection", options=told)


def picture(size: tuple[int, int], *patches: tuple[str, tuple[int, int, int, int]]) -> bytes:
    made = Image.new("RGB", size, "black")
    for colour, box in patches:
        made.paste(colour, box)
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(serve_module: Serve, tmp_path_factory: pytest.TempPathFactory) -> RunningServer:
    return serve_module(detector(tmp_path_factory.mktemp("squares")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ObjectDetector:
    found = load(detector(tmp_path_factory.mktemp("squares"), fit="letterbox"))
    assert isinstance(found, ObjectDetector)
    return found


def test_squares_are_found_with_their_colours(server: RunningServer) -> None:
    data = picture((128, 128), ("#ff0000", (16, 32, 32, 48)), ("#0000cc", (96, 96, 112, 112)))
    answer = server.predict(body("image", data))
    assert answer == {
        "results": [
            {"label": "red", "score": 1.0, "box": {"xmin": 16.0, "ymin": 32.0, "xmax": 32.0, "ymax": 48.0}},
            {
                "label": "blue",
                "score": 0.8,
                "box": {"xmin": 96.0, "ymin": 96.0, "xmax": 112.0, "ymax": 112.0},
            },
        ],
        "width": 128,
        "height": 128,
    }
    assert len(server.predict(body("image", data, min_score=0.9))["results"]) == 1
    assert server.predict(body("image", picture((30, 90))))["results"] == []


def test_openapi_names_the_labels(server: RunningServer) -> None:
    document = server.client.get("/openapi.json").json()
    schema = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["x-labels"] == ["red", "green", "blue"]
    assert schema["properties"]["max_overlap"]["default"] == 1.0
    assert document["info"]["summary"] == "object-detection"


@pytest.mark.parametrize(
    ("sent", "said", "zh"),
    [
        ({"image": "AAAA"}, "image: is not a picture", "image：不是图片"),
        (
            {"image": body("image", picture((9, 9)))["image"], "min_score": 2},
            "min_score: is not",
            "min_score：不是",
        ),
        ({"picture": "AAAA"}, "picture: is not a field", "picture：不是该模型的字段"),
    ],
)
def test_bodies_that_are_refused(server: RunningServer, sent: dict[str, Any], said: str, zh: str) -> None:
    assert said in server.refuse(sent)["detail"]
    assert zh in server.refuse(sent, "zh")["detail"]


def test_a_letterbox_keeps_the_proportions(model: ObjectDetector) -> None:
    data = picture((256, 128), ("#00ff00", (64, 32, 96, 64)))
    (found,) = finish(model.predict({"image": data}))["results"]
    assert found["label"] == "green"
    assert found["box"] == {"xmin": 64.0, "ymin": 32.0, "xmax": 96.0, "ymax": 64.0}


def test_the_callers_overlap_drops_more(tmp_path: Path) -> None:
    """Two graphs' boxes one upon the other: all classes keep one."""
    wide = write_model(
        tmp_path / "m",
        graph(
            [
                helper.make_node("ReduceMean", ["x"], ["zero"], keepdims=0),
                helper.make_node("Mul", ["zero", "none"], ["nothing"]),
                helper.make_node("Add", ["rows", "nothing"], ["out"]),
            ],
            [("x", TensorProto.FLOAT, ["n", 3, "h", "w"])],
            [("out", TensorProto.FLOAT, [1, 3, 6])],
            none=np.float32(0),
            rows=np.array(
                [[[0, 0, 20, 20, 0.9, 1], [0, 0, 20, 18, 0.8, 1], [0, 0, 20, 18, 0.7, 0]]], np.float32
            ),
        ),
        "object-detection",
        options={"labels": ["a", "b"], "resize": [20, 40]},
    )
    found = load(wide)
    data = picture((80, 40))

    def labels(**more: Any) -> list[str]:
        return [one["label"] for one in finish(found.predict({"image": data, **more}))["results"]]

    assert labels() == ["b", "b", "a"]
    assert labels(max_overlap=0.5) == ["b", "a"]
    box = finish(found.predict({"image": data}))["results"][0]["box"]
    assert box == {"xmin": 0.0, "ymin": 0.0, "xmax": 40.0, "ymax": 40.0}


def test_a_graph_may_ask_for_the_size(tmp_path: Path) -> None:
    """RT-DETR's form: a second input scales shares of the picture."""
    sized = graph(
        [
            helper.make_node("Cast", ["sizes"], ["sides"], to=TensorProto.FLOAT),
            helper.make_node("Concat", ["sides", "sides"], ["scale"], axis=1),
            helper.make_node("Mul", ["shares", "scale"], ["boxes"]),
            helper.make_node("ReduceMax", ["images"], ["scores"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["sizes", "nought"], ["pairs"]),
            helper.make_node("ReduceMax", ["pairs"], ["labels"], axes=[1], keepdims=0),
        ],
        [("images", TensorProto.FLOAT, [1, 3, 32, 64]), ("sizes", TensorProto.INT64, [1, 2])],
        [
            ("boxes", TensorProto.FLOAT, [1, 4]),
            ("scores", TensorProto.FLOAT, [1]),
            ("labels", TensorProto.INT64, [1]),
        ],
        shares=np.array([[0.25, 0.5, 0.5, 1]], np.float32),
        nought=np.int64(0),
    )
    options = {"labels": ["thing"], "size_input": "sizes"}
    found = load(write_model(tmp_path / "m", sized, "object-detection", options=options))
    (one,) = finish(found.predict({"image": picture((200, 100), ("white", (0, 0, 200, 100)))}))["results"]
    assert one["box"] == {"xmin": 50.0, "ymin": 50.0, "xmax": 100.0, "ymax": 100.0}
    with pytest.raises(BadModel, match="size_input"):
        load(write_model(tmp_path / "n", sized, "object-detection", options={"labels": ["thing"]}))


def test_the_shelfs_page_detector_is_one_too() -> None:
    """PicoDet's raw outputs under the general task: the same regions, by score."""
    source = Model.open(model_dir("doc-layout-cdla"))
    source.manifest["options"] |= {"decoder": "picodet"}
    found = object_detection.load(source)
    answer = finish(found.predict({"image": example_file("doc-layout-cdla", "report.png")}))
    pages = finish(load(source.dir).predict({"image": example_file("doc-layout-cdla", "report.png")}))
    scores = [one["score"] for one in answer["results"]]
    assert (
        scores == sorted(scores, reverse=True) == sorted((r["score"] for r in pages["regions"]), reverse=True)
    )
    assert {tuple(one["box"].values()) for one in answer["results"]} == {
        tuple(r["box"]) for r in pages["regions"]
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"decoder": "yolo"}, "options.decoder"),
        ({"fit": "best"}, "options.fit"),
        ({"resize": [32, 32]}, "options.resize"),
        ({"labels": []}, "no labels"),
        ({"labels": {"a": "b"}}, "numbers to names"),
        ({"min_score": 2}, "min_score"),
        ({"mean": [0, 0]}, "options.mean"),
        ({"std": 0}, "options.std"),
        ({"channels": "L"}, "channels L"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(BadModel, match=named):
        load(detector(tmp_path / "m", **options))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    seed=st.integers(0, 1000),
    least=st.floats() | st.text(max_size=4) | st.none(),
)
def test_any_picture_is_answered_within_its_edges(
    model: ObjectDetector, width: int, height: int, seed: int, least: Any
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    try:
        answer = finish(model.predict({"image": buffer.getvalue(), "min_score": least}))
    except BadInput as refused:
        assert refused.where == "min_score"
        return
    for one in answer["results"]:
        box = one["box"]
        assert 0 <= box["xmin"] <= box["xmax"] <= width
        assert 0 <= box["ymin"] <= box["ymax"] <= height
        assert one["score"] >= float(least) - 1e-4
