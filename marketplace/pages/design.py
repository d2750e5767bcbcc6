"""/design: every token and component on one living page, and /api/docs, the API as people read it."""

from datetime import UTC, datetime
from typing import Any

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Template

from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Baseline, Interval, Pick, Quality, Reason, Report, Trial
from marketplace.api.schemas import ListingOut, StepOut, VendorOut
from marketplace.auth import AnyRequest, Viewer
from marketplace.pages import plots, reports
from marketplace.pages.rendering import page
from marketplace.pages.reports import Statement
from marketplace.permissions import Permission

COLOURS = (
    "paper", "shade", "ink", "muted", "line", "edge", "seal", "link", "ok", "warn", "bad",
)  # fmt: skip
SAMPLE = ListingOut(
    name="opc-market/zh-sentiment",
    kind="model",
    task="text-classification",
    verticals=["retail_and_ecommerce"],
    languages=["zh"],
    title="",
    summary="",
    title_zh="中文评论情感",
    title_en="Chinese review sentiment",
    summary_zh="判断一条中文评论是满意还是不满意，给网店和客服用。",
    summary_en="Tells a pleased Chinese review from an unhappy one, for shops and support.",
    version="1.0.0",
    size=1_210_000,
    license_package="MIT",
    license_weights="MIT",
    vendor=VendorOut("opc-market", "OPC 市场", "OPC Market", True),
)
_CHOSEN = Quality(
    149, "labels", metric="accuracy", baseline=0.912, difference=Interval(-0.001, -0.006, 0.004)
)
_MISSED = Quality(149, "labels", metric="accuracy", difference=Interval(-0.02, -0.038, -0.004))
SAID = Statement(
    device="cpu",
    made=datetime(2026, 1, 1, tzinfo=UTC),
    graphs={"model": "dynamic-int8-per-channel"},
    size=23_400_000,
    baseline_size=90_900_000,
    speed=Interval(2.31, 2.24, 2.38),
    control=Interval(1.0, 0.97, 1.03),
    quality=_CHOSEN,
    objective=Objective(),
    data=None,
    target=None,
    seed=0,
    trials=2,
    versions={},
)
REPORT = Report(
    "cpu",
    Objective(),
    baseline=Baseline(90_900_000, 8.4),
    control=Interval(1.0, 0.97, 1.03),
    trials=[
        Trial(
            "a",
            {"model": "dynamic-int8-per-channel"},
            state="picked",
            size=23_400_000,
            speed=Interval(2.31, 2.24, 2.38),
            judged=_CHOSEN,
        ),
        Trial(
            "b",
            {"model": "dynamic-int8"},
            state="refused",
            why=Reason("bound-missed", "", ""),
            size=23_100_000,
            speed=Interval(2.35, 2.28, 2.44),
            chosen=_MISSED,
        ),
    ],
    outcome="picked",
    pick=Pick("a", "", {}, {}),
)
STEPS = (
    StepOut("fetch", "done", 0.02, {"bytes": 1_210_000, "fetched": 0}),
    StepOut("prepare", "done", 0.11, {"files": 2}),
    StepOut("package", "running", None, {}, {"done": 14_000_000, "total": 35_000_000, "note": ""}),
    StepOut("start", "waiting", None, {}),
    StepOut("health", "failed", 30.0, {}),
    StepOut("warm-up", "waiting", None, {}),
)


@get("/design", permission=Permission.browse, include_in_schema=False, sync_to_thread=False)
def design(request: AnyRequest, viewer: NamedDependency[Viewer]) -> Template:
    """The living page of the design."""
    return page(
        request,
        viewer,
        "design.html",
        colours=COLOURS,
        sample=SAMPLE,
        steps=STEPS,
        said=SAID,
        report=REPORT,
        plot=plots.front(REPORT, viewer.lang),
        rows=reports.rows(REPORT, viewer.lang),
    )


@get("/api/docs", permission=Permission.browse, include_in_schema=False, sync_to_thread=True)
def api_reference(request: AnyRequest, viewer: NamedDependency[Viewer]) -> Template:
    """The HTTP API, read from its own OpenAPI document."""
    document = request.app.openapi_schema.to_schema()
    return page(request, viewer, "reference.html", groups=_groups(document), info=document["info"])


def _groups(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations by their tag."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, operations in sorted(document.get("paths", {}).items()):
        for method, operation in operations.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            groups.setdefault((operation.get("tags") or ["shop"])[0], []).append(
                {
                    "method": method.upper(),
                    "path": path,
                    "about": operation.get("description") or operation.get("summary") or "",
                    "parameters": operation.get("parameters", []),
                    "answers": sorted(operation["responses"]),
                }
            )
    return groups


handlers = [design, api_reference]
