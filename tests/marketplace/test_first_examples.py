"""The examples that a vendor is shown hold: the template's, and those that `--init` writes."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog import first_examples, metadata, offer, plain_yaml
from deployer.examples import check
from marketplace.cli import main
from marketplace.examining import examine
from marketplace.pages import publish_form as forms
from tests import shelf_files, tiny_models
from tests.marketplace.offered import CARD_EN, CARD_ZH

STARTERS = Path(offer.__file__).parent / "starter"
MATCHERS = ("$near", "$abs", "$min", "$max", "$contains", "$start", "$len", "$any")
CARDS = {"card.zh.md": CARD_ZH.encode(), "card.en.md": CARD_EN.encode()}


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MARKET_URL", "MARKET_KEY", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MARKET_LANG", "en")
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "no-home"))


def verdicts(folder: Path) -> dict[str, str]:
    """The verdict of each check that the examples are a matter of."""
    rows = examine(folder, offer.read(folder))
    wanted = ("manifest", "format", "dry-run", "examples")
    return {
        row.check: f"{row.verdict} {row.code} {row.facts}"[:200] for row in rows if row.check in wanted
    } | {row.check: str(row.verdict) for row in rows if row.check in wanted and str(row.verdict) == "pass"}


def init(folder: Path) -> str:
    ran = CliRunner().invoke(main, ["publish", "--init", str(folder), "--vendor", "acme"])
    assert ran.exit_code == 0, ran.stderr
    return (folder / "market.yaml").read_text("utf-8")


def test_the_template_of_the_form_passes_its_checks(tmp_path: Path) -> None:
    words = {"合计": "amount", "日期": "date", "抬头": "title"}
    files = {
        "model.onnx": tiny_models.classifier_graph(words, ["amount", "date", "title"]),
        "tokenizer.json": tiny_models.tokenizer(tuple(words)),
        "market.yaml": forms.SAMPLE.encode(),
        **CARDS,
    }
    folder = tiny_models.write(files, tmp_path / "invoice-words")
    assert set(verdicts(folder).values()) == {"pass"}


def test_the_form_shows_the_expectation_of_its_template() -> None:
    shown = json.loads(forms.EXPECT)
    assert shown == yaml.safe_load(forms.SAMPLE)["examples"][0]["expect"]


# What --init writes


def test_a_plain_graph_has_an_example_that_its_model_answered(tmp_path: Path) -> None:
    folder = tiny_models.write({"model.onnx": tiny_models.plain_graph(2.0)}, tmp_path / "plain")
    sheet = yaml.safe_load(init(folder))
    assert sheet["task"] == "tensors"
    (example,) = sheet["examples"]
    assert example["request"] == {"rows": [[0.5, 0.5, 0.5]]}
    assert [near["$near"] for near in example["expect"]["outputs"]["y"][0]] == [1.0, 1.0, 1.0]
    assert set(verdicts(folder).values()) == {"pass"}


def test_a_text_model_has_an_example_that_its_model_answered(tmp_path: Path) -> None:
    files = tiny_models.hub_files()
    kept = {name: files[name] for name in ("config.json", "tokenizer.json", "README.md")}
    folder = tiny_models.write({"model.onnx": files["onnx/model.onnx"], **kept}, tmp_path / "reviews")
    sheet = yaml.safe_load(init(folder))
    (example,) = sheet["examples"]
    assert "text" in example["request"]
    (result,) = example["expect"]["results"]
    assert result["label"] in ("negative", "positive") and set(result["score"]) == {"$near", "$abs"}
    assert set(verdicts(folder).values()) == {"pass"}


def test_a_model_that_cannot_be_asked_has_a_template_to_fill_in(tmp_path: Path) -> None:
    folder = tiny_models.write({"model.onnx": b"\x08\x0a graph"}, tmp_path / "broken")
    text = init(folder)
    assert yaml.safe_load(text)["examples"] == []
    assert yaml.safe_load(uncommented(text))["examples"] == [first_examples.template("tensors")]
    assert "$near" in text


def uncommented(text: str) -> str:
    """The sheet with the example of its comments put in."""
    rows = [line.removeprefix("# ") for line in text.splitlines() if line.startswith(("# - title", "#   "))]
    return text.replace("examples: []\n", "examples:\n" + "".join(f"{row}\n" for row in rows))


@pytest.mark.parametrize("task", sorted(first_examples.TEMPLATES))
def test_the_template_of_each_task_is_read_once_it_is_filled_in(task: str, tmp_path: Path) -> None:
    files = dict.fromkeys(("model.onnx", "photo.jpg", "speech.wav", "table.csv"), b"x")
    folder = tiny_models.write(files, tmp_path / "any")
    text = uncommented(init(folder)).replace("task: tensors", f"task: {task}")
    shown = json.dumps(first_examples.template(task), ensure_ascii=False)
    filled = yaml.safe_load(text) | {"examples": [json.loads(shown.replace("…", "合计"))]}
    (folder / "market.yaml").write_text(plain_yaml.dump(filled), "utf-8")
    (found,) = offer.read(folder).manifest()["examples"]
    assert check(found["expect"], {}) == [] and found["request"]


def test_every_task_that_is_served_has_a_template() -> None:
    assert set(first_examples.TEMPLATES) == {*metadata.ROLES, "tensors"}


@pytest.mark.parametrize("listing", sorted(entry.name for entry in STARTERS.iterdir() if entry.is_dir()))
def test_templates_ask_and_expect_what_the_shelf_does(listing: str) -> None:
    manifest = json.loads((shelf_files.model_dir(listing) / "manifest.json").read_bytes())
    request, expect = first_examples.TEMPLATES[manifest["task"]]
    assert any(set(request) <= set(example["request"]) for example in manifest["examples"])
    assert any(told_of(expect) <= told_of(example["expect"]) for example in manifest["examples"])


def told_of(expect: object) -> set[str]:
    """Names of the answer's fields."""
    if isinstance(expect, list):
        return set().union(*map(told_of, expect))
    if not isinstance(expect, dict):
        return set()
    own = {key for key in expect if not key.startswith("$")}
    return own.union(*map(told_of, expect.values()))


