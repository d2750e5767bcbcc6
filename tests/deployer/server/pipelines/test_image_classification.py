"""Labels for pictures: two of the shelf's models, and small graphs for what the options say."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from deployer.examples import check
from deployer.server.errors import BadInput, BadModel
from deployer.server.pipelines.image_classification import ImageClassifier, probabilities
from deployer.server.predictor import finish, load
from tests.deployer.server.conftest import Serve, graph, write_model
from tests.deployer.server.pipelines.examples import body, example_file, examples
from tests.shelf_files import model_dir


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def channel_means(folder: Path, shape: list[object], axes: list[int], **options: object) -> Path:
    """A graph whose scores are the means of its three channels."""
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=axes, keepdims=0)
    model = graph([node], [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, ["n", 3])])
    return write_model(folder, model, "image-classification", options=options)


@pytest.mark.parametrize("listing", ["doc-orientation", "nsfw-open", "img-efficientnet-lite0"])
def test_the_server_answers_its_examples(serve: Serve, listing: str) -> None:
    server = serve(model_dir(listing))
    for example in examples(listing):
        assert check(server.predict(example["request"]), example["expect"]) == [], example["title_en"]
    problem = server.refuse(body("image", b"GIF89a"))
    assert "PNG, JPEG" in problem["detail"] + problem["next"]


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_an_invoice_is_told_from_a_turned_one(clockwise: int) -> None:
    model = load(model_dir("doc-orientation"))
    data = example_file("ocr-ppocrv6-small", "invoice-en.png")
    turned = Image.open(io.BytesIO(data)).rotate(-clockwise, expand=True)
    (best, *_) = finish(model.predict({"image": png(turned)}))["results"]
    assert best["label"] == str(clockwise)
    assert best["score"] > 0.8


def test_the_raw_graph_is_served_too() -> None:
    model = load(model_dir("doc-orientation"))
    scores = finish(model.infer({"x": np.zeros((2, 3, 224, 224), np.float32)}, ["fetch_name_0"]))[
        "fetch_name_0"
    ]
    assert scores.shape == (2, 4)
    assert model.schema["x-label-titles"]["90"]["zh"] == "顺时针转了 90 度"


def test_hugging_faces_names_are_understood(tmp_path: Path) -> None:
    """preprocessor_config.json and config.json as they lie beside a vendor's graph, and nothing else."""
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste((255, 102, 0), (100, 0, 200, 100))
    preprocessor = {
        "do_resize": True,
        "size": {"shortest_edge": 64},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 56, "width": 56},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    config = {"id2label": {"0": "a", "1": "b", "2": "c"}, "problem_type": "multi_label_classification"}
    folder = channel_means(tmp_path / "m", ["n", 3, 56, 56], [2, 3], activation="sigmoid", top_k=2)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] |= {"preprocessor": "preprocessor_config.json", "config": "config.json"}
    for name, value in (
        ("manifest.json", manifest),
        ("preprocessor_config.json", preprocessor),
        ("config.json", config),
    ):
        (folder / name).write_text(json.dumps(value))
    assert finish(load(folder).predict({"image": png(picture)}))["results"] == [
        {"label": "a", "score": pytest.approx(1 / (1 + np.exp(-1)), abs=1e-5)},
        {"label": "b", "score": pytest.approx(0.5, abs=1e-5)},
    ]


@pytest.mark.parametrize(
    ("told", "size", "short", "crop"),
    [
        ({"size": {"height": 40, "width": 40}}, (40, 40), 0, (40, 40)),
        ({"size": 40}, (40, 40), 0, (40, 40)),
        ({"size": {"shortest_edge": 40}}, (40, 40), 40, (40, 40)),
        ({"size": {"shortest_edge": 40}, "crop_pct": 0.875}, (40, 40), 45, (40, 40)),
        ({"size": {"shortest_edge": 384}, "crop_pct": 1.0}, (384, 384), 0, (384, 384)),
        (
            {"size": {"height": 48, "width": 48}, "do_center_crop": True, "crop_size": 40},
            (48, 48),
            0,
            (40, 40),
        ),
        (
            {"size": {"height": 48, "width": 48}, "do_center_crop": False, "crop_size": 40},
            (48, 48),
            0,
            (48, 48),
        ),
        ({"size": {"height": 9, "width": 9}, "resize": 40}, (40, 40), 0, (40, 40)),
        ({"size": {"height": 9, "width": 9}, "do_resize": False}, (40, 40), 0, (40, 40)),
    ],
)
def test_sizes_of_hugging_face(
    tmp_path: Path, told: dict, size: tuple[int, int], short: int, crop: tuple[int, int]
) -> None:
    shape = ["n", 3, *(crop if "do_resize" in told else ("h", "w"))]
    if short:
        shape[2:] = crop
    model = load(channel_means(tmp_path / "m", shape, [2, 3], labels=["a", "b", "c"], **told))
    assert isinstance(model, ImageClassifier)
    assert (model.size, model.short, model.crop) == (size, short, crop)


