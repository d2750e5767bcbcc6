"""EfficientNet-Lite0 from its state dict: a forward pass of our own, and pictures whose content is known."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import sklearn
from PIL import Image

from deployer.errors import ConversionFailed
from deployer.optimizer.convert import BUILDERS, efficientnet
from deployer.optimizer.convert.checking import check_labels, compare, runner
from deployer.optimizer.convert.statedict import StateDict
from deployer.server.predictor import finish, load
from deployer.spec import silent
from tests.deployer.optimizer.convert import statedicts
from tests.deployer.optimizer.convert.pictures import picture
from tests.shelf_files import archive_member, model_dir

SHELF = "img-efficientnet-lite0"
STAGES = [  # repeats, kernel, stride, expansion, channels: the paper's table (Tan and Le, 2019)
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320),
]  # fmt: skip
# ImageNet's numbers: a tabby or Egyptian cat, an espresso, a missile, a daisy, a palace.
KNOWN: dict[str, tuple[int, ...]] = {
    "chelsea.png": (282, 285), "coffee.png": (967,), "rocket.jpg": (657,), "flower.jpg": (985,),
    "china.jpg": (698,),
}  # fmt: skip


@pytest.fixture(scope="module")
def source() -> Path:
    return archive_member(SHELF, "efficientnet-lite0-57934424.pth")


@pytest.fixture(scope="module")
def graph(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lite0")
    BUILDERS["efficientnet-lite"]({"weights": source}, out, {}, silent)
    return out / "model.onnx"


def shown(name: str) -> Image.Image:
    """A picture of scikit-image's wheel or of the installed scikit-learn."""
    if name not in ("flower.jpg", "china.jpg"):
        return picture(name)
    with Image.open(Path(sklearn.__file__).parent / "datasets" / "images" / name) as opened:
        return opened.convert("RGB")


def pixels(name: str) -> np.ndarray:
    """The centre of a picture as the network was trained: (pixel - 127) / 128."""
    whole = shown(name)
    edge = round(min(whole.size) * 224 / 256)
    left, top = (whole.width - edge) // 2, (whole.height - edge) // 2
    crop = whole.crop((left, top, left + edge, top + edge)).resize((224, 224), Image.Resampling.BICUBIC)
    return ((np.asarray(crop, np.float32) - 127) / 128).transpose(2, 0, 1)[None]


def relu6(x: np.ndarray) -> np.ndarray:
    return np.clip(x, 0, 6)


def swish(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(x / 2)) / 2


