"""Models of the starter shelf on which a quantiser stumbled."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deployer.optimizer import driving
from deployer.optimizer.recipes import RecipeRefused, apply, plan, sensitivity
from deployer.optimizer.recipes.application import footprint
from deployer.optimizer.recipes.preparation import load
from deployer.server.model import Model
from tests.deployer.optimizer.recipes import nets
from tests.shelf_files import model_dir


@cache
def recorded(listing: str) -> dict[str, list[dict[str, Any]]]:
    """Inputs of each graph while the listing's own examples are answered."""
    folder = model_dir(listing)
    predictor = driving.open_model(folder)
    recorder = driving.Recorder(most=8, room=64 << 20, seed=0)
    for number, example in enumerate(Model.open(folder).manifest["examples"], 1):
        driving.answer(predictor, example["request"], number, recorder)
        recorder.end_row()
    predictor.close()
    return recorder.feeds


def graph(listing: str, role: str = "model") -> Path:
    return Model.open(model_dir(listing)).path(role)


def test_magika_per_channel(tmp_path: Path):
    """The quantiser failed on its bias of shape [1, 214]."""
    source, feeds = graph("filetype-magika"), recorded("filetype-magika")["model"]
    out = tmp_path / "out.onnx"
    apply("static-int8-minmax", source, out, feeds, folder=tmp_path / "scratch")
    assert footprint(out) < 0.3 * footprint(source)
    assert nets.error(source, out, feeds) < 0.1


def test_a_classifier_of_opset_11_with_all_weights_in_constant_nodes(tmp_path: Path):
    source, feeds = graph("ocr-ppocrv6-small", "classifier"), recorded("ocr-ppocrv6-small")["classifier"]
    for recipe, most in (("fuse-operators", 1e-5), ("weights-int8", 0.05), ("static-int8-minmax", 0.2)):
        out = tmp_path / f"{recipe}.onnx"
        assert apply(recipe, source, out, feeds, folder=tmp_path / "scratch")["opset"] == 17
        assert nets.error(source, out, feeds) < most
    assert nets.kinds(tmp_path / "fuse-operators.onnx")["HardSwish"] == 18
    with pytest.raises(RecipeRefused) as caught:
        apply("int4-blocks-32", source, tmp_path / "int4.onnx", folder=tmp_path / "scratch")
    assert caught.value.facts["reason"] == "no-effect"


def test_silero_in_integers_and_in_half_precision(tmp_path: Path):
    """Its fp16 file did not load."""
    source, feeds = graph("vad-silero-6"), recorded("vad-silero-6")["model"]
    facts = apply("static-int8-minmax", source, tmp_path / "a.onnx", feeds, folder=tmp_path / "scratch")
    assert facts["nodes_quantised"] == 6
    assert [name for name in facts["kept_float"] if "LSTM" in name]
    try:
        apply("fp16", source, tmp_path / "b.onnx", feeds, folder=tmp_path / "scratch")
    except RecipeRefused as no:
        assert no.facts["reason"] in ("does-not-load", "does-not-run", "not-finite", "crashes")
    else:
        assert nets.error(source, tmp_path / "b.onnx", feeds) < 0.05


def test_a_crash_of_the_runtime_is_a_refusal(tmp_path: Path):
    """ONNX Runtime ends the process that loads the fp16 form of this graph."""
    source = graph("zh-lac-ner", "model")
    try:
        apply("fp16", source, tmp_path / "a.onnx", folder=tmp_path / "scratch")
    except RecipeRefused as no:
        assert no.facts["reason"] == "crashes"
        assert not (tmp_path / "a.onnx").exists()
    apply("weights-int8", source, tmp_path / "b.onnx", folder=tmp_path / "scratch")
    assert footprint(tmp_path / "b.onnx") < 0.3 * footprint(source)


def test_layout_shapes_survive(tmp_path: Path):
    """The pipeline reads the number of classes from the shapes of the outputs."""
    source, feeds = graph("doc-layout-cdla"), recorded("doc-layout-cdla")["model"]
    out = tmp_path / "out.onnx"
    apply("fuse-operators", source, out, feeds[:1], folder=tmp_path / "scratch")
    assert nets.kinds(out)["HardSwish"] == 94
    assert list(load(out).graph.output) == list(load(source).graph.output)
    assert nets.error(source, out, feeds[:1]) < 1e-4


def test_sensitivity_of_a_real_graph_ends_in_time(tmp_path: Path):
    source, feeds = graph("doc-orientation"), recorded("doc-orientation")["model"]
    found = sensitivity(source, "static-int8-flow", feeds, tmp_path / "scratch")
    assert len(found) == 33
    assert found == sorted(found, key=lambda item: -item[1])


@pytest.mark.parametrize(
    ("listing", "first"),
    [
        ("en-minilm-l6-fp32", "dynamic-int8-embeddings"),
        ("en-minilm-l6-int8", "fuse-operators"),
        ("doc-orientation", "fuse-operators"),
        ("zh-sentiment", "weights-int8"),
    ],
)
def test_the_prior(listing: str, first: str):
    assert plan(load(graph(listing)))[0] == first
