"""What holds for every recipe: causes are named, nothing is left behind, the graph's face stays."""

import logging
import sys
import tempfile
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from deployer.optimizer.recipes import RECIPES, Calibration, RecipeRefused, apply
from deployer.optimizer.recipes.application import carry_out, footprint
from deployer.optimizer.recipes.protocol import Recipe, save
from tests.deployer.optimizer.recipes import nets
from tests.deployer.optimizer.recipes.conftest import Bench

Make = Callable[[onnx.ModelProto], Bench]


def test_recipes_are_named_in_both_languages():
    for name, recipe in RECIPES.items():
        assert recipe.id == name
        assert name == name.lower() and " " not in name
        assert recipe.title_en.isascii() and not recipe.title_zh.isascii()
    assert len({recipe.title_zh for recipe in RECIPES.values()}) == len(RECIPES)
    assert len({recipe.title_en for recipe in RECIPES.values()}) == len(RECIPES)


@pytest.mark.parametrize("recipe", [r.id for r in RECIPES.values() if r.lossless])
def test_lossless_recipes_change_no_answer(bench: Make, recipe: str):
    made = bench(nets.written_out())
    feeds = nets.pictures(2)
    try:
        made.apply(recipe, feeds)
    except RecipeRefused as no:
        assert no.facts["reason"] in ("no-effect", "no-attention")
    else:
        assert made.error(feeds) < 1e-6


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x07", bytes(2000)])
def test_what_is_no_graph_is_refused(bench: Make, content: bytes):
    made = bench(nets.conv_net())
    made.source.write_bytes(content)
    assert made.refusal("slim")["reason"] == "not-onnx"


def test_a_missing_weights_file_is_named(bench: Make):
    made = bench(nets.conv_net())
    model = onnx.load(str(made.source))
    onnx.save_model(model, str(made.source), save_as_external_data=True, location="w.bin", size_threshold=0)
    (made.folder / "w.bin").unlink()
    facts = made.refusal("weights-int8")
    assert facts["reason"] == "weights-missing"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(bench: Make, value: float):
    model = nets.conv_net()
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array.flat[3] = value
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    facts = bench(model).refusal("static-int8-minmax", nets.pictures())
    assert facts["reason"] == "weights-not-finite"
    assert repr(tensor.name) in facts["why"] and repr(tensor.name) in facts["why_zh"]


def test_infinity_that_masks_is_no_broken_weight(bench: Make):
    net = nets.Net()
    value = net.add("MatMul", "x", net.weight(64, 64))
    value = net.add("Max", value, net.constant(np.float32(-np.inf)))
    net.add("MatMul", value, net.weight(64, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]}))
    assert made.apply("dynamic-int8-per-channel")["nodes_quantised"] == 2


def test_a_quantized_graph_is_not_quantized_again(bench: Make):
    made = bench(nets.product_net())
    made.apply("dynamic-int8")
    made.out.rename(made.source)
    facts = made.refusal("weights-int8")
    assert facts["reason"] == "already-quantized"
    assert "MatMulInteger" in facts["why"]


def test_calibration_without_data_is_refused_first(bench: Make):
    assert bench(nets.conv_net()).refusal("static-int8-minmax")["reason"] == "no-calibration-data"


def test_inputs_that_do_not_fit_are_named(bench: Make):
    facts = bench(nets.conv_net()).refusal("static-int8-minmax", [{"x": np.zeros((1, 4, 16, 16), "f4")}])
    assert facts["reason"] == "calibration-failed"


def test_an_unknown_operator_is_refused(bench: Make):
    net = nets.Net()
    net.domains["nobody.knows"] = 1
    value = net.add("Strange", "x", domain="nobody.knows")
    net.add("MatMul", value, net.weight(64, 64), outputs=["y"])
    made = bench(net.model({"x": (TensorProto.FLOAT, ["n", 64])}, {"y": ["n", 64]}))
    facts = made.refusal("dynamic-int8")
    assert "Strange" in facts["why"]


def test_the_face_of_the_graph_stays(bench: Make):
    model = nets.written_out()
    onnx.helper.set_model_props(model, {"labels": "a,b"})
    made = bench(model)
    for recipe in ("fuse-operators", "static-int8-flow", "weights-int8", "fp16", "slim", "ort-extended"):
        made.apply(recipe, nets.pictures(2))
        out = onnx.load(str(made.out))
        assert list(out.graph.input) == list(model.graph.input)
        assert list(out.graph.output) == list(model.graph.output)
        assert {p.key: p.value for p in out.metadata_props}["labels"] == "a,b"


def test_noise_of_the_libraries_stays_inside(bench: Make, capfd: pytest.CaptureFixture[str]):
    made = bench(nets.conv_net(11))
    handlers, stdout = list(logging.getLogger().handlers), sys.stdout
    made.apply("static-int8-entropy", nets.pictures())
    assert logging.getLogger().handlers == handlers
    assert logging.root.manager.disable == 0
    assert sys.stdout is stdout
    assert tempfile.tempdir != str(made.scratch)
    assert capfd.readouterr() == ("", "")


def test_a_recipe_that_fails_says_how(bench: Make):
    made = bench(nets.conv_net())

    def fail(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        raise ZeroDivisionError("by nought")

    recipe = Recipe("broken", "坏", "broken", "int8", fail)
    with pytest.raises(RecipeRefused) as caught:
        carry_out(recipe, made.source, made.out, folder=made.scratch)
    assert caught.value.facts["reason"] == "failed"
    assert "ZeroDivisionError: by nought" in str(caught.value.facts["why"])


def test_a_result_that_answers_no_numbers_is_refused(bench: Make):
    made = bench(nets.conv_net())

    def spoil(model: onnx.ModelProto, calibration: Calibration) -> onnx.ModelProto:
        tensor = model.graph.initializer[0]
        tensor.raw_data = np.full(tuple(tensor.dims), np.nan, np.float32).tobytes()
        return model

    recipe = Recipe("spoilt", "坏", "spoilt", "fp32", spoil, portable=False)
    with pytest.raises(RecipeRefused) as caught:
        carry_out(recipe, made.source, made.out, nets.pictures(1), folder=made.scratch)
    assert caught.value.facts["reason"] == "not-finite"
    assert not made.out.exists()


def test_large_models_keep_their_weights_beside_the_graph(bench: Make):
    model = nets.conv_net()
    made = bench(model)
    save(model, made.source, limit=1000)
    beside = made.source.with_name(f"{made.source.name}.data")
    assert made.source.stat().st_size < 3000 < beside.stat().st_size
    assert footprint(made.source) > made.source.stat().st_size
    before = beside.read_bytes()
    made.apply("weights-int8")
    assert footprint(made.out) < 0.4 * footprint(made.source)
    assert beside.read_bytes() == before
    save(model, made.source)
    assert not beside.exists()


def test_applying_twice_gives_the_same_file(bench: Make):
    made = bench(nets.written_out())
    made.apply("static-int8-flow", nets.pictures())
    first = made.out.read_bytes()
    made.apply("static-int8-flow", nets.pictures())
    assert made.out.read_bytes() == first


def test_an_unknown_recipe_is_a_mistake_of_the_caller(bench: Make):
    made = bench(nets.conv_net())
    with pytest.raises(KeyError):
        apply("no-such", made.source, made.out, folder=made.scratch)