def forward(weights: Any, x: np.ndarray, activate: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The whole network in numpy: TensorFlow's padding, batch normalisation as it is written, float32."""

    def convolve(x: np.ndarray, name: str, stride: int = 1, groups: bool = False) -> np.ndarray:
        weight = weights.float32(f"{name}.weight")
        size = weight.shape[2]
        out = -(-x.shape[2] // stride)
        total = max(0, (out - 1) * stride + size - x.shape[2])
        padded = np.pad(x[0], ((0, 0), *((total // 2, total - total // 2),) * 2))
        seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        seen = seen[:, ::stride, ::stride]
        if groups:
            return np.einsum("cyxij,cij->cyx", seen, weight[:, 0], optimize=True)[None]
        flat = seen.transpose(1, 2, 0, 3, 4).reshape(out * out, -1)
        return (flat @ weight.reshape(len(weight), -1).T).T.reshape(1, -1, out, out)

    def normalise(x: np.ndarray, name: str) -> np.ndarray:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gain, shift = (weights.float32(f"{name}.{p}")[:, None, None] for p in parts)
        return (x - mean) / np.sqrt(variance + 1e-3) * gain + shift

    x = activate(normalise(convolve(x, "_conv_stem", 2), "_bn0"))
    number = 0
    for repeats, kernel, stride, expand, _channels in STAGES:
        for turn in range(repeats):
            name, before = f"_blocks.{number}", x
            if expand != 1:
                x = activate(normalise(convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
            step = stride if turn == 0 else 1
            assert weights.entries[f"{name}._depthwise_conv.weight"].shape[2] == kernel
            x = activate(normalise(convolve(x, f"{name}._depthwise_conv", step, True), f"{name}._bn1"))
            x = normalise(convolve(x, f"{name}._project_conv"), f"{name}._bn2")
            x = x + before if step == 1 and x.shape == before.shape else x
            number += 1
    x = activate(normalise(convolve(x, "_conv_head"), "_bn1"))
    return x.mean(axis=(2, 3)) @ weights.float32("_fc.weight").T + weights.float32("_fc.bias")


@pytest.mark.network
def test_known_pictures_are_known(graph: Path) -> None:
    examples = [({"image": pixels(name)}, labels) for name, labels in KNOWN.items()]
    assert check_labels(graph, examples) == 1.0
    scores = runner(graph)({"image": pixels("coffee.png")})["logits"][0]
    shares = np.exp(scores - scores.max())
    assert shares[967] / shares.sum() > 0.9


@pytest.mark.network
def test_the_shelf_names_them() -> None:
    """The listing's own way of preparing pictures, and its names, by their meaning."""
    model = load(model_dir(SHELF))
    for name, wanted in {"coffee.png": "espresso", "rocket.jpg": "missile", "flower.jpg": "daisy"}.items():
        buffer = io.BytesIO()
        shown(name).save(buffer, "PNG")
        assert finish(model.predict({"image": buffer.getvalue()}))["results"][0]["label"] == wanted


@pytest.mark.network
def test_it_says_what_numpy_says(source: Path, graph: Path) -> None:
    weights = StateDict.open(source)
    feeds = [{"image": pixels(name)} for name in ("chelsea.png", "coffee.png")]
    found = compare(lambda f: {"logits": forward(weights, f["image"], relu6)}, graph, feeds, bound=2e-4)
    assert found.argmax == 1.0 and found.cosine > 0.999999
    model = onnx.load(graph)
    assert {node.op_type for node in model.graph.node} == {
        "Conv", "Clip", "Add", "GlobalAveragePool", "Flatten", "Gemm",
    }  # fmt: skip


@pytest.mark.network
def test_agreeing_with_a_spoiled_source_is_not_enough(source: Path, graph: Path, tmp_path: Path) -> None:
    """Swish in the place of ReLU6: graph and source agree, and neither knows the pictures any more."""
    model = onnx.load(graph)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Clip":
            gate = onnx.helper.make_node("Sigmoid", [node.input[0]], [f"{node.name}.gate"])
            nodes += [gate, onnx.helper.make_node("Mul", [node.input[0], gate.output[0]], list(node.output))]
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    spoiled = tmp_path / "spoiled.onnx"
    onnx.save(model, spoiled)
    weights = StateDict.open(source)
    feeds = [{"image": pixels("chelsea.png")}]
    found = compare(lambda f: {"logits": forward(weights, f["image"], swish)}, spoiled, feeds, bound=1e-3)
    assert found.argmax == 1.0
    with pytest.raises(ConversionFailed, match="known labels come out wrong"):
        check_labels(spoiled, [({"image": pixels(name)}, labels) for name, labels in KNOWN.items()])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_conv_stem.weight": np.zeros((16, 3, 3, 3), "<f4")}, "EfficientNet-Lite0 asks for"),
        ({}, "no weight _bn0.weight"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, changed: dict[str, np.ndarray], said: str) -> None:
    tensors = {"_conv_stem.weight": np.zeros((32, 3, 3, 3), "<f4"), **changed}
    path = statedicts.write_zip(tmp_path / "m.pth", tensors)
    with pytest.raises(ConversionFailed, match=said):
        efficientnet.convert({"weights": path}, tmp_path / "out", {}, silent)
    with pytest.raises(ConversionFailed, match="no options"):
        efficientnet.convert({"weights": path}, tmp_path / "out", {"swish": True}, silent)
    assert not (tmp_path / "out").exists()
