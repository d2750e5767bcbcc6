"""The publishing form: what comes of it is an offer, and a refusal is said at the field that it speaks of."""

import json
from typing import Any

import pytest
from sqlalchemy import Engine

from catalog import offer
from catalog.errors import InvalidManifest, VersionTaken
from marketplace.db import transaction
from marketplace.pages import publish_form as forms
from marketplace.pages.publish_form import FieldRefused, Sent
from marketplace.problems import problem_of
from tests.marketplace import shelves

MODEL = Sent("model.onnx", "a" * 64, 5)


def filled(**more: str) -> dict[str, Any]:
    return {
        "vendor": "acme",
        "name": "reader",
        "version": "1.0.0",
        "task": "text-classification",
        "title.zh": "读",
        "title.en": "Reader",
        "summary.zh": "读一行字。",
        "summary.en": "Reads a line.",
        "license.weights": "MIT",
        "license.package": "MIT",
        "languages": "zh，en",
        "vertical.legal": "1",
        "claims.latency_ms": "4,5",
        "claims.memory": "30 MB",
        "examples.1.text": "合计",
        "examples.1.expect": '{"label": "x"}',
        "card.zh": "# 读",
        **more,
    }


def made(data: dict[str, Any], *sent: Sent, **options: Any) -> offer.Offer:
    values = forms.read(data)
    return offer.parse(
        forms.sheet(values, list(sent) or [MODEL], options.get("pictures", {}), options.get("base"), "en")
    )


def test_an_offer_comes_of_it() -> None:
    found = made(filled())
    assert (found.name, found.number) == ("acme/reader", "1.0.0")
    manifest = found.manifest()
    assert manifest["files"] == {"model": "model.onnx"}
    assert [e["request"] for e in manifest["examples"]] == [{"text": "合计"}]
    assert manifest["examples"][0]["expect"] == {"label": "x"}
    assert found.claims == {"latency_ms": 4.5, "memory": 30_000_000}
    words = found.words()
    assert words["verticals"] == ["legal"] and words["languages"] == ["zh", "en"]
    assert words["card_zh"] == "# 读" and words["price"]["plan"] == "free"


def test_a_picture_is_the_request_of_its_example() -> None:
    found = made(filled(), pictures={0: b"\x89PNG"})
    assert set(found.manifest()["examples"][0]["request"]) == {"image"}
    with pytest.raises(FieldRefused) as caught:
        made(filled(), pictures={2: b"x" * (offer.EXAMPLE_LIMIT + 1)})
    assert forms.field_of(caught.value) == "examples.2"


@pytest.mark.parametrize(
    ("paths", "roles"),
    [
        (["model.onnx", "README.md", "LICENSE"], {"model": "model.onnx"}),
        (["weights.gguf", "tokenizer.json"], {"model": "weights.gguf", "tokenizer": "tokenizer.json"}),
        (["a/Encoder.onnx", "decoder.onnx"], {"encoder": "a/Encoder.onnx", "decoder": "decoder.onnx"}),
        (["model.onnx", "labels.txt"], {"model": "model.onnx", "labels": "labels.txt"}),
    ],
)
def test_roles_are_told_by_the_names_of_the_files(paths: list[str], roles: dict[str, str]) -> None:
    assert forms.guessed(paths) == roles
    assert forms.roles("", paths, "en") == roles


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"version": "1"}, "version"),
        ({"name": "No"}, "name"),
        ({"title.en": ""}, "title.en"),
        ({"summary.zh": "a\nb"}, "summary.zh"),
        ({"task": "magic"}, "task"),
        ({"task": ""}, "task"),
        ({"license.weights": ""}, "license.weights"),
        ({"languages": "Chinese!"}, "languages"),
        ({"files": "model model.onnx"}, "files"),
        ({"files": "model: other.onnx"}, "files"),
        ({"options": "{"}, "options"),
        ({"claims.latency_ms": "fast"}, "claims.latency_ms"),
        ({"claims.memory": "much"}, "claims.memory"),
        ({"price.plan": "monthly", "price.fen": "1.5"}, "price.fen"),
        ({"needs.memory": "some"}, "needs.memory"),
        ({"examples.2.expect": "{}"}, "examples.2"),
        ({"examples.0.json": "[", "examples.0.expect": ""}, "examples.0"),
    ],
)
def test_a_refusal_names_its_field(more: dict[str, str], field: str) -> None:
    with pytest.raises((InvalidManifest, FieldRefused)) as caught:
        made(filled(**more))
    assert forms.field_of(caught.value) == field


