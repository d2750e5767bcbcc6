"""Two shops and the Hub between them: the real client on the first, imports and a mirror in the second.

The steps stand in their order, and later ones build on what earlier ones left in the shops.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from onnx import numpy_helper

from tests import tiny_models
from tests.flows.people import person
from tests.marketplace.hubs import Line, line
from tests.marketplace.offered import CARD_EN, CARD_ZH
from tests.shop import Shop, wait_until

NAME, GATED = "beta/reviews", "beta/inner-reviews"
HERE, HERE_GATED, MIRRORED = "acme/reviews", "acme/inner-reviews", "acme/followed"
MODEL = "onnx/model.onnx"
FILES = {MODEL, "tokenizer.json", "notes/words.txt"}
SHEET: dict[str, Any] = {
    "schema": 1,
    "kind": "model",
    "task": "text-classification",
    "title": {"zh": "评论好坏", "en": "Tiny reviews"},
    "summary": {"zh": "判断一条评论是好评还是差评。", "en": "Tells a good review from a bad one."},
    "verticals": ["finance_and_business"],
    "languages": ["en"],
    "license": {"package": "Apache-2.0", "weights": "Apache-2.0"},
    "price": {"plan": "free"},
    "card": {"zh": "card.zh.md", "en": "card.en.md"},
    "source": "made for a test",
    "files": {"model": MODEL, "tokenizer": "tokenizer.json"},
    "options": {"labels": ["negative", "positive"], "max_tokens": 64},
    "examples": [
        {
            "title": {"zh": "好评", "en": "A good one"},
            "request": {"text": "good fine"},
            "expect": {"results": [{"label": "positive"}]},
        }
    ],
}


@cache
def heavy_graph(seed: int) -> bytes:
    """The tiny classifier with words that no text holds, so that it weighs 12 MB.

    The client takes files in pieces of 10 MiB, and goes on only behind a whole one.
    """
    model = onnx.load_model_from_string(tiny_models.classifier_graph())
    tensor = next(one for one in model.graph.initializer if one.name == "weights")
    known = numpy_helper.to_array(tensor)
    more = np.random.default_rng(seed).standard_normal((1_500_000, 2)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(np.concatenate([known, more]), "weights"))
    return model.SerializeToString(deterministic=True)


def offered(folder: Path, name: str, number: str = "1.0.0", *, seed: int = 0, **sheet: Any) -> Path:
    """A folder to publish."""
    about = {"name": name, "version": number, **SHEET, **sheet}
    files = {
        MODEL: heavy_graph(seed),
        "tokenizer.json": tiny_models.tokenizer(),
        "notes/words.txt": "\n".join(tiny_models.WORDS).encode(),
        "card.zh.md": CARD_ZH.encode(),
        "card.en.md": CARD_EN.encode(),
        "market.yaml": yaml.safe_dump(about, allow_unicode=True, sort_keys=False).encode(),
    }
    return tiny_models.write(files, folder)


def done(ran: "subprocess.CompletedProcess[str]", code: int = 0) -> Any:
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    return json.loads(ran.stdout) if ran.stdout.startswith(("{", "[")) else ran.stdout


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The shop that is a Hub: one listing for all, and one for accounts."""
    folder = tmp_path_factory.mktemp("first")
    with Shop.start(folder / "home", MARKET_SHELF="none") as shop:
        done(shop.market("vendors", "create", "beta", "--vouch"))
        done(shop.market("publish", str(offered(folder / "open", NAME)), "--list"))
        done(shop.market("publish", str(offered(folder / "gated", GATED, seed=1, gated=True)), "--list"))
        yield shop


@pytest.fixture(scope="module")
def wire(first: Shop) -> Iterator[Line]:
    """The line from everybody to the first shop."""
    with line(first) as built:
        yield built


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, wire: Line) -> Iterator[Shop]:
    """The shop that imports from it; without a token at first."""
    folder = tmp_path_factory.mktemp("second")
    own = {"HF_HOME": str(folder / "hf"), "HF_TOKEN": "", "MARKET_HF_ENDPOINT": f"{wire.url}/hf"}
    with Shop.start(folder / "home", MARKET_SHELF="none", **own) as shop:
        done(shop.market("vendors", "create", "acme", "--vouch"))
        yield shop


@pytest.fixture
def api(wire: Line) -> HfApi:
    return HfApi(endpoint=f"{wire.url}/hf", token=False)


