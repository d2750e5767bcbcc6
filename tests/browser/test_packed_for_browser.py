"""The folder for the browser in a real one: the server's answers, offline, verified, and fit to be seen."""

import base64
import functools
import io
import json
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from deployer.packager.release import Release
from deployer.server.http import to_json
from deployer.server.predictor import finish, load
from deployer.server.vision.images import image_field
from deployer.terminals import browser
from tests.browser.conftest import AXE, LOCALES
from tests.deployer.terminals.browser import sites

pytestmark = [pytest.mark.browser, pytest.mark.network]
Body = dict[str, Any]
Make = Callable[[Path], Release]
NEAR = 1e-4  # of scores
LEVELS = 1  # of 255, of soft masks

ASK = """
async ([bodies]) => {
  const { load } = await import(new URL("market.js", location).href);
  const model = await load(".");
  const answers = [];
  for (const body of bodies) {
    answers.push(await model.predict(body).catch(({ code, where, why }) => ({ code, where, why })));
  }
  const told = { answers, latencies: model.latencies, task: model.task };
  model.close();
  return told;
}
"""

KEPT = """
async () => {
  const found = [];
  for (const name of await caches.keys()) {
    found.push(...(await (await caches.open(name)).keys()).map((request) => request.url));
  }
  return found;
}
"""
PIXELS = """
async ([body, jpeg]) => {
  const { pictureField, throughJpeg } = await import(new URL("vision/picture.js", location).href);
  const { toBase64 } = await import(new URL("fields.js", location).href);
  const picture = await pictureField(body);
  const { width, height, data } = jpeg ? await throughJpeg(picture) : picture;
  return { width, height, data: toBase64(data) };
}
"""


class Quiet(SimpleHTTPRequestHandler):
    """A plain file server, which remembers what it was asked for."""

    asked: list[str]

    def __init__(self, *given: Any, asked: list[str], **named: Any) -> None:
        self.asked = asked
        super().__init__(*given, **named)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Lets a browser hang up without a word."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing."""


@dataclass
class Served:
    """A folder on loopback."""

    folder: Path
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        handler = functools.partial(Quiet, directory=str(self.folder), asked=self.asked)
        self.server = Server(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Served]]:
    started: list[Served] = []

    def start(folder: Path) -> Served:
        started.append(Served(folder))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@dataclass
class Visit:
    """A page of a folder, with every request of its context, its workers' too."""

    context: BrowserContext
    page: Page
    requests: list[str]
    errors: list[str]

    def ready(self) -> None:
        self.page.wait_for_selector("html[data-ready]", timeout=60_000)

    def example(self, number: int = 0) -> str:
        """Click an example and give the answer's text."""
        answer = self.page.locator("#answer")
        before = int(answer.get_attribute("data-answers") or 0)
        self.page.click(f"[data-example='{number}']")
        expect(answer).to_have_attribute("data-answers", str(before + 1), timeout=30_000)
        return answer.inner_text()


Open = Callable[..., Visit]


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Open]:
    contexts: list[BrowserContext] = []

    def make(url: str, *, script: str = "", **more: Any) -> Visit:
        context = chromium.new_context(**{"locale": LOCALES["en"], "reduced_motion": "reduce", **more})
        contexts.append(context)
        requests: list[str] = []
        errors: list[str] = []
        context.on("request", lambda request: requests.append(request.url))
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return Visit(context, page, requests, errors)

    yield make
    for context in contexts:
        context.close()


# The same answers as the server's


def photo(width: int, height: int, seed: int) -> Image.Image:
    """Something with edges, slopes and noise."""
    noise = np.random.default_rng(seed)
    small = Image.fromarray(noise.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    rough = noise.integers(-20, 21, (height, width, 3))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.int64)
    return Image.fromarray(np.clip(smooth + rough, 0, 255).astype(np.uint8))


def encoded(picture: Image.Image, kind: str, **more: Any) -> Body:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **more)
    return {"image": {"base64": base64.b64encode(buffer.getvalue()).decode()}}


