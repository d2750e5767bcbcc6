"""serve, doctor and login-link: the house itself."""

import sys
import time
from typing import Any

import click

from marketplace.cli.options import FAILED, as_json, text
from marketplace.terminal import data, data_json, hint, problem_text, say, table


@click.command(help=text("启动商店，保持在前台。", "Run the market in the foreground."))
def serve() -> None:
    """Run the market in the foreground."""
    from marketplace.serve import serve as run

    sys.exit(run())


@click.command("doctor", help=text("检查本机环境与货架。", "Say what this machine has, and how the shop is."))
@as_json
@click.option(
    "--wait-shelf", is_flag=True, help=text("等待起步货架就绪。", "Wait until the starter shelf is full.")
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=1800.0,
    show_default=True,
    help=text("最多等待的秒数。", "Longest wait, in seconds."),
)
def doctor_command(json_out: bool, wait_shelf: bool, timeout: float) -> None:
    """Say what this machine has, and how the shop is."""
    shelf = _wait_for_shelf(timeout) if wait_shelf else None
    report = _examine(shelf)
    if json_out:
        data_json(report)
    else:
        _show_report(report)
    if wait_shelf and shelf is not None and shelf["ready"] < shelf["total"]:
        hint("货架没有全部就绪。", "The shelf is not full.")
        sys.exit(FAILED)


@click.command("login-link", help=text("打印一次性登录链接。", "Print a sign-in link that works once."))
@click.argument("name", required=False)
@as_json
def login_link(name: str | None, json_out: bool) -> None:
    """Print a sign-in link that works once: for this machine's owner, or for the named account."""
    from marketplace.cli.accounts import account_path
    from marketplace.client import opened

    with opened() as shop:
        made = shop.call("POST", account_path(name, "login-link") if name else "/api/login-links")
    if json_out:
        data_json(made)
    else:
        data(made["url"])
        hint("在浏览器中打开它；只能用一次。", "Open it in a browser; it works once.")


def _wait_for_shelf(timeout: float) -> dict[str, Any]:
    """Wait until every entry of the shelf is ready or failed; the shelf as it is then."""
    from marketplace.client import Refused, Unreachable, opened

    end = time.monotonic() + timeout
    patience = time.monotonic() + min(timeout, 30.0)  # a market may be on its way up
    told = -1
    while True:
        try:
            with opened() as shop:
                shelf: dict[str, Any] = shop.call("GET", "/api/shelf")
                patience = time.monotonic() + 30.0
        except (Unreachable, Refused) as error:
            starting = isinstance(error, Unreachable) or error.status == 503
            if not starting or time.monotonic() > patience:
                raise
            time.sleep(0.3)
            continue
        settled = shelf["ready"] + shelf["failed"]
        if shelf["ready"] != told:
            told = shelf["ready"]
            hint(f"货架 {told}/{shelf['total']}", f"Shelf {told}/{shelf['total']}")
        if settled >= shelf["total"] or time.monotonic() > end:
            return shelf
        time.sleep(0.3)


def _examine(shelf: dict[str, Any] | None) -> dict[str, Any]:
    """The report of the running shop; without one, of this machine alone."""
    from marketplace.client import Refused, Unreachable, opened

    try:
        with opened() as shop:
            report = shop.call("GET", "/api/doctor")
            state = shelf or shop.call("GET", "/api/shelf")
            return {"shop": {"url": shop.url, "reachable": True}, "shelf": state, **report}
    except (Unreachable, Refused) as error:
        from dataclasses import asdict

        from deployer import devices, doctor
        from marketplace.settings import load

        settings = load()
        return {
            "shop": {"url": settings.url, "reachable": False, "why": str(error)},
            "shelf": None,
            "items": [asdict(check) for check in doctor.examine(settings.home, settings.run_dir)],
            "devices": [asdict(device) for device in devices.DEVICES],
            "runtimes": [],
        }


def _show_report(report: dict[str, Any]) -> None:
    shop, shelf = report["shop"], report["shelf"]
    rows: list[tuple[str, ...]] = []
    if shop["reachable"]:
        rows.append((say("商店", "shop"), "✓", shop["url"], ""))
    else:
        rows.append((say("商店", "shop"), "✗", say("没有运行", "not running"), "market serve"))
    if shelf is not None:
        detail = say(
            f"就绪 {shelf['ready']}，共 {shelf['total']}，失败 {shelf['failed']}",
            f"{shelf['ready']} ready of {shelf['total']}, {shelf['failed']} failed",
        )
        rows.append((say("货架", "shelf"), "✓" if shelf["ready"] == shelf["total"] else "…", detail, ""))
    for item in report["items"]:
        detail, fix = say(item["detail_zh"], item["detail_en"]), say(item["fix_zh"], item["fix_en"])
        rows.append((item["name"], "✓" if item["ok"] else "✗", detail, "" if item["ok"] else fix))
    table(say("项目 状态 说明 办法", "CHECK OK DETAIL FIX").split(), rows)
    devices = ", ".join(device["id"] for device in report["devices"])
    data(f"{say('设备', 'Devices')}: {devices}")
    for item in (shelf or {}).get("items", []):
        if item["state"] == "failed" and item["error"]:
            hint(
                f"{item['name']}: {problem_text(item['error'])}",
                f"{item['name']}: {problem_text(item['error'])}",
            )