@pytest.fixture(scope="module")
def token(first: Shop) -> str:
    """A token of somebody else's account, which may read and no more."""
    return person(first, "reader", "opc", scopes=("read",)).key


def fetched(wire: Line) -> list[str]:
    """The files that were fetched over a line, by the ends of their paths."""
    heads = (head.partition("\r\n")[0].split(" ") for head in wire.asked)
    return [
        path.partition("/resolve/")[2] for method, path, _ in heads if method == "GET" and "/resolve/" in path
    ]


# The first shop, as the real client sees it


def test_the_client_finds_what_was_published(api: HfApi) -> None:
    def names(**filters: Any) -> set[str]:
        return {model.id for model in api.list_models(**filters)}

    assert names() == names(author="beta") == names(filter="onnx") == {NAME, GATED}
    assert names(search="tiny reviews", pipeline_tag="text-classification") == {NAME, GATED}
    assert names(search="评论") == names(filter=["en", "license:apache-2.0"]) == {NAME, GATED}
    assert names(search="inner") == names(gated=True) == {GATED}
    assert names(gated=False) == names(gated=False, author="beta", filter="finance_and_business") == {NAME}
    assert names(author="gamma") == names(pipeline_tag="tensors") == names(filter="gguf") == set()


def test_the_client_sees_the_version_and_its_files(api: HfApi, first: Shop) -> None:
    told = api.model_info(NAME, files_metadata=True)
    sizes = {one.rfilename: one.size for one in told.siblings or []}
    assert (told.library_name, told.pipeline_tag, told.gated) == ("onnx", "text-classification", False)
    assert sizes[MODEL] == len(heavy_graph(0)) >= 12_000_000
    tree = {one.path: one for one in api.list_repo_tree(NAME, recursive=True)}
    assert FILES | {"onnx", "notes", "README.md", "market.yaml"} <= set(tree)
    own = digests(first, NAME)
    assert set(own) == FILES and own[MODEL] == hashlib.sha256(heavy_graph(0)).hexdigest()
    assert set(api.list_repo_files(NAME)) == set(sizes) <= set(tree)
    refs = api.list_repo_refs(NAME)
    assert [(one.name, one.target_commit) for one in refs.branches] == [("main", told.sha)]
    assert [(one.name, one.target_commit) for one in refs.tags] == [("1.0.0", told.sha)]


def test_a_snapshot_is_fetched_once(api: HfApi, wire: Line, tmp_path: Path) -> None:
    def snapshot() -> Path:
        return Path(snapshot_download(NAME, cache_dir=tmp_path, endpoint=api.endpoint, token=False))

    wire.forget()
    folder = snapshot()
    came = {path.partition("/")[2] for path in fetched(wire)}
    assert came and len(came) == len(fetched(wire))
    # The same content under two names is one file to the client.
    assert {"passport/manifest.json", "manifest.json"} - came
    assert came | {"passport/manifest.json", "manifest.json"} == set(api.list_repo_files(NAME))
    assert (folder / MODEL).read_bytes() == heavy_graph(0)
    wire.forget()
    assert snapshot() == folder
    assert fetched(wire) == []


def test_one_file_of_a_folder_and_a_part_of_all(api: HfApi, tmp_path: Path) -> None:
    own: dict[str, Any] = {"cache_dir": tmp_path, "endpoint": api.endpoint, "token": False}
    place = hf_hub_download(NAME, "words.txt", subfolder="notes", **own)
    assert Path(place).read_text("utf-8").split() == list(tiny_models.WORDS)
    folder = Path(snapshot_download(NAME, allow_patterns="notes/*", local_dir=tmp_path / "some", **own))
    assert [one.name for one in folder.rglob("*.txt")] == ["words.txt"] and not (folder / "onnx").exists()


def test_the_command_line_of_the_hub(first: Shop, tmp_path: Path) -> None:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MARKET_"))}
    own |= {"HF_ENDPOINT": f"{first.url}/hf", "HF_HOME": str(tmp_path / "home"), "NO_COLOR": "1"}
    hf = [str(Path(sys.executable).with_name("hf")), "download", NAME, "--revision", "1.0.0"]
    command = [*hf, "--include", "onnx/*", "--local-dir", str(tmp_path / "here")]
    ran = subprocess.run(command, env=own, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "here" / MODEL).read_bytes() == heavy_graph(0)