def pictures() -> list[Body]:
    """Files of several kinds and shapes: turned by EXIF, grey, with a palette, very long."""
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        encoded(photo(641, 483, 1), "JPEG", quality=88),
        encoded(photo(300, 500, 2), "JPEG", quality=75, subsampling=0, exif=turned),
        encoded(photo(90, 400, 3), "PNG"),
        encoded(photo(333, 222, 4).convert("L"), "PNG"),
        encoded(photo(200, 150, 5).quantize(32), "PNG"),
        encoded(photo(31, 17, 6), "BMP"),
    ]


def texts(letters: str) -> list[Body]:
    chance = random.Random(letters)
    made = ["".join(chance.choices(letters, k=chance.randint(1, 60))) for _ in range(20)]
    return [{"text": [text or "x" for text in made]}, *({"text": text} for text in made[:4] if text.strip())]


CHINESE = "质量很好不错差退货ＡＢｃ１２①㎏ \u3000\u00a0\t，。！?iİßΣσς😀👍🏽"
LATIN = "Where can I get àéîõü ÀÉ naïve re-fund's 12.5% №7 中文 😀 \t(x)[y]<z> İstanbul ﬁne"


def files() -> list[Body]:
    chance = random.Random(7)
    contents = [
        b"a",
        b"\xff\xfe\x00",
        b"   \n\t   ",
        b"def f(x):\n    return x\n" * 3,
        b'{"a": [1, 2, {"b": null}]}' * 40,
        chance.randbytes(5000),
        b" " * 5000 + b"%PDF-1.7" + chance.randbytes(300) + b"\n" * 5000,
    ]
    names = ["a.txt", "b.bin", "c", "d.PY", "e.json", "f.zip", "g.pdf"]
    return [
        {"file": {"base64": base64.b64encode(content).decode()}, "name": name}
        for content, name in zip(contents, names, strict=True)
    ]


SHELF: dict[str, Callable[[], list[Body]]] = {
    "doc-orientation": pictures,
    "nsfw-open": lambda: pictures()[:2],
    "img-efficientnet-lite0": lambda: [{**body, "top_k": 20} for body in pictures()[:2]],
    "selfie-segmentation": lambda: [
        {**sites.shelf("selfie-segmentation").manifest["examples"][0]["request"], **more}
        for more in ({"threshold": 0.05}, {"soft": False, "threshold": 0.1})
    ],
    "doc-layout-cdla": list,
    "filetype-magika": files,
    "zh-sentiment": lambda: texts(CHINESE),
    "zh-lac-ner": lambda: [
        {"text": each} for each in ("张伟在北京大学读书。", "ＡＢ１２ 中國人民銀行 😀x", "好")
    ],
    "en-minilm-l6-int8": lambda: [
        *texts(LATIN),
        {"text": "word " * 400},
        {"text": "A refund, please. " * 100, "truncate": True},
    ],
}
ROWS: list[Body] = [
    {"rows": [{"age": 31, "city": "上海", "member": True}, {"age": "4e1", "city": None}, [5, "深圳", "no"]]},
    {"rows": {"age": 1.5, "city": "北京"}},
    {"rows": [{"age": 1, "city": "广州"}]},
    {"rows": [{"age": None, "city": "北京"}]},
    {"rows": [{"age": 1, "town": "北京"}]},
    {"rows": []},
]
SMALL: dict[str, tuple[Make, Callable[[], list[Body]]]] = {
    "segmentation": (
        sites.segmenter,
        lambda: [*pictures()[:1], *({**body, "soft": True, "top_k": 1} for body in pictures()[2:3])],
    ),
    "segmentation-sigmoid": (
        lambda folder: sites.segmenter(folder, activation="sigmoid", threshold=0.9),
        lambda: pictures()[1:3],
    ),
    "stretch": (lambda folder: sites.detector(folder, "stretch"), pictures),
    "letterbox": (lambda folder: sites.detector(folder, "letterbox"), pictures),
    "texts-to-labels": (
        sites.classifier_of_texts,
        lambda: [
            {"text": ["Good", "very-bads 好", "goodly " * 5, "what is this"]},
            {"text": "bad " * 20},
            {"text": "good " + "bad " * 20, "truncate": True},
        ],
    ),
    "rows-to-labels": (sites.classifier_of_rows, lambda: ROWS),
    "rows-to-numbers": (
        sites.regression_of_rows,
        lambda: [{"rows": [{"n": 3, "x": 0.1}, {"n": -7, "x": 1e-3}]}, {"rows": [{"n": 2.5, "x": 1}]}],
    ),
    "tensors": (
        sites.any_tensors,
        lambda: [
            {"inputs": {"a": [[1, -2], [3, 4]], "b": [0.5, -1, 0]}},
            {"inputs": {"a": [[1, 2, 3]], "b": [1]}},
            {"inputs": {"a": [[1, 2]]}},
            {"inputs": {"a": [[1.5, 2]], "b": [1]}},
        ],
    ),
}