# From an answer to an expectation


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=30,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(JSON.filter(lambda value: "$" not in json.dumps(value)))
def test_an_answer_holds_against_its_own_expectation(answer: object) -> None:
    expect = first_examples.expectation_of(answer)
    assert expect is None or check(answer, expect) == []


def test_what_says_nothing_of_being_right_is_not_expected() -> None:
    long = {"results": [{"label": "a", "score": 0.97, "scores": {"a": 0.97}}], "usage": {"prompt_tokens": 3}}
    assert first_examples.expectation_of(long) == {
        "results": [{"label": "a", "score": {"$near": 0.97, "$abs": 0.02}}]
    }
    assert first_examples.expectation_of({"audio": "x" * 300}) == {"audio": {"$len": {"$min": 1}}}
    assert first_examples.expectation_of([0.5] * 20)["$len"] == 20
    assert first_examples.expectation_of({}) is None


def test_a_request_is_made_of_a_signature() -> None:
    inputs = [
        {"name": "ids", "dtype": "int64", "shape": (None, 2)},
        {"name": "mask", "dtype": "bool", "shape": ()},
        {"name": "words", "dtype": "string", "shape": (1,)},
    ]
    assert first_examples.request_of_tensors(inputs) == {
        "inputs": {"ids": [[1, 1]], "mask": False, "words": ["text"]}
    }
    wide = {"name": "x", "dtype": "float32", "shape": (1, 3, 224, 224)}
    assert first_examples.request_of_tensors([wide]) is None
    assert first_examples.request_of_tensors([]) is None


def test_a_picture_that_lies_beside_the_model_is_sent(tmp_path: Path) -> None:
    tiny_models.write({"model.onnx": b"x", "large.png": b"x" * 70_000, "street.png": b"x"}, tmp_path)
    assert first_examples.request_for("object-detection", tmp_path, "zh") == {
        "image": {"$file": "street.png"}
    }
    assert first_examples.request_for("text-to-speech", tmp_path, "zh") is not None
    assert first_examples.request_for("automatic-speech-recognition", tmp_path, "zh") is None
    assert first_examples.request_for("text-generation", tmp_path, "zh") is None


def test_the_schema_tells_the_matchers_and_an_example_of_each_task() -> None:
    shown = json.loads(CliRunner().invoke(main, ["publish", "--schema"]).stdout)["$defs"]["Example"]
    assert shown["examples"] == [first_examples.template(task) for task in first_examples.TEMPLATES]
    for name in MATCHERS:
        assert f"{name}:" in shown["properties"]["expect"]["description"]
        assert f"{name}:" in first_examples.MATCHERS["zh"]


def test_both_readmes_tell_the_matchers() -> None:
    root = Path(offer.__file__).parents[1]
    for readme in ("README.md", "README.zh.md"):
        text = (root / readme).read_text("utf-8")
        assert [name for name in MATCHERS if f"{name}:" not in text] == []
