"""publish, versions, and what becomes of versions: deprecate, yank, relist, withdraw."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from marketplace.cli.options import FAILED, as_json, full_name, text
from marketplace.terminal import data, data_json, hint, language, problem_text, say, size, table

if TYPE_CHECKING:
    from catalog.offer import Offer
    from marketplace.cli.uploading import Lasting
    from marketplace.client import Shop

Told = dict[str, Any]  # as /api/publications tells a version

RUNNING = ("waiting", "running")


@click.command(
    help=text(
        "发布：TARGET 是含 market.yaml 的目录，或已检查的草稿 vendor/name@version。",
        "Publish: TARGET is a folder with a market.yaml, or a checked draft vendor/name@version.",
    )
)
@click.argument("target", required=False)
@click.option(
    "--check",
    "check_only",
    is_flag=True,
    help=text("只在本机检查，不上传，也不需要商店。", "Check here, upload nothing; needs no shop."),
)
@click.option("--draft", is_flag=True, help=text("检查后留作草稿。", "Stop after the checks, as a draft."))
@click.option(
    "--list",
    "list_now",
    is_flag=True,
    help=text("检查后立即上架（须为运营者）。", "List it at once, where you may decide reviews."),
)
@click.option(
    "--init",
    is_flag=True,
    help=text("为目录写一份带注释的 market.yaml。", "Write a market.yaml with comments for the folder."),
)
@click.option("--schema", is_flag=True, help=text("打印清单的 JSON Schema。", "Print the JSON Schema."))
@click.option("--vendor", default="", help=text("用于 --init 的商家名。", "Vendor's name, for --init."))
@click.option("--wait/--no-wait", default=True, help=text("等检查结束。", "Wait until the checks end."))
@click.option("--timeout", type=click.FloatRange(min=0), default=3600.0, show_default=True)
@as_json
def publish(
    target: str | None,
    check_only: bool,
    draft: bool,
    list_now: bool,
    init: bool,
    schema: bool,
    vendor: str,
    wait: bool,
    timeout: float,
    json_out: bool,
) -> None:
    """Publish a folder or a checked draft."""
    if sum((check_only, draft, list_now, init, schema)) > 1:
        raise click.UsageError(
            say(
                "--check、--draft、--list、--init、--schema 只能选一个。",
                "Give at most one of --check, --draft, --list, --init and --schema.",
            )
        )
    if schema:
        from catalog.offer import json_schema

        data_json(json_schema())
        return
    if not target:
        raise click.UsageError(
            say("请给出目录或 vendor/name@version。", "Give a folder or vendor/name@version.")
        )
    wanted = "" if draft else "listed" if list_now else "submitted"
    if not Path(target).is_dir() and "@" in target and not init and not check_only:
        sys.exit(_submit(full_name(target), wanted, json_out, wait, timeout))
    folder = Path(target).expanduser()
    if not folder.is_dir():
        raise click.BadParameter(say(f"没有目录 {target}", f"There is no folder {target}"))
    if init:
        from marketplace.cli.publish_here import init_here

        sys.exit(init_here(folder, vendor, json_out))
    if check_only:
        from marketplace.cli.publish_here import check_here

        sys.exit(check_here(folder, json_out))
    sys.exit(_publish(folder, wanted, json_out, wait, timeout))


def _publish(folder: Path, wanted: str, json_out: bool, wait: bool, timeout: float) -> int:
    from marketplace.cli.publish_here import read_here
    from marketplace.cli.uploading import lasting, send_files

    offer = read_here(folder, json_out)
    with lasting() as shop:
        told: Told = shop.call("POST", "/api/publications", json=offer.to_json())
        if told["state"] != "draft":
            return _already(told, json_out)
        if wanted and not told["proved"]:
            return _unproved(offer.vendor, json_out)
        _tell_plan(offer, told)
        if told["missing"]:
            send_files(shop, folder, told["missing"])
        return _check(shop, told, wanted, json_out, wait, timeout)


def _already(told: Told, json_out: bool) -> int:
    """The same content is past being a draft; one that was rejected is a failure, whose causes are told."""
    from marketplace.cli.words import version_state

    if json_out:
        data_json(told)
    name, state = f"{told['name']}@{told['version']}", version_state(told["state"])
    hint(f"{name} 已发布过，状态：{state}。", f"{name} was published before; it is {state}.")
    if told["state"] != "rejected":
        return 0
    for line in findings_of(told):
        hint(f"  {line}", f"  {line}")
    hint(
        "按意见改好，在 market.yaml 里换一个新的版本号，再发布。",
        "Mend what was found, choose a new version in market.yaml, and publish again.",
    )
    return FAILED


def findings_of(told: Told) -> list[str]:
    """What an operator found in a version, a line each: the kind and the words."""
    return [f"{finding['title']}{say('：', ': ')}{finding['text']}" for finding in told["findings"]]


def _unproved(vendor: str, json_out: bool) -> int:
    """Say it before anything is sent."""
    from marketplace.problems import problem

    refusal = problem("vendor-unproved", language(), vendor=vendor).to_dict()
    if json_out:
        data_json({"error": refusal})
    hint(problem_text(refusal), problem_text(refusal))
    return FAILED


def _tell_plan(offer: "Offer", told: Told) -> None:
    files, missing = len(offer.artifacts), told["missing"]
    amount = size(sum(f["size"] for f in missing))
    name, total = f"{offer.name}@{offer.number}", size(offer.size)
    hint(
        f"{name}：{files} 个文件，{total}；需上传 {len(missing)} 个，{amount}。",
        f"{name}: {files} files, {total}; {len(missing)} to upload, {amount}.",
    )


def _submit(reference: str, wanted: str, json_out: bool, wait: bool, timeout: float) -> int:
    from marketplace.cli.uploading import lasting

    with lasting() as shop:
        told: Told = shop.call("GET", path_of(reference, "/api/publications"))
        if told["state"] != "draft":
            return _already(told, json_out)
        return _check(shop, told, wanted, json_out, wait, timeout)


def _check(shop: "Lasting", told: Told, wanted: str, json_out: bool, wait: bool, timeout: float) -> int:
    """Start the checks, follow them, and tell what came of them."""
    path = path_of(f"{told['name']}@{told['version']}", "/api/publications")
    told = shop.call("POST", f"{path}/checks", json={"wanted": wanted})
    if wait:
        told = _follow(shop, path, told, timeout)
    _show(told, json_out)
    return _tell_next(told, wanted)


def follow_checks(shop: "Lasting", reference: str, wanted: str, json_out: bool, timeout: float) -> int:
    """Follow checks that were begun already, and tell what came of them; the exit status."""
    path = path_of(reference, "/api/publications")
    told = _follow(shop, path, shop.call("GET", path), timeout)
    _show(told, json_out)
    return _tell_next(told, wanted)


def _show(told: Told, json_out: bool) -> None:
    if json_out:
        data_json(told)
        return
    from marketplace.cli.verdicts import show
    from marketplace.cli.words import version_state

    if told["checks"]:
        show(told["checks"])
    data("")
    data(f"{told['name']}@{told['version']}  {version_state(told['state'])}")


def _follow(shop: "Lasting", path: str, told: Told, timeout: float) -> Told:
    """Tell the checks as they come, until they end; a shop that starts again is waited for."""
    from marketplace.cli.verdicts import Watch

    watch, end = Watch(), time.monotonic() + timeout

    def look(current: "Shop") -> None:
        for event in current.events(f"{path}/events", max(1.0, end - time.monotonic())):
            if event.kind == "publication":
                watch(event.data["checks"])

    if told["check_state"] not in RUNNING:
        return told
    while told["check_state"] in RUNNING and time.monotonic() < end:
        shop.steadily(look)
        told = shop.call("GET", path)
    watch(told["checks"])
    return told


def _tell_next(told: Told, wanted: str) -> int:
    """What to do now, and the exit status."""
    name = f"{told['name']}@{told['version']}"
    if told["check_state"] in RUNNING:
        hint(
            f"检查仍在进行：market versions {told['name']}",
            f"Still being checked: market versions {told['name']}",
        )
        return 0
    if told["check_state"] == "failed":
        hint(
            "检查未通过；修正后再次运行同一命令。", "The checks did not pass; mend it and run the same again."
        )
        return FAILED
    if told["state"] == "listed":
        hint(f"已上架。部署：market deploy {name}", f"It is listed. Deploy it with: market deploy {name}")
        return 0
    if told["state"] == "submitted":
        hint(
            f"已提交，等待审核：market versions {told['name']}",
            f"Submitted; an operator decides: market versions {told['name']}",
        )
        return 0
    if wanted:
        hint(
            f"检查通过，但未能提交：market publish {name}",
            f"Checked, and not submitted: market publish {name}",
        )
        return FAILED
    hint(
        f"草稿已通过检查。提交：market publish {name}",
        f"The draft passed. Submit it with: market publish {name}",
    )
    return 0


def path_of(reference: str, root: str) -> str:
    """The place in the API of vendor/name@version."""
    name, _, number = reference.partition("@")
    if not number:
        raise click.BadParameter(
            say(f"{reference}：应为 vendor/name@version", f"{reference}: expected vendor/name@version")
        )
    return "/".join((root, *(quote(part, safe="") for part in (*name.split("/"), number))))


@click.command(
    help=text("列出商品的全部版本、状态与检查。", "List all versions of a listing, with states and checks.")
)
@click.argument("name")
@as_json
def versions(name: str, json_out: bool) -> None:
    """List all versions of a listing."""
    from marketplace.client import opened

    listing, _, number = full_name(name).partition("@")
    with opened() as shop:
        page = shop.call("GET", "/".join(("/api/versions", *(quote(p, safe="") for p in listing.split("/")))))
    if number:
        page["items"] = [told for told in page["items"] if told["version"] == number]
    if json_out:
        data_json(page)
        return
    _show_versions(page["items"])
    if number and page["items"]:
        _show_one(page["items"][0])


def _show_versions(items: list[Told]) -> None:
    from marketplace.cli.verdicts import counts
    from marketplace.cli.words import check_state, verdict_counts, version_state

    rows = []
    for told in items:
        checks = verdict_counts(counts(told["checks"])) or check_state(told["check_state"])
        last = told["history"][-1] if told["history"] else {}
        why = last.get("why") or (told["state"] == "rejected" and say("；", "; ").join(findings_of(told)))
        rows.append((told["version"], version_state(told["state"]), checks, size(told["size"]), why or ""))
    table(say("版本 状态 检查 大小 最近的说明", "VERSION STATE CHECKS SIZE REASON").split(), rows)


def _show_one(told: Told) -> None:
    """One version's checks, what an operator found in it, and what became of it."""
    from marketplace.cli.verdicts import show
    from marketplace.cli.words import version_state

    data("")
    show(told["checks"])
    if told["findings"]:
        data("")
        data(say("运营者的意见：", "What an operator found:"))
        for line in findings_of(told):
            data(f"  {line}")
    if told["history"]:
        data("")
    for change in told["history"]:
        what = f"{version_state(change['before'])} → {version_state(change['after'])}"
        data("  ".join((change["at"][:16], what, change["by"], change["why"])).rstrip())