def compare(got: Any, wanted: Any, where: str = "answer") -> None:
    """Equal in all but the last digits of numbers; masks by their pixels."""
    if isinstance(wanted, dict):
        assert got.keys() == wanted.keys(), where
        for name, value in wanted.items():
            if name == "mask":
                compare_masks(got[name], value, where)
            else:
                compare(got[name], value, f"{where}.{name}")
    elif isinstance(wanted, list):
        assert len(got) == len(wanted), where
        for place, value in enumerate(wanted):
            compare(got[place], value, f"{where}[{place}]")
    elif isinstance(wanted, float) and not isinstance(got, bool):
        assert got == pytest.approx(wanted, abs=NEAR), where
    else:
        assert got == wanted, where


def compare_masks(got: Body, wanted: Body, where: str) -> None:
    a, b = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(each["base64"]))), np.int64)
        for each in (got, wanted)
    )
    assert a.shape == b.shape, where
    apart = np.abs(a - b)
    assert apart.max() <= LEVELS or np.mean(apart > LEVELS) < NEAR, (where, apart.max())


def answers_agree(release: Release, bodies: list[Body], served: Served, page: Page) -> None:
    page.goto(f"{served.url}README.md")  # a page that loads nothing by itself
    told = page.evaluate(ASK, [bodies])
    predictor = load(release.folder)
    refused = 0
    for body, got in zip(bodies, told["answers"], strict=True):
        try:
            wanted = json.loads(to_json(finish(predictor.predict(json.loads(json.dumps(body))))))
        except Exception as error:  # the server's refusal, which has to be the browser's as well
            refused += 1
            assert got["code"] == "bad-input", (body, got, error)
            assert got["where"] == error.where  # type: ignore[attr-defined]
            assert got["why"]["en"] == f"{error.where} {error.why.en}"  # type: ignore[attr-defined]
            assert got["why"]["zh"] == f"{error.where} {error.why.zh}"  # type: ignore[attr-defined]
        else:
            compare(got, wanted)
    predictor.close()
    assert len(told["latencies"]) == min(20, len(bodies) - refused)
    assert told["task"] == release.task


def test_pictures_have_the_same_pixels_as_on_the_server(
    chromium: Browser, serve: Callable[[Path], Served]
) -> None:
    page = chromium.new_page()
    page.goto(f"{serve(sites.site(sites.shelf('nsfw-open'))).url}README.md")
    for jpeg in (False, True):
        for body in pictures():
            wanted = image_field(body)
            if jpeg:
                buffer = io.BytesIO()
                wanted.save(buffer, "JPEG")
                wanted = Image.open(buffer)
            got = page.evaluate(PIXELS, [body, jpeg])
            assert (got["width"], got["height"]) == wanted.size
            assert base64.b64decode(got["data"]) == wanted.tobytes()
    page.close()


@pytest.mark.parametrize("name", list(SHELF))
def test_starter_models_answer_as_on_the_server(
    name: str, chromium: Browser, serve: Callable[[Path], Served]
) -> None:
    release = sites.shelf(name)
    examples = [each["request"] for each in release.manifest["examples"]]
    page = chromium.new_page()
    answers_agree(release, [*examples, *SHELF[name]()], serve(sites.site(release)), page)
    page.close()