def test_what_is_no_matter_of_a_field_is_said_above_the_form() -> None:
    assert forms.field_of(VersionTaken(name="a/b", version="1.0.0")) == "version"
    assert forms.field_of(ValueError()) == "form"
    assert forms.field_of(InvalidManifest(path="examples.1.request", why=""), rows=[0, 3]) == "examples.3"
    assert forms.field_of(InvalidManifest(path="examples.2", why=""), rows=[0, 3]) == "form"


def test_a_further_version_begins_with_what_the_last_one_had(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, version = shelves.listed(
            db,
            examples=[{"title_zh": "一", "title_en": "One", "request": {"text": "a"}, "expect": None}],
        )
        values = forms.of_version(listing, version, "1.1.0")
        assert (values["vendor"], values["name"], values["version"]) == ("acme", "reader", "1.1.0")
        assert values.keep_files == {"model.onnx"} and values.keep_examples == {0}
        found = offer.parse(forms.sheet(values, [MODEL], {}, version, "zh"))
        assert len(found.manifest()["examples"]) == 1
        assert found.cards == {"zh": "# 读", "en": "# Read"}


PICTURE = {"image": {"base64": "aGk="}}
BEFORE = [
    {"title_zh": "一", "title_en": "One", "request": {"text": "a"}, "expect": {"n": 1}},
    {"title_zh": "二", "title_en": "Two", "request": PICTURE, "expect": "x"},
    {"title_zh": "三", "title_en": "Three", "request": {"rows": [1]}, "expect": None},
]


def test_examples_of_the_last_version_can_be_edited_left_out_and_added_to(engine: Engine) -> None:
    with transaction(engine) as db:
        listing, version = shelves.listed(db, examples=BEFORE)
        values = forms.of_version(listing, version, "1.1.0")
        assert [row.get("text") for row in values.examples] == ["a", "", "", None, None, None]
        assert values.examples[0]["expect"] == '{"n": 1}' and values.examples[2]["json"] == '{"rows": [1]}'
        assert values.examples[1]["json"] == ""
        sent: dict[str, Any] = dict(values.texts)
        for n, row in enumerate(values.examples):
            sent |= {f"examples.{n}.{part}": text for part, text in row.items()}
        sent |= {"before": "3", "keep-example.0": "1", "keep-example.1": "1"}
        sent |= {"examples.0.expect": '{"n": 2}', "examples.1.title.en": "Second", "examples.4.text": "new"}
        found = made(sent, base=version).manifest()["examples"]
        assert [(e["title_en"], e["request"], e["expect"]) for e in found] == [
            ("One", {"text": "a"}, {"n": 2}),
            ("Second", PICTURE, "x"),
            ("5", {"text": "new"}, None),
        ]
        assert forms.used(forms.read(sent), {5}) == [0, 1, 4, 5]
        other = made(sent, base=version, pictures={1: b"other"}).manifest()["examples"][1]["request"]
        assert other != PICTURE and set(other) == {"image"}


@pytest.mark.parametrize("before", ["", "x", "-1", "9999", "１"])
def test_a_count_of_examples_that_is_none_is_bounded(before: str) -> None:
    assert len(forms.read(filled(before=before)).examples) <= forms.MOST_EXAMPLES + forms.EXAMPLES


def test_what_is_to_be_filled_in_is_said_to_people() -> None:
    said = problem_of(FieldRefused(field="files", why="choose the model's files"), "en")
    assert "openapi" not in said.next and said.detail == "choose the model's files"


def test_the_sample_is_a_sheet_that_holds() -> None:
    values = forms.of_sheet(forms.SAMPLE.encode())
    assert values["title.en"] == "Words of invoices"
    assert json.loads(values.examples[0]["expect"]) == {"results": [{"label": "amount"}]}
    with pytest.raises(InvalidManifest) as caught:
        forms.of_sheet(forms.SAMPLE.replace("task: text", "task: txet").encode())
    assert str(caught.value.facts["path"]).startswith("market.yaml:4")
