"""The Hub API with the real huggingface_hub client: lists, trees, downloads, gates and refusals."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

from catalog import manifest as manifests
from catalog.models import Check, VersionState
from tests.marketplace.hubs import api_of, become, database, put, tokenizer_files, version_of
from tests.marketplace.peers import Wire
from tests.shop import CACHE, Shop

READER, SECRET, OLD = "acme/reader", "acme/secret", "acme/old"
MODEL = b"onnx" * 300_000
FILES = {"model.onnx": MODEL, "words/vocab.txt": "发票\nworld\n".encode(), "words/deep/空 格%.bin": b"\0\1"}
TRANSFORMERS = "5.24.0"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with models of every kind."""
    folder = tmp_path_factory.mktemp("hub")
    with Shop.start(folder / "home", MARKET_SHELF_ONLY="doc-orientation") as shop:
        shop.wait_shelf()
        put(shop, folder, FILES, READER)
        put(shop, folder, {**FILES, "model.onnx": b"newer"}, READER, "1.10.0", task="image-to-text")
        put(shop, folder, {"model.onnx": b"old"}, READER, "1.9.0")
        put(shop, folder, {"model.onnx": b"draft"}, READER, "2.0.0", state=VersionState.draft)
        put(shop, folder, {"model.onnx": b"taken back"}, READER, "1.1.0")
        become(shop, READER, "1.1.0", VersionState.yanked)
        become(shop, READER, "1.9.0", VersionState.deprecated)
        put(shop, folder, {"model.gguf": b"gguf"}, SECRET, gated=True, licence="LicenseRef-own")
        put(shop, folder, {"model.onnx": b"x"}, "acme/draft", state=VersionState.draft)
        put(shop, folder, {"model.onnx": b"x", "README.md": b"# own\n", **tokenizer_files()}, OLD)
        yield shop


@pytest.fixture
def api(hub: Shop) -> HfApi:
    return api_of(hub)


@pytest.fixture
def token(hub: Shop) -> str:
    return str(hub.server["key"])


def commit(digest: str) -> str:
    return digest.removeprefix("sha256:")[:40]


# Lists


def names(api: HfApi, **filters: Any) -> list[str]:
    return [model.id for model in api.list_models(**filters)]


def test_models_are_listed_and_narrowed(api: HfApi) -> None:
    every = names(api)
    assert {READER, SECRET, OLD, "opc-market/doc-orientation"} == set(every)
    assert set(names(api, author="acme")) == {READER, SECRET, OLD}
    assert names(api, author="acm") == []
    assert names(api, pipeline_tag="image-to-text") == [READER]
    assert names(api, filter="ocr") == [READER]
    assert names(api, filter=["image-to-text", "onnx", "zh", "license:apache-2.0"]) == [READER]
    assert names(api, filter="gguf") == names(api, filter="license:other") == [SECRET]
    assert names(api, filter="license:gpl-3.0") == names(api, filter="no-such-tag") == []
    assert {READER, SECRET, OLD} < set(names(api, filter="finance_and_business"))
    assert names(api, gated=True) == [SECRET]
    assert SECRET not in names(api, gated=False)
    assert names(api, inference="warm") == []


def test_models_are_found_by_words_of_either_language(api: HfApi) -> None:
    assert READER in names(api, search="invoice read")
    assert READER in names(api, search="读票")
    assert names(api, search="acme/rea") == [READER]
    assert names(api, search="nothing-like-it") == []


def test_models_come_in_pages_each_once(api: HfApi, hub: Shop) -> None:
    seen, url = [], f"{hub.url}/hf/api/models?limit=1&author=acme&sort=lastModified"
    while url:
        answer = httpx.get(url)
        seen += [model["id"] for model in answer.json()]
        url = answer.links.get("next", {}).get("url", "")
    assert sorted(seen) == sorted([READER, OLD, SECRET])
    assert names(api, limit=2) == names(api)[:2]
    for sort in ("created_at", "last_modified", "downloads", "likes", "trending_score"):
        assert len(names(api, sort=sort, author="acme")) == 3