@pytest.mark.parametrize("name", list(SMALL))
def test_other_forms_of_models_answer_as_on_the_server(
    name: str, chromium: Browser, serve: Callable[[Path], Served], tmp_path: Path
) -> None:
    make, bodies = SMALL[name]
    release = make(tmp_path / "model")
    page = chromium.new_page()
    answers_agree(release, bodies(), serve(sites.site(release)), page)
    page.close()


def test_sentences_are_compared_as_on_the_server(
    chromium: Browser, serve: Callable[[Path], Served], tmp_path: Path
) -> None:
    bare = sites.shelf("en-minilm-l6-int8")
    folder = shutil.copytree(bare.folder, tmp_path / "model")
    manifest = {**bare.manifest, "task": "sentence-similarity", "examples": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    release = replace(bare, folder=folder, manifest=manifest, digest="sha256:similar-sentences")
    bodies = [
        {
            "source": "A refund, please",
            "sentences": ["I want my money back", "Nice weather", "A refund, please"],
        },
        {"source": "one", "sentences": "two"},
        {"source": "one", "sentences": [" "]},
    ]
    page = chromium.new_page()
    answers_agree(release, bodies, serve(sites.site(release)), page)
    page.close()


def test_a_transparent_picture_lies_on_white(chromium: Browser, serve: Callable[[Path], Served]) -> None:
    """Browsers blend with one more rounding, so scores may differ in their third digit."""
    release = sites.shelf("doc-orientation")
    picture = photo(320, 240, 8)
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    body = encoded(picture, "PNG")
    page = chromium.new_page()
    page.goto(f"{serve(sites.site(release)).url}README.md")
    got = page.evaluate(ASK, [[body]])["answers"][0]
    wanted = finish(load(release.folder).predict(body))
    page.close()
    assert [one["label"] for one in got["results"]] == [one["label"] for one in wanted["results"]]
    scores = [one["score"] for one in wanted["results"]]
    assert [one["score"] for one in got["results"]] == pytest.approx(scores, abs=2e-3)


# The page


def test_it_works_offline_after_the_first_visit_and_asks_nobody_else(
    serve: Callable[[Path], Served], visit: Open
) -> None:
    served = Served(sites.site(sites.shelf("zh-sentiment")))
    seen = visit(served.url)
    seen.ready()
    expect(seen.page.locator("#offline")).to_contain_text("Works offline")
    first = seen.example()
    assert "positive" in first
    assert sorted(served.asked).count("/model/model.onnx") == 1
    served.stop()
    seen.context.set_offline(True)
    seen.page.reload()
    seen.ready()
    expect(seen.page.locator("#offline")).to_contain_text("Works offline")
    assert seen.example() == first
    assert seen.page.locator("#fact-latency").inner_text().startswith(tuple("0123456789"))
    assert {re.match(r"[a-z]+:(//[^/]+)?", url)[0] for url in seen.requests} == {served.url.rstrip("/")}  # type: ignore[index]
    assert seen.errors == []


def test_a_file_that_is_not_what_was_packaged_is_refused(
    tmp_path: Path, serve: Callable[[Path], Served], visit: Open
) -> None:
    folder = shutil.copytree(sites.site(sites.shelf("zh-sentiment")), tmp_path / "site")
    graph = folder / "model" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"\xff")
    seen = visit(serve(folder).url)
    seen.ready()
    problem = seen.page.locator("#problem")
    expect(problem).to_contain_text("model/model.onnx is not the file that was packaged")
    expect(problem).to_contain_text("Copy the folder to the server again")
    expect(seen.page.locator("#offline")).to_contain_text("Online only")
    assert seen.page.locator("html").get_attribute("data-ready") == "no"
    page = seen.context.new_page()
    page.goto(f"{seen.page.url}README.md")
    assert not [url for url in page.evaluate(KEPT) if url.endswith("model.onnx")]


def test_a_missing_file_is_named(tmp_path: Path, serve: Callable[[Path], Served], visit: Open) -> None:
    folder = shutil.copytree(sites.site(sites.shelf("zh-sentiment")), tmp_path / "site")
    (folder / "runtime" / "ort.wasm.packed").unlink()
    seen = visit(serve(folder).url)
    seen.ready()
    expect(seen.page.locator("#problem")).to_contain_text("answered 404 for runtime/ort.wasm.packed")


