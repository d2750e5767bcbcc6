"""All checks of a folder, with their real children and a real dry run: what is false or hostile is told."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import helper, numpy_helper

from catalog.offer import read
from catalog.scan import CHECKS, Row, Verdict
from marketplace import chat_templates
from marketplace.examining import Bounds, Examination, Subject, examine, scan_seconds
from marketplace.problems import WORDS, problem
from tests.marketplace.offered import CARD_EN, CARD_ZH, offer_folder

GATE_ONLY = ("folder", "digests", "format", "secrets")


def rows_of(folder: Path, **options: Any) -> list[Row]:
    return examine(folder, read(folder), **options)


def told(rows: list[Row]) -> dict[str, str]:
    """The codes that were given, with their verdicts."""
    return {row.code: str(row.verdict) for row in rows if row.code}


def verdicts(rows: list[Row]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row.check, set()).add(str(row.verdict))
    return found


@pytest.fixture(autouse=True)
def in_words(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """Every row that a test saw has words in both languages, with all facts filled in."""
    seen: list[Row] = []
    yield seen
    for row in seen:
        if row.code:
            assert row.code in WORDS
            for lang in ("zh", "en"):
                said = problem(row.code, lang, **row.facts)
                assert "–" not in said.detail, (row, said)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return offer_folder(tmp_path_factory.mktemp("good") / "offer", claims={"latency_ms": 5000.0})


def test_a_good_folder_passes_every_check(good: Path, in_words: list[Row]) -> None:
    rows = rows_of(good)
    in_words += rows
    assert verdicts(rows) == {id: {"unknown"} if id == "scanner" else {"pass"} for id in CHECKS}
    assert told(rows) == {"scanner-none": "unknown", "claim-latency-holds": "pass"}


def test_checking_here_touches_nothing(good: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in good.rglob("*")}
    rows_of(good)
    assert {path: path.stat().st_mtime_ns for path in good.rglob("*")} == before


def test_progress_is_told_and_may_end_it(good: Path) -> None:
    class Enough(Exception):
        pass

    def tick(done: int, total: int, note: str = "") -> None:
        raise Enough

    with pytest.raises(Enough):
        rows_of(good, progress=tick)


def test_what_was_refused_is_not_loaded(tmp_path: Path, in_words: list[Row]) -> None:
    folder = offer_folder(tmp_path / "offer")
    (folder / "model.onnx").write_bytes(b"\x80\x04cposix\nsystem\n(S'touch canary'\ntR.")
    rows = rows_of(folder)
    in_words += rows
    found = verdicts(rows)
    assert found["format"] == {"fail"}
    assert all(found[id] == {"unknown"} for id in ("metadata", "dry-run", "examples", "claims"))
    assert not list(tmp_path.rglob("canary"))


def test_false_claims_are_told(tmp_path: Path, in_words: list[Row]) -> None:
    folder = offer_folder(
        tmp_path / "offer",
        "orient-82m-int8",
        claims={"latency_ms": 0.001, "memory": 1000, "accuracy": {"metric": "accuracy", "value": 0.99}},
    )
    rows = rows_of(folder)
    in_words += rows
    assert told(rows) == {
        "scanner-none": "unknown",
        "metadata-type": "fail",
        "metadata-parameters": "fail",
        "claim-latency-false": "fail",
        "claim-memory-more": "warn",
        "claim-not-measured": "warn",
    }


def test_a_claimed_accuracy_is_measured_on_the_sample(tmp_path: Path, in_words: list[Row]) -> None:
    for name, value, code in (("good", 0.8, "claim-accuracy-holds"), ("false", 1.0, "claim-accuracy-false")):
        folder = offer_folder(
            tmp_path / name,
            shelf="zh-sentiment",
            cards=(CARD_ZH, CARD_EN),
            claims={"accuracy": {"metric": "accuracy", "value": value}},
            languages=["zh"],
        )
        rows = rows_of(folder)
        in_words += rows
        row = next(row for row in rows if row.check == "claims")
        assert row.code == code
        assert row.facts["rows"] == 200
        assert 0.7 < row.facts["measured"] < 1


def test_wrong_examples_are_told_with_the_first_mismatch(tmp_path: Path, in_words: list[Row]) -> None:
    folder = offer_folder(tmp_path / "offer")
    sheet = yaml.safe_load((folder / "market.yaml").read_text("utf-8"))
    sheet["examples"][1]["expect"] = {"results": {"$start": [{"label": "sideways"}]}}
    (folder / "market.yaml").write_text(yaml.safe_dump(sheet, allow_unicode=True), "utf-8")
    rows = rows_of(folder)
    in_words += rows
    row = next(row for row in rows if row.check == "examples")
    assert (row.verdict, row.code) == (Verdict.failed, "example-wrong")
    assert (row.facts["right"], row.facts["of"], row.facts["example"]) == (2, 3, 2)
    assert "sideways" in row.facts["mismatch"]


def test_no_examples_are_a_warning(tmp_path: Path, in_words: list[Row]) -> None:
    rows = rows_of(offer_folder(tmp_path / "offer", examples=[]))
    in_words += rows
    assert told(rows)["example-none"] == "warn"
    assert not any(row.verdict == Verdict.failed for row in rows)


def test_a_signature_is_held_against_the_graph(tmp_path: Path, in_words: list[Row]) -> None:
    graph = onnx.load(str(offer_folder(tmp_path / "source") / "model.onnx")).graph
    inputs = [{"name": graph.input[0].name, "dtype": "FP32", "shape": [None, 3, 224, 224]}]
    outputs = [{"name": graph.output[0].name, "dtype": "float32", "shape": [None, 4]}]
    right = offer_folder(tmp_path / "right", signature={"inputs": inputs, "outputs": outputs})
    assert "metadata-signature" not in told(rows_of(right))
    wrong = offer_folder(
        tmp_path / "wrong", signature={"inputs": [inputs[0] | {"dtype": "int8"}], "outputs": outputs}
    )
    rows = rows_of(wrong)
    in_words += rows
    assert told(rows)["metadata-signature"] == "fail"


def _nan(model: onnx.ModelProto) -> onnx.ModelProto:
    tensor = next(t for t in model.graph.initializer if t.data_type == 1 and len(t.dims) == 4)
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(-1)[7] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def test_weights_that_are_no_numbers_are_told(tmp_path: Path, in_words: list[Row]) -> None:
    rows = rows_of(offer_folder(tmp_path / "offer", graph=_nan))
    in_words += rows
    assert any("nan" in code for code, verdict in told(rows).items() if verdict == "fail"), told(rows)


def _nan_at_run_time(model: onnx.ModelProto) -> onnx.ModelProto:
    name = model.graph.output[0].name
    for node in model.graph.node:
        for place, output in enumerate(node.output):
            if output == name:
                node.output[place] = "before"
    nought = numpy_helper.from_array(np.float32(0), "nought")
    model.graph.initializer.append(nought)
    model.graph.node.append(helper.make_node("Mul", ["before", "nought"], ["nothing"]))
    model.graph.node.append(helper.make_node("Div", ["nothing", "nought"], [name]))
    return model


def test_answers_that_are_no_numbers_are_told(tmp_path: Path, in_words: list[Row]) -> None:
    rows = rows_of(offer_folder(tmp_path / "offer", graph=_nan_at_run_time))
    in_words += rows
    assert told(rows)["example-nan"] == "fail"


def _endless(model: onnx.ModelProto) -> onnx.ModelProto:
    """Before it answers it loops for as long as its input is a picture."""
    name = model.graph.output[0].name
    for node in model.graph.node:
        for place, output in enumerate(node.output):
            if output == name:
                node.output[place] = "before"
    shape = [d.dim_value or d.dim_param for d in model.graph.output[0].type.tensor_type.shape.dim]
    body = helper.make_graph(
        [
            helper.make_node("Sigmoid", ["state"], ["next"]),
            helper.make_node("Identity", ["going"], ["go_on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", 7, []),
            helper.make_tensor_value_info("going", 9, []),
            helper.make_tensor_value_info("state", 1, shape),
        ],
        [helper.make_tensor_value_info("go_on", 9, []), helper.make_tensor_value_info("next", 1, shape)],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.int64(1 << 60), "times"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("Loop", ["times", "yes", "before"], [name], body=body))
    return model


def test_an_endless_loop_at_run_time_is_told(tmp_path: Path, in_words: list[Row]) -> None:
    rows = rows_of(offer_folder(tmp_path / "offer", graph=_endless), bounds=Bounds(answer=2, start=20))
    in_words += rows
    codes = told(rows)
    assert codes.get("dry-run-hang") == "fail" or any(code.startswith("onnx-") for code in codes), codes


def test_licences_that_conflict_are_told(tmp_path: Path, in_words: list[Row]) -> None:
    licence = {"package": "MIT", "weights": "MIT", "base": "CC-BY-NC-SA-4.0"}
    rows = rows_of(offer_folder(tmp_path / "offer", license=licence))
    in_words += rows
    assert told(rows)["licence-base-conflict"] == "fail"
    assert told(rows)["licence-non-commercial"] == "warn"


HOSTILE = {
    "metadata-template-unsafe": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "metadata-template-slow": "{% for a in range(99999) %}{% for b in range(99999) %}" + "{% endfor %}" * 2,
    "metadata-template-broken": "{% for m in messages %}",
}


@pytest.mark.parametrize("code", HOSTILE)
def test_hostile_chat_templates_are_told(tmp_path: Path, in_words: list[Row], code: str) -> None:
    """By the gate, which looks at the text, or by the sandbox that renders it."""
    folder = offer_folder(tmp_path / "offer")
    settings = {"chat_template": HOSTILE[code]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    rows = rows_of(folder, bounds=Bounds(seconds=5))
    in_words += rows
    assert any(row.verdict == Verdict.failed for row in rows if row.check in ("format", "metadata"))


@pytest.mark.parametrize("code", HOSTILE)
def test_the_template_sandbox_stands_alone(tmp_path: Path, in_words: list[Row], code: str) -> None:
    """Whatever the gate overlooked: the child itself refuses, crashes or is ended."""
    (tmp_path / "chat_template.jinja").write_text(HOSTILE[code], "utf-8")
    work = tmp_path / "work"
    work.mkdir()
    looked = Examination(tmp_path, Subject({}), work, bounds=Bounds(seconds=5))
    arguments = {"folder": tmp_path, "manifest": {"artifacts": [{"path": "chat_template.jinja"}]}}
    rows = looked.in_child(
        "marketplace.chat_templates:check", arguments, ("metadata",), slow="metadata-template-slow"
    )
    in_words += rows
    assert told(rows) == {code: "fail"}


def test_a_benign_chat_template_passes(tmp_path: Path) -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    (tmp_path / "chat_template.jinja").write_text(template, "utf-8")
    assert chat_templates.check(str(tmp_path), {"artifacts": [{"path": "chat_template.jinja"}]}) == []


def test_a_child_that_eats_memory_is_a_row(tmp_path: Path, in_words: list[Row]) -> None:
    template = "{% set a = 'x' * 100000000 %}{{ (a ~ a ~ a ~ a ~ a ~ a ~ a ~ a) | length }}"
    (tmp_path / "chat_template.jinja").write_text(template, "utf-8")
    (tmp_path / "work").mkdir()
    looked = Examination(tmp_path, Subject({}), tmp_path / "work", bounds=Bounds(memory=128 << 20))
    arguments = {"folder": tmp_path, "manifest": {"artifacts": [{"path": "chat_template.jinja"}]}}
    rows = looked.in_child("marketplace.chat_templates:check", arguments, ("metadata",))
    in_words += rows
    assert told(rows) == {"check-out-of-memory": "fail"}


def test_a_manifest_that_does_not_hold_together_is_a_row(tmp_path: Path, in_words: list[Row]) -> None:
    manifest = {"schema": 1, "name": "../../etc", "artifacts": [{"path": "../../etc/passwd"}]}
    rows = examine(tmp_path, Subject(manifest))
    in_words += rows
    assert told(rows)["manifest-invalid"] == "fail"
    assert set(verdicts(rows)) == set(CHECKS)


def test_unfinished_cards_do_not_stop_a_draft(tmp_path: Path) -> None:
    folder = offer_folder(tmp_path / "offer", cards=("短。", "Short."))
    assert told(rows_of(folder))["card-too-short"] == "fail"
    assert told(rows_of(folder, strict=False))["card-too-short"] == "warn"


def test_many_files_do_not_add_up_to_hours() -> None:
    """A thousand files that each take almost as long as one may are still ended within minutes."""
    assert scan_seconds([{"path": f"{n}.txt", "size": 1000} for n in range(1000)], Bounds()) < 300
    assert scan_seconds([{"path": "a.onnx", "size": 2 << 30}], Bounds()) > 100
    assert scan_seconds([{"path": "a.txt", "size": 1}], Bounds()) > Bounds().seconds