def test_a_list_tells_what_is_asked_for(api: HfApi) -> None:
    brief, *_ = api.list_models(author="acme", pipeline_tag="image-to-text")
    assert brief.siblings is None and brief.card_data is None
    assert (brief.author, brief.library_name, brief.pipeline_tag) == ("acme", "onnx", "image-to-text")
    assert brief.gated is False and brief.private is False
    assert {"onnx", "zh", "license:apache-2.0", "finance_and_business"} <= set(brief.tags or [])
    full, *_ = api.list_models(author="acme", pipeline_tag="image-to-text", full=True, cardData=True)
    assert {s.rfilename for s in full.siblings or []} >= set(FILES)
    assert full.card_data is not None and full.card_data.license == "apache-2.0"
    some, *_ = api.list_models(author="acme", pipeline_tag="image-to-text", expand=["sha", "gated"])
    assert some.sha and some.tags is None


@pytest.mark.parametrize("query", ["cursor=x", "cursor=%00~a", "limit=many", "gated=perhaps", "full=2x"])
def test_lists_refuse_what_makes_no_sense(hub: Shop, query: str) -> None:
    answer = httpx.get(f"{hub.url}/hf/api/models?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


def test_other_kinds_are_known_to_be_missing(api: HfApi) -> None:
    assert list(api.list_datasets()) == []
    assert list(api.list_spaces()) == []
    assert not api.repo_exists("acme/reader", repo_type="dataset")
    assert not api.repo_exists("gpt2")
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("gpt2", "config.json", endpoint=api.endpoint, token=False)
    assert "image-to-text" in {tag["id"] for tag in api.get_model_tags()["pipeline_tag"]}


# One model


def test_a_model_is_described_at_each_revision(api: HfApi) -> None:
    newest = api.model_info(READER)
    assert newest.sha == api.model_info(READER, revision="1.10.0").sha
    assert newest.sha == api.model_info(READER, revision=newest.sha).sha
    assert newest.sha == api.model_info(READER, revision="refs/tags/1.10.0").sha
    old = api.model_info(READER, revision="1.9.0")
    assert old.sha != newest.sha and old.pipeline_tag == "tensors"
    assert newest.last_modified is not None and newest.last_modified.tzinfo is not None
    detailed = api.model_info(READER, files_metadata=True)
    sizes = {s.rfilename: s.size for s in detailed.siblings or []}
    assert sizes["words/vocab.txt"] == len(FILES["words/vocab.txt"])
    weights = next(s for s in detailed.siblings or [] if s.rfilename == "model.onnx")
    assert weights.lfs is not None and weights.lfs.sha256 == hashlib.sha256(b"newer").hexdigest()


def test_the_safety_of_files_is_told_as_far_as_it_was_checked(api: HfApi, hub: Shop) -> None:
    assert api.model_info(OLD, securityStatus=True).security_repo_status == {
        "scansDone": False,
        "filesWithIssues": [],
    }
    with database(hub) as db:
        version = version_of(db, OLD, "1.0.0")
        db.add(Check(version_id=version.id, check="format", path="model.onnx", verdict="pass"))
        db.add(Check(version_id=version.id, check="secrets", path="config.json", verdict="warn"))
    status = {f.path: f.security for f in api.list_repo_tree(OLD, expand=True) if isinstance(f, RepoFile)}
    assert status["model.onnx"] is not None and status["model.onnx"].safe
    assert status["config.json"] is not None and status["config.json"].status == "suspicious"
    assert status["tokenizer.json"] is not None and status["tokenizer.json"].status == "unscanned"
    told = api.model_info(OLD, securityStatus=True).security_repo_status
    assert told == {"scansDone": True, "filesWithIssues": [{"path": "config.json", "level": "suspicious"}]}


def test_the_tree_has_files_and_folders(api: HfApi, hub: Shop) -> None:
    top = {entry.path: entry for entry in api.list_repo_tree(READER)}
    assert isinstance(top["words"], RepoFolder)
    assert isinstance(top["model.onnx"], RepoFile)
    assert {"README.md", "market.yaml", "manifest.json"} <= set(top)
    assert {e.path for e in api.list_repo_tree(READER, "words")} == {"words/deep", "words/vocab.txt"}
    everything = {e.path: e for e in api.list_repo_tree(READER, recursive=True, expand=True)}
    assert {"words", "words/deep", *FILES} <= set(everything)
    model = everything["model.onnx"]
    assert isinstance(model, RepoFile) and model.last_commit is not None
    assert model.last_commit.oid == api.model_info(READER).sha
    with pytest.raises(RemoteEntryNotFoundError):
        list(api.list_repo_tree(READER, "no/such/folder"))
    with pytest.raises(RevisionNotFoundError):
        list(api.list_repo_tree(READER, revision="nowhere"))
    assert set(api.list_repo_files(READER)) == {p for p, e in everything.items() if isinstance(e, RepoFile)}


def test_a_tree_of_many_files_comes_in_pages(hub: Shop, api: HfApi, tmp_path: Path) -> None:
    many = {f"part-{number:04}/x.bin": b"%d" % number for number in range(1100)}
    put(hub, tmp_path, {"model.onnx": b"x", **many}, "many/files", signed=False)
    first = httpx.get(f"{hub.url}/hf/api/models/many/files/tree/main?recursive=true")
    assert len(first.json()) == 1000 and "next" in first.links
    found = [entry.path for entry in api.list_repo_tree("many/files", recursive=True)]
    assert len(found) == len(set(found)) and set(many) <= set(found)


def test_paths_are_described(api: HfApi) -> None:
    found = api.get_paths_info(READER, ["model.onnx", "words", "nothing", "../model.onnx"], expand=True)
    assert {entry.path: type(entry) for entry in found} == {"model.onnx": RepoFile, "words": RepoFolder}
    assert api.get_paths_info(READER, "README.md", revision="1.0.0")[0].path == "README.md"


def test_refs_and_commits(api: HfApi) -> None:
    refs = api.list_repo_refs(READER, include_pull_requests=True)
    assert [(b.name, b.target_commit) for b in refs.branches] == [("main", api.model_info(READER).sha)]
    assert [t.name for t in refs.tags] == ["1.10.0", "1.9.0", "1.0.0"]
    commits = api.list_repo_commits(READER, formatted=True)
    assert [c.title for c in commits] == ["Version 1.10.0", "Version 1.9.0", "Version 1.0.0"]
    assert next(c.title for c in api.list_repo_commits(READER, revision="1.9.0")) == "Version 1.9.0"


def test_what_was_never_listed_does_not_exist(api: HfApi, hub: Shop, token: str) -> None:
    for asker in (api, api_of(hub, token=token)):
        assert not asker.repo_exists("acme/draft")
        assert not asker.revision_exists(READER, "2.0.0")
        assert asker.revision_exists(READER, "1.1.0")  # taken back, and named exactly
        assert "acme/draft" not in names(asker)


# Files


def test_one_file_is_downloaded_and_kept_by_its_digest(api: HfApi, tmp_path: Path) -> None:
    place = hf_hub_download(READER, "model.onnx", revision="1.0.0", cache_dir=tmp_path, endpoint=api.endpoint)
    assert Path(place).read_bytes() == MODEL
    assert Path(place).resolve().name == hashlib.sha256(MODEL).hexdigest()
    odd = hf_hub_download(READER, "words/deep/空 格%.bin", cache_dir=tmp_path, endpoint=api.endpoint)
    assert Path(odd).read_bytes() == b"\0\1"
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(READER, "none.bin", cache_dir=tmp_path, endpoint=api.endpoint)
    assert list(tmp_path.rglob(".no_exist/*/none.bin"))


def test_a_snapshot_is_the_version_with_what_the_shop_writes(api: HfApi, hub: Shop, tmp_path: Path) -> None:
    folder = Path(snapshot_download(READER, local_dir=tmp_path, endpoint=api.endpoint))
    with database(hub) as db:
        version = version_of(db, READER, "1.10.0")
        manifest, digest = version.manifest, version.digest
    told = (folder / "manifest.json").read_bytes()
    assert f"sha256:{hashlib.sha256(told).hexdigest()}" == digest
    assert json.loads(told) == manifest == manifests.validate(manifest)
    for artifact in manifest["artifacts"]:
        assert hashlib.sha256((folder / artifact["path"]).read_bytes()).hexdigest() == artifact["sha256"]
    card = (folder / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: apache-2.0\npipeline_tag: image-to-text\nlibrary_name: onnx\n")
    assert "# 读票 · Invoice reader" in card and "Upload a picture." in card
    assert "name: acme/reader" in (folder / "market.yaml").read_text("utf-8")
    assert (folder / "passport" / "passport.intoto.json").is_file()
    kept = api.verify_repo_checksums(READER, local_dir=folder)
    assert not kept.mismatches and not kept.missing_paths


def test_a_file_of_the_version_comes_before_one_of_the_shop(api: HfApi, tmp_path: Path) -> None:
    place = hf_hub_download(OLD, "README.md", cache_dir=tmp_path, endpoint=api.endpoint)
    assert Path(place).read_bytes() == b"# own\n"


def test_files_are_asked_for_again_only_when_they_changed(hub: Shop) -> None:
    url = f"{hub.url}/hf/{READER}/resolve/1.0.0/model.onnx"
    head = httpx.head(url)
    assert head.headers["content-length"] == str(len(MODEL))
    assert head.headers["etag"] == f'"{hashlib.sha256(MODEL).hexdigest()}"' == head.headers["x-linked-etag"]
    assert head.headers["x-linked-size"] == str(len(MODEL))
    again = httpx.get(url, headers={"If-None-Match": head.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", head.headers["etag"])
    part = httpx.get(url, headers={"Range": "bytes=4-11"})
    assert (part.status_code, part.content) == (206, b"onnxonnx")
    assert part.headers["content-range"] == f"bytes 4-11/{len(MODEL)}"


def test_the_clients_resume_with_ranges(api: HfApi, hub: Shop, tmp_path: Path) -> None:
    from huggingface_hub.file_download import http_get

    half = tmp_path / "half"
    half.write_bytes(MODEL[:1000])
    with half.open("ab") as file:
        http_get(f"{hub.url}/hf/{READER}/resolve/1.0.0/model.onnx", file, resume_size=1000)
    assert half.read_bytes() == MODEL


RANGES = {
    "beyond": ("bytes=99999999-", 416),
    "nothing": ("bytes=-0", 416),
    "huge": ("bytes=0-999999999999999999", 206),
    "too many digits": ("bytes=0-99999999999999999999999999", 200),
    "backwards": ("bytes=9-3", 200),
    "no numbers": ("bytes=-", 200),
    "two": ("bytes=0-1,5-6", 200),
    "many": ("bytes=" + ",".join(f"{n}-{n}" for n in range(2000)), 200),
    "another unit": ("lines=1-2", 200),
    "words": ("bytes=a-b", 200),
    "the end": ("bytes=-5", 206),
}


@pytest.mark.parametrize(("value", "status"), RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("path", ["model.onnx", "README.md"])
def test_ranges_of_every_kind(hub: Shop, path: str, value: str, status: int) -> None:
    url = f"{hub.url}/hf/{READER}/resolve/1.0.0/{path}"
    whole = httpx.get(url).content
    answer = httpx.get(url, headers={"Range": value})
    assert answer.status_code == status
    if status == 200:
        assert answer.content == whole
    elif status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    else:
        assert answer.content == (whole[-5:] if value == "bytes=-5" else whole)


HOSTILE = [
    "../../secret",
    "..%2f..%2fsecret",
    "%2e%2e/%2e%2e/secret",
    "%252e%252e/secret",
    "words/../../../../../etc/hostname",
    "/etc/hostname",
    "%2fetc%2fhostname",
    "words",
    "words/",
    "model.onnx/",
    "model.onnx/x",
    "",
    ".",
    "%00",
    "model.onnx%00.txt",
    "..\\..\\secret",
    "a" * 3000,
    "passport/../../secret",
    "blobs/sha256/" + hashlib.sha256(MODEL).hexdigest(),
]


@pytest.mark.parametrize("path", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    "revision", ["1.0.0", "..", "refs/heads/main", "%2e%2e%2f1.0.0", "main%2fmodel.onnx"]
)
def test_hostile_paths_lead_nowhere(hub: Shop, revision: str, path: str) -> None:
    port = int(hub.url.rpartition(":")[2])
    key = hub.server["key"].encode()
    target = f"/hf/{READER}/resolve/{revision}/{path}".encode()
    with Wire(port) as wire:
        wire.send(b"GET %b HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n" % (target, key))
        status, headers, body = wire.response()
    # A slash or a dot at the end names the file itself, as everywhere.
    assert status in (301, 400, 404) or (status == 200 and body in (MODEL, b"newer"))
    assert "x-market-file" not in headers
    assert (hub.home / "secret").read_bytes() not in body


def test_nobody_has_files_sent_by_a_field_of_his_own(hub: Shop) -> None:
    fields = {"X-Market-File": "0 32 blobs/../secret"}
    answer = httpx.get(f"{hub.url}/hf/{READER}/resolve/1.0.0/model.onnx", headers=fields)
    assert answer.content == MODEL and "x-market-file" not in answer.headers
    assert "x-market-file" not in httpx.get(f"{hub.url}/hf/api/models", headers=fields).headers


def test_other_peoples_files_cannot_act_in_the_shops_name(hub: Shop) -> None:
    headers = httpx.head(f"{hub.url}/hf/{READER}/resolve/main/README.md").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["content-disposition"].startswith("attachment")


# People


def test_gated_files_need_an_account(api: HfApi, hub: Shop, token: str, tmp_path: Path) -> None:
    told = api.model_info(SECRET)
    assert told.gated == "auto" and told.card_data is not None
    assert told.card_data.license == "other" and told.card_data.license_name == "LicenseRef-own"
    for asker in (api, api_of(hub, token="mk_" + "x" * 43)):
        with pytest.raises(GatedRepoError) as refused:
            asker.auth_check(SECRET)
        assert refused.value.response.status_code == 401
        with pytest.raises(GatedRepoError):
            asker.hf_hub_download(SECRET, "model.gguf", cache_dir=tmp_path / "a")
        assert asker.repo_exists(SECRET)
    mine = api_of(hub, token=token)
    mine.auth_check(SECRET)
    place = mine.hf_hub_download(SECRET, "model.gguf", cache_dir=tmp_path / "b")
    assert Path(place).read_bytes() == b"gguf"
    api.auth_check(READER)


def test_the_client_knows_who_it_is(api: HfApi, hub: Shop, token: str) -> None:
    assert api_of(hub, token=token).whoami()["type"] == "user"
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api_of(hub, token="mk_nobody").whoami()


def test_refusals_are_in_the_askers_language_and_in_headers(hub: Shop) -> None:
    answer = httpx.get(f"{hub.url}/hf/{SECRET}/resolve/main/x", headers={"Accept-Language": "zh"})
    assert answer.status_code == 401
    assert (answer.headers["x-error-code"], answer.json()["code"]) == ("GatedRepo", "hub-account-needed")
    assert answer.headers["x-error-message"].startswith("These files are for accounts only")
    assert "登录" in answer.json()["detail"] and answer.json()["error"]
    assert "Bearer" in answer.headers["www-authenticate"]
    missing = httpx.head(f"{hub.url}/hf/{READER}/resolve/main/nothing")
    assert (missing.status_code, missing.headers["x-error-code"]) == (404, "EntryNotFound")
    assert len(missing.headers["x-repo-commit"]) == 40


# The whole shelf, the command line, and transformers


def test_head_and_get_agree_on_every_file_of_the_shelf(shop: Shop) -> None:
    api = api_of(shop)
    seen = 0
    with httpx.Client(base_url=f"{shop.url}/hf", timeout=60) as client:
        for model in api.list_models(author="opc-market"):
            for file in api.list_repo_tree(model.id, recursive=True, revision=model.sha):
                if not isinstance(file, RepoFile):
                    continue
                url = f"/{model.id}/resolve/{model.sha}/{file.path}"
                head, digest, size = client.head(url), hashlib.sha256(), 0
                with client.stream("GET", url) as answer:
                    for piece in answer.iter_raw():
                        digest.update(piece)
                        size += len(piece)
                told = {name: head.headers[name] for name in ("etag", "content-length", "x-repo-commit")}
                assert told == {name: answer.headers[name] for name in told}, url
                assert told["etag"] == f'"{digest.hexdigest()}"', url
                assert told["content-length"] == str(size) == str(file.size), url
                seen += 1
    assert seen > 50


def run(hub: Shop, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """A program of its own, for which the shop is the Hub."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MARKET_"))}
    own |= {"HF_ENDPOINT": f"{hub.url}/hf", "HF_HUB_DISABLE_UPDATE_CHECK": "1", "NO_COLOR": "1"}
    return subprocess.run(command, env=own | env, capture_output=True, text=True, timeout=120)


def test_the_hubs_own_command_line(hub: Shop, token: str, tmp_path: Path) -> None:
    hf = str(Path(sys.executable).with_name("hf"))
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = run(hub, hf, "download", READER, "--local-dir", str(tmp_path / "all"), **home)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "all" / "model.onnx").read_bytes() == b"newer"
    done = run(hub, hf, "download", READER, "model.onnx", "--revision", "1.0.0", "--quiet", **home)
    assert done.returncode == 0, done.stderr
    done = run(hub, hf, "download", SECRET, **home)
    assert done.returncode != 0
    done = run(hub, hf, "download", SECRET, "--local-dir", str(tmp_path / "mine"), HF_TOKEN=token, **home)
    assert done.returncode == 0, done.stderr
    done = run(hub, hf, "models", "ls", "--author", "acme", "--format", "json", **home)
    assert done.returncode == 0, done.stderr
    assert {model["id"] for model in json.loads(done.stdout)} == {READER, SECRET, OLD}
    done = run(hub, hf, "models", "info", READER, **home)
    assert done.returncode == 0, done.stderr
    done = run(hub, hf, "auth", "whoami", HF_TOKEN=token, **home)
    assert done.returncode == 0, done.stderr


@pytest.mark.network  # transformers itself comes from the package index, once
def test_transformers_reads_a_tokenizer_and_a_configuration(hub: Shop, tmp_path: Path) -> None:
    folder = CACHE / f"transformers-{TRANSFORMERS}"
    if not (folder / "transformers").is_dir():
        wanted = [f"transformers=={TRANSFORMERS}", "regex"]
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
        subprocess.run([*install, *wanted], check=True, capture_output=True, timeout=300)
    code = f"""
from transformers import AutoConfig, AutoTokenizer
print(AutoConfig.from_pretrained({OLD!r}).hidden_size)
print(AutoTokenizer.from_pretrained({OLD!r})("hello world nobody")["input_ids"])
print(AutoConfig.from_pretrained({OLD!r}, revision="1.0.0").model_type)
"""
    home = {"HF_HOME": str(tmp_path), "PYTHONPATH": str(folder)}
    done = run(hub, sys.executable, "-c", code, **home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["16", "[1, 2, 0]", "bert"]