def test_a_new_package_replaces_the_old_one_when_asked_and_fetches_only_what_changed(
    tmp_path: Path, serve: Callable[[Path], Served], visit: Open
) -> None:
    old = sites.shelf("zh-sentiment")
    folder = shutil.copytree(sites.site(old), tmp_path / "site")
    served = serve(folder)
    seen = visit(served.url)
    seen.ready()
    shutil.rmtree(folder)
    folder.mkdir()
    browser.build(sites.workshop(), replace(old, version="2.0.0", digest="sha256:newer"), folder)
    served.asked.clear()
    seen.page.reload()
    seen.ready()
    expect(seen.page.locator("#news")).to_contain_text("A new version has been downloaded", timeout=30_000)
    assert seen.page.locator("#fact-version").inner_text() == "1.0.0"
    seen.page.click("#news button")
    expect(seen.page.locator("#fact-version")).to_have_text("2.0.0", timeout=30_000)
    seen.ready()
    assert "positive" in seen.example()
    assert {path for path in served.asked if "favicon" not in path} == {"/sw.js", "/release.json"}
    names = seen.page.evaluate("() => caches.keys()")
    assert len(names) == 1


def test_a_full_device_is_told_and_the_page_works_online(
    serve: Callable[[Path], Served], visit: Open
) -> None:
    served = serve(sites.site(sites.shelf("zh-sentiment")))
    seen = visit(f"{served.url}README.md")
    session = seen.context.new_cdp_session(seen.page)
    session.send("Storage.overrideQuotaForOrigin", {"origin": served.url.rstrip("/"), "quotaSize": 1 << 20})
    seen.page.goto(served.url)
    seen.ready()
    expect(seen.page.locator("#offline")).to_contain_text("Online only")
    expect(seen.page.locator("#problem")).to_contain_text("no room to keep the model")
    assert "positive" in seen.example()


def test_a_browser_without_webassembly_is_told(serve: Callable[[Path], Served], visit: Open) -> None:
    served = serve(sites.site(sites.shelf("zh-sentiment")))
    seen = visit(served.url, script="delete globalThis.WebAssembly")
    seen.ready()
    expect(seen.page.locator("#problem")).to_contain_text("does not run WebAssembly")


def test_a_file_that_is_no_picture(serve: Callable[[Path], Served], visit: Open, tmp_path: Path) -> None:
    seen = visit(serve(sites.site(sites.shelf("doc-orientation"))).url)
    seen.ready()
    (tmp_path / "notes.txt").write_text("no picture")
    seen.page.set_input_files("#pick", tmp_path / "notes.txt")
    expect(seen.page.locator("#problem")).to_contain_text("is not a picture that this browser reads")
    photo(64, 64, 1).save(tmp_path / "photo.jpg")
    seen.page.set_input_files("#pick", tmp_path / "photo.jpg")
    expect(seen.page.locator("#answer .first")).to_be_visible()
    expect(seen.page.locator("#problem")).to_be_empty()


@pytest.mark.parametrize(
    ("name", "lang", "theme", "width"),
    [("selfie-segmentation", "zh", "light", 375), ("zh-sentiment", "en", "dark", 1280)],
)
def test_it_is_fit_to_be_seen(
    name: str, lang: str, theme: str, width: int, serve: Callable[[Path], Served], visit: Open
) -> None:
    served = serve(sites.site(sites.shelf(name)))
    size = {"width": width, "height": 800}
    seen = visit(served.url, locale=LOCALES[lang], color_scheme=theme, viewport=size, bypass_csp=True)
    seen.ready()
    seen.example()
    page = seen.page
    assert page.locator("html").get_attribute("lang") == LOCALES[lang].replace("GB", "").rstrip("-")
    overflow = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) <= 0
    assert page.locator("button.seal:visible").count() == 1
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(v["id"], [node["html"][:120] for node in v["nodes"]]) for v in found] == []
    page.click("#language")
    other = "Works offline" if lang == "zh" else "可离线使用"
    expect(page.locator("#offline")).to_contain_text(other)
    page.reload()
    seen.ready()
    expect(page.locator("#offline")).to_contain_text(other)
    assert seen.errors == []
