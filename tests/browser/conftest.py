"""A real Chromium, and pages in it that notice every error and every broken rule."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, sync_playwright

from catalog.listings import get_version
from deployer import optimizations
from deployer.models import Optimization, Variant
from deployer.optimizer.report import Report, to_plain
from marketplace import audit
from marketplace.accounts import first_account
from marketplace.assets import WEB
from marketplace.audit import AuditAction
from marketplace.db import open_engine, transaction
from tests.marketplace.pages import drafts, goods
from tests.shop import Shop

AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOCALES = {"zh": "zh-CN", "en": "en-GB"}


@dataclass
class Tab:
    """One page in the browser; `errors` are what its console said, `bytes` what it loaded."""

    page: Page
    shop: Shop
    errors: list[str] = field(default_factory=list)
    loaded: dict[str, int] = field(default_factory=dict)

    def open(self, path: str) -> Response | None:
        self.errors.clear()
        self.loaded.clear()
        return self.page.goto(f"{self.shop.url}{path}")

    def sign_in(self) -> None:
        self.page.goto(self.shop.login_url())

    def violations(self) -> list[str]:
        """What axe-core has to say against the page as it is now."""
        self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: dict[str, Any] = self.page.evaluate(
            "axe.run(document, {resultTypes: ['violations'], iframes: false})"
        )
        return [
            f"{v['id']}: {v['help']}: {[node['html'][:160] for node in v['nodes']]}"
            for v in found["violations"]
        ]

    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


Opener = Callable[..., Tab]


@pytest.fixture
def tab(chromium: Browser, shop: Shop) -> Iterator[Opener]:
    """Opens tabs on the shared shop: `tab(lang="en", theme="dark", width=375, signed_in=True)`."""
    contexts: list[BrowserContext] = []

    def make(
        *,
        lang: str = "zh",
        theme: str = "light",
        width: int = 1280,
        signed_in: bool = False,
        script: bool = True,
        of: Shop = shop,
        strict: bool = True,
    ) -> Tab:
        context = chromium.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=theme,  # type: ignore[arg-type]
            locale=LOCALES[lang],
            java_script_enabled=script,
            reduced_motion="reduce",
            # axe-core is put into the page by hand, which the page's own policy forbids, as it should.
            bypass_csp=not strict,
        )
        contexts.append(context)
        made = Tab(context.new_page(), of)
        made.page.on(
            "console", lambda m: made.errors.append(m.text) if m.type in ("error", "warning") else None
        )
        made.page.on("pageerror", lambda error: made.errors.append(str(error)))
        made.page.on("response", lambda response: _weigh(made, response))
        if signed_in:
            made.sign_in()
        return made

    yield make
    for context in contexts:
        context.close()


def _listen(tab: Tab, message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        tab.errors.append(message.text)


def _weigh(tab: Tab, response: Response) -> None:
    length = response.headers.get("content-length")
    if length is not None and response.request.resource_type != "eventsource":
        tab.loaded[response.url] = int(length)


@pytest.fixture(scope="module")
def optimised(shop: Shop) -> Iterator[dict[str, str]]:
    """Paths of optimisations in every state, which tests look at and leave as they are; by state."""
    engine = open_engine(f"sqlite:///{shop.home / 'market.db'}")
    paths = {}
    with transaction(engine) as db:
        offer, version = get_version(db, "opc-market/zh-sentiment")
        new = optimizations.NewOptimization(
            listing=offer.name,
            version=version.number,
            version_digest=version.digest,
            task=offer.task,
            device="cpu",
            objective={"kind": "fastest", "max_drop": 0.01},
            sample="ab" * 32,
            sample_name="评论.csv",
            owner=first_account(db).id,
        )
        for name, (report, state) in drafts.states().items():
            row = optimizations.create_optimization(db, new)
            if report is not None:
                optimizations.write_report(db, row, to_plain(report))
            optimizations.set_state(db, row, state)
            if state == "failed":
                facts = {"name": "评论.csv", "expected": "text, label", "found": "a, b", "suggestion": ""}
                optimizations.set_failed(db, row, "data-columns", {**facts, "missing": "text"})
            if report is not None and report.pick:
                row.variant = f"sha256:{'12' * 32}"
                db.add(_variant(row, report, version.manifest))
                paths["variant"] = f"/variants/{row.variant}"
            paths[name] = f"/optimizations/{row.id}"
    yield paths
    with transaction(engine) as db:  # the shop is shared, and other tests see it as it was
        for row in [*optimizations.list_optimizations(db), *optimizations.list_variants(db)]:
            db.delete(row)
    engine.dispose()


def _variant(row: Optimization, report: Report, manifest: dict[str, Any]) -> Variant:
    return Variant(
        digest=row.variant,
        optimization_id=row.id,
        listing=row.listing,
        version=row.version,
        version_digest=row.version_digest,
        device=row.device,
        manifest=manifest,
        certificate=report.certificate,
        size=23_400_000,
    )


@pytest.fixture(scope="module")
def published(shop: Shop) -> Iterator[dict[str, str]]:
    """Pages of a vendor with versions in several states, which tests look at and leave as they are."""
    engine = open_engine(f"sqlite:///{shop.home / 'market.db'}")
    with transaction(engine) as db:
        paths = goods.publish(db, first_account(db))
    yield paths
    with transaction(engine) as db:  # the shop is shared, and other tests see it as it was
        goods.remove(db)
    engine.dispose()


@pytest.fixture(scope="module")
def recorded(shop: Shop) -> None:
    """Deeds in the audit log whose details are long and without blanks."""
    engine = open_engine(f"sqlite:///{shop.home / 'market.db'}")
    with transaction(engine) as db:
        actor, subject = first_account(db), "linco/sentiment-of-reviews@1.0.0"
        source = f"npm://@huggingface/transformers@4.3.0/{'a-folder-of-models/' * 6}model.onnx"
        audit.record(
            db, actor, AuditAction.begin_version, subject, bytes=7_000_000, digest=f"sha256:{'ab' * 32}"
        )
        audit.record(db, actor, AuditAction.begin_import, subject, source=source, wanted="submitted")
        audit.record(db, actor, AuditAction.sign_in, "owner", method="link", address="2001:db8::8a2e:370")
    engine.dispose()


@pytest.fixture(scope="session")
def running(shop: Shop) -> str:
    """A live deployment that tests look at and leave as it is."""
    shop.deploy("opc-market/zh-sentiment", "--name", "looked-at")
    return "looked-at"