def test_a_download_that_breaks_off_goes_on_where_it_was(api: HfApi, wire: Line, tmp_path: Path) -> None:
    wire.forget()
    wire.break_after(11_000_000)
    place = hf_hub_download(NAME, MODEL, cache_dir=tmp_path, endpoint=api.endpoint, token=False)
    assert Path(place).read_bytes() == heavy_graph(0)
    assert fetched(wire) == [f"main/{MODEL}"] * 2
    assert resumed_at(wire) == [10 << 20]


def resumed_at(wire: Line) -> list[int]:
    """Where the requests for the rest of a file began."""
    fields = [field.lower() for head in wire.asked for field in head.split("\r\n")]
    found = [field.removeprefix("range: bytes=") for field in fields if field.startswith("range: ")]
    return [int(text.removesuffix("-")) for text in found]


def test_refusals_are_those_that_the_client_knows(api: HfApi, tmp_path: Path) -> None:
    own: dict[str, Any] = {"cache_dir": tmp_path, "endpoint": api.endpoint, "token": False}
    for revision in ("9.9.9", "0" * 40, "refs/pr/1"):
        with pytest.raises(RevisionNotFoundError):
            hf_hub_download(NAME, MODEL, revision=revision, **own)
    with pytest.raises(RevisionNotFoundError):
        snapshot_download(NAME, revision="nowhere", **own)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(NAME, "model.onnx", subfolder="notes", **own)
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("beta/nothing", MODEL, **own)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("beta/nothing")


def test_a_gated_listing_opens_by_token(api: HfApi, token: str, tmp_path: Path) -> None:
    assert api.model_info(GATED).gated == "auto"
    for nobody in (False, "mk_" + "x" * 43):
        with pytest.raises(GatedRepoError):
            snapshot_download(GATED, cache_dir=tmp_path / "a", endpoint=api.endpoint, token=nobody)
    own: dict[str, Any] = {"cache_dir": tmp_path / "b", "endpoint": api.endpoint, "token": token}
    assert (Path(snapshot_download(GATED, **own)) / MODEL).read_bytes() == heavy_graph(1)
    with pytest.raises(EntryNotFoundError):
        hf_hub_download(GATED, "none.bin", **own)


# The second shop takes it over


def digests(shop: Shop, name: str, number: str = "1.0.0", token: str | bool = False) -> dict[str, str]:
    """The version's own files with their sha256, as the shop's Hub tells them."""
    tree = HfApi(endpoint=f"{shop.url}/hf", token=token).list_repo_tree(name, revision=number, recursive=True)
    return {one.path: one.lfs.sha256 for one in tree if isinstance(one, RepoFile) and one.lfs}


def see(shop: Shop, job: dict[str, Any]) -> dict[str, Any]:
    with shop.api as api:
        return api.get(f"/api/imports/{job['id']}").raise_for_status().json()


def test_an_import_that_is_killed_midway_goes_on_and_lists_nothing_half(second: Shop, wire: Line) -> None:
    wire.forget()
    wire.break_after(6_000_000, stall=True)
    job = done(second.market("import", f"hf://{NAME}", "--name", HERE, "--no-wait", "--json"))
    assert wire.stalled.wait(60)
    part = second.home / "imports" / job["id"] / "fetched" / f"{MODEL}.part"
    wait_until(lambda: part.stat().st_size > 5_000_000, within=20, what="what came is on the disk")
    with second.api as api:
        assert api.get(f"/api/versions/{HERE}").status_code == 404
    app = second.pid_of("marketplace.app")
    second.kill()
    with suppress(ProcessLookupError):  # it ends with its supervisor, at its own time
        os.kill(app, signal.SIGKILL)
    wire.mend()
    second.launch()
    wait_until(lambda: see(second, job)["state"] in ("done", "failed"), within=60, what="it ends")
    wait_until(
        lambda: see(second, job)["check_state"] in ("passed", "failed"), within=60, what="it is checked"
    )
    job = see(second, job)
    assert (job["state"], job["check_state"], job["version_state"]) == ("done", "passed", "draft"), job
    assert resumed_at(wire) and min(resumed_at(wire)) > 5_000_000
    assert not (second.home / "imports" / job["id"]).exists()
    with second.api as api:
        assert api.get(f"/api/versions/{HERE}").json()["total"] == 1