def _state_command(name: str, help_text: str) -> click.Command:
    """deprecate, yank or relist: a change of state with a reason, which the opposite command undoes."""

    @click.command(name, help=help_text)
    @click.argument("version")
    @click.option("--why", required=True, help=text("原因，使用者会看到。", "Reason; people will read it."))
    @as_json
    def command(version: str, why: str, json_out: bool) -> None:
        """Change a version's state."""
        _change(f"{path_of(full_name(version), '/api/versions')}/{name}", why, json_out)

    return command


deprecate = _state_command(
    "deprecate",
    text(
        "弃用一个版本：仍可部署，带提醒。",
        "Mark a version as no longer recommended; it deploys with a warning.",
    ),
)
yank = _state_command(
    "yank", text("撤下一个版本：正在运行的不受影响。", "Take a version off the shelf; what runs goes on.")
)
relist = _state_command(
    "relist", text("让撤下或弃用的版本重新上架。", "List a yanked or deprecated version again.")
)


@click.command(
    help=text("收回已提交而未审核的版本。", "Take back a version that was submitted and not decided.")
)
@click.argument("version")
@click.option("--why", default="", help=text("原因。", "Reason."))
@as_json
def withdraw(version: str, why: str, json_out: bool) -> None:
    """Take a submitted version back."""
    _change(f"{path_of(full_name(version), '/api/publications')}/withdraw", why, json_out)


def _change(path: str, why: str, json_out: bool) -> None:
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("POST", path, json={"why": why})
    if json_out:
        data_json(told)
        return
    from marketplace.cli.words import version_state

    data(f"{told['name']}@{told['version']}  {version_state(told['state'])}")