def test_grey_and_whole_numbers(tmp_path: Path) -> None:
    """A graph of one channel, and one that takes bytes as they are."""
    picture = png(Image.new("RGB", (9, 9), (0, 255, 0)))
    node = helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)
    grey = graph([node], [("x", TensorProto.FLOAT, ["n", 1, 8, 8])], [("y", TensorProto.FLOAT, ["n", 1])])
    told = {"labels": ["light"], "activation": "none", "channels": "L"}
    model = load(write_model(tmp_path / "1", grey, "image-classification", options=told))
    (one,) = finish(model.predict({"image": picture}))["results"]
    assert one == {"label": "light", "score": pytest.approx(150 / 255, abs=1e-5)}
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["f"], ["y"], axes=[1, 2], keepdims=0),
    ]
    whole = graph(nodes, [("x", TensorProto.UINT8, ["n", 8, 8, 3])], [("y", TensorProto.FLOAT, ["n", 3])])
    told = {"id2label": {"0": "r", "1": "g", "2": "b"}, "activation": "none", "layout": "NHWC"}
    model = load(write_model(tmp_path / "2", whole, "image-classification", options=told))
    best = finish(model.predict({"image": picture, "top_k": 1}))["results"]
    assert best == [{"label": "g", "score": 255.0}]


def test_options_say_how_a_picture_is_laid_out(tmp_path: Path) -> None:
    picture = png(Image.new("RGB", (50, 40), (255, 102, 0)))
    common = {"labels": ["a", "b", "c"], "activation": "none"}
    first = load(channel_means(tmp_path / "1", ["n", 3, 32, 32], [2, 3], **common))
    assert finish(first.predict({"image": picture}))["results"] == [
        {"label": "a", "score": 1.0},
        {"label": "b", "score": 0.4},
        {"label": "c", "score": 0.0},
    ]
    turned = {"channels": "BGR", "layout": "NHWC", "scale": 1, "mean": [0, 2, 55], "std": [1, 100, 100]}
    second = load(channel_means(tmp_path / "2", ["n", 32, 32, 3], [1, 2], **common, **turned))
    answer = finish(second.predict({"image": picture, "top_k": 2}))["results"]
    assert answer == [{"label": "c", "score": 2.0}, {"label": "b", "score": 1.0}]


def test_a_crop_takes_the_centre(tmp_path: Path) -> None:
    picture = Image.new("RGB", (300, 100), "red")
    picture.paste("blue", (100, 0, 200, 100))
    for options in ({"resize_short": 64, "crop": 56}, {"resize": [90, 300], "crop": [56, 56]}):
        folder = tmp_path / str(len(options["crop"]) if isinstance(options["crop"], list) else 0)
        labels = {"labels": ["r", "g", "b"], "activation": "none"}
        model = load(channel_means(folder, ["n", 3, 56, 56], [2, 3], **labels, **options))
        assert finish(model.predict({"image": png(picture), "top_k": 1}))["results"] == [
            {"label": "b", "score": 1.0}
        ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"layout": "CHWN"}, "options.layout"),
        ({"filter": "best"}, "options.filter"),
        ({"resize_short": 20, "crop": 32}, "options.crop"),
        ({"resize": [16, 64], "crop": 32}, "options.crop"),
        ({"resize": "big"}, "options.resize"),
        ({"labels": []}, "no labels"),
        ({"labels": ["a", "b"]}, "3 scores for 2 labels"),
        ({"labels": {"1": "a", "2": "b", "3": "c"}}, "labels' numbers"),
        ({"labels": {"a": "b"}}, "numbers to names"),
        ({"mean": [1, 2]}, "options.mean"),
        ({"std": [1, 0, 1]}, "options.std"),
        ({"top_k": 0}, "options.top_k"),
        ({"resize": 64}, "takes pictures of"),
        ({"size": "large"}, "size is 'large'"),
    ],
)
def test_options_that_cannot_be_are_named(tmp_path: Path, options: dict, named: str) -> None:
    folder = channel_means(tmp_path / "m", ["n", 3, 32, 32], [2, 3], **{"labels": ["a", "b", "c"]} | options)
    with pytest.raises(BadModel, match=named):
        load(folder)


def test_top_k_has_bounds(tmp_path: Path) -> None:
    folder = channel_means(tmp_path / "m", ["n", 3, 32, 32], [2, 3], labels=["a", "b", "c"])
    model = load(folder)
    assert isinstance(model, ImageClassifier)
    picture = png(Image.new("RGB", (1, 3000)))
    assert len(finish(model.predict({"image": picture, "top_k": 1000}))["results"]) == 3
    with pytest.raises(BadInput):
        finish(model.predict({"image": picture, "top_k": 0}))


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20))
def test_probabilities_sum_to_one_and_stay_when_they_do_already(scores: list[float]) -> None:
    first = probabilities(np.array(scores))
    assert first.sum() == pytest.approx(1, abs=1e-3)  # what looks like probabilities is left as it is
    assert np.allclose(probabilities(first), first)
    singly = probabilities(np.array(scores), "sigmoid")
    assert ((singly >= 0) & (singly <= 1)).all()
    assert singly.max() == singly[np.argmax(scores)]