def nothing_of(shop: Shop, name: str) -> bool:
    """Whether strangers see nothing of a listing."""
    vendor, _, word = name.partition("/")
    found = HfApi(endpoint=f"{shop.url}/hf", token=False).list_models(author=vendor, search=word)
    return not list(found)


def test_the_draft_is_approved_and_has_the_same_files(first: Shop, second: Shop, api: HfApi) -> None:
    assert nothing_of(second, HERE)  # a draft is no listing
    done(second.market("publish", f"{HERE}@1.0.0"))
    assert nothing_of(second, HERE)
    done(second.market("review", "approve", f"{HERE}@1.0.0"))
    assert not nothing_of(second, HERE)
    theirs, ours = digests(first, NAME), digests(second, HERE)
    assert set(theirs) == FILES and theirs.items() <= ours.items()
    onward = HfApi(endpoint=f"{second.url}/hf", token=False)
    told, here = api.model_info(NAME), onward.model_info(HERE)
    assert (here.pipeline_tag, here.tags) == (told.pipeline_tag, told.tags)
    assert here.sha != told.sha  # of another vendor, so another version


def test_it_answers_in_the_second_shop(second: Shop) -> None:
    made = second.deploy(HERE, "--name", "reviews", timeout=120)
    assert (made["state"], made["version_state"]) == ("live", "listed")
    for text, label in (("good fine", "positive"), ("awful bad", "negative")):
        told = done(second.market("call", "reviews", "--text", text, "--json"))
        assert told["results"][0]["label"] == label
    done(second.market("stop", "reviews", "-y"))


def test_a_gated_listing_needs_the_token_of_the_first(first: Shop, second: Shop, token: str) -> None:
    source = f"hf://{GATED}"
    refused = second.market("import", source, "--name", HERE_GATED)
    assert refused.returncode == 1 and "source-denied" in refused.stderr and "HF_TOKEN" in refused.stderr
    assert nothing_of(second, HERE_GATED)
    second.stop()
    second.env["HF_TOKEN"] = token
    second.launch()
    told = done(second.market("import", source, "--name", HERE_GATED, "--list", "--json"))
    assert (told["check_state"], told["state"]) == ("passed", "listed")
    assert digests(first, GATED).items() <= digests(second, HERE_GATED).items()
    onward = HfApi(endpoint=f"{second.url}/hf", token=False)
    assert onward.model_info(HERE_GATED).gated == "auto"
    with pytest.raises(GatedRepoError):
        onward.auth_check(HERE_GATED)


def test_a_mirror_keeps_in_step(first: Shop, second: Shop, api: HfApi, wire: Line, tmp_path: Path) -> None:
    job = done(second.market("mirrors", "add", f"hf://{NAME}", "--name", MIRRORED, "--list", "--json"))
    wait_until(lambda: see(second, job)["version_state"] == "listed", within=60, what="it is there")
    wait_until(lambda: see(second, job)["state"] == "done", within=20, what="its import has ended")
    wire.forget()
    look(second)
    assert fetched(wire) == [] and listed(second, MIRRORED) == ["1.0.0"]  # nothing new there

    done(first.market("publish", str(offered(tmp_path / "next", NAME, "1.1.0", seed=2)), "--list"))
    assert [one.name for one in api.list_repo_refs(NAME).tags] == ["1.1.0", "1.0.0"]
    look(second)
    wait_until(lambda: "1.0.1" in listed(second, MIRRORED), within=60, what="the new version")
    newest = digests(first, NAME, "1.1.0")
    assert newest.items() <= digests(second, MIRRORED, "1.0.1").items()
    assert newest[MODEL] == hashlib.sha256(heavy_graph(2)).hexdigest()
    assert listed(second, HERE) == ["1.0.0"]  # imported once, and left as it was


def listed(shop: Shop, name: str) -> list[str]:
    """The numbers of a listing as its own Hub tells them."""
    api = HfApi(endpoint=f"{shop.url}/hf", token=False)
    return [one.name for one in api.list_repo_refs(name).tags] if api.repo_exists(name) else []


def look(shop: Shop) -> None:
    """Have the mirror look at its source, and wait until it has."""

    def looked() -> Any:
        with shop.api as api:
            return next(m["looked"] for m in api.get("/api/mirrors").json()["items"] if m["name"] == MIRRORED)

    before = looked()
    done(shop.market("mirrors", "run", MIRRORED))
    wait_until(lambda: looked() != before, within=60, what="it has looked")
