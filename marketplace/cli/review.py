"""review: what waits for an operator; look at it, approve it, reject it, have it checked again."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from marketplace.cli.options import as_json, full_name, show_facts, text, yes_option
from marketplace.terminal import data, data_json, hint, say, size, table

if TYPE_CHECKING:
    from marketplace.client import Shop

Told = dict[str, Any]  # as /api/reviews tells it


@click.group(
    invoke_without_command=True,
    help=text(
        "审核：查看等待审核的版本，通过或退回，或重新检查在架的版本。",
        "Review: see what waits, approve or reject it, or have what is listed checked again.",
    ),
)
@click.pass_context
def review(context: click.Context) -> None:
    """Review what vendors submitted."""
    if context.invoked_subcommand is None:
        context.invoke(list_reviews, json_out=False)


@review.command("list", help=text("列出等待审核的版本，最早的在前。", "List what waits, the oldest first."))
@as_json
def list_reviews(json_out: bool) -> None:
    """List what waits."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/reviews")
    if json_out:
        data_json(page)
        return
    if not page["items"]:
        hint("没有等待审核的版本。", "Nothing waits for a decision.")
        return
    headings = say("版本 商家 检查 大小 提交于", "VERSION VENDOR CHECKS SIZE SINCE").split()
    table(headings, [_row(item) for item in page["items"]])
    name = f"{page['items'][0]['name']}@{page['items'][0]['version']}"
    hint(f"查看详情：market review show {name}", f"Look at one with: market review show {name}")


def _row(item: Told) -> tuple[object, ...]:
    from marketplace.cli.words import verdict_counts

    proved = f" ◈ {item['vendor_domain']}".rstrip()
    if not item["vendor_verified"]:
        proved = say("（未验证）", " (unproved)")
    checks = verdict_counts(item["counts"])
    if item["marked"]:
        checks = say("复检未过 ", "refused by new rules ") + checks
    name = f"{item['name']}@{item['version']}"
    return (
        name,
        f"{item['vendor']}{proved}",
        checks,
        size(item["size"]),
        item["created"][:16].replace("T", " "),
    )


@review.command("show", help=text("查看一个版本的检查与说明。", "Show a version's checks and words."))
@click.argument("version")
@as_json
def show(version: str, json_out: bool) -> None:
    """Show one version."""
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("GET", _path(shop, version))
    if json_out:
        data_json(told)
        return
    _show(told)
    name = f"{told['review']['name']}@{told['review']['version']}"
    if told["review"]["state"] == "submitted":
        hint(
            f"通过：market review approve {name} --seen {told['seen']}；"
            f"退回：market review reject {name} --finding 种类:内容",
            f"Approve: market review approve {name} --seen {told['seen']}; "
            f"reject: market review reject {name} --finding KIND:TEXT",
        )


def _show(told: Told) -> None:
    from marketplace.cli import verdicts
    from marketplace.cli.words import task, version_state

    about, measured = told["review"], told["measured"]
    latency = measured.get("latency_ms") or {}
    examples = measured.get("examples") or {}
    show_facts(
        [
            (say("版本", "Version"), f"{about['name']}@{about['version']}  {version_state(about['state'])}"),
            (say("名称", "Title"), about["title"]),
            (say("简介", "Summary"), about["summary"]),
            (say("任务", "Task"), task(about["task"])),
            (say("许可", "Licences"), _licences(told["licenses"])),
            (say("许可条件", "They ask"), ", ".join(told["terms"])),
            (say("大小", "Size"), f"{size(about['size'])}, {len(told['files'])}"),
            (
                say("声称", "Claimed"),
                ", ".join(f"{k}={v}" for k, v in told["claims"].items()) or say("无", "nothing"),
            ),
            (
                say("实测", "Measured"),
                f"{latency['p50']} ms (n={latency['n']}), {examples.get('right')}/{examples.get('of')}, "
                f"{size(measured['memory'])}"
                if latency
                else say("未测", "not measured"),
            ),
        ]
    )
    data("")
    verdicts.show(told["checks"])
    for finding in told["findings"]:
        data(f"{finding['title']}: {finding['text']}")


def _licences(found: dict[str, str]) -> str:
    words = {"package": "软件包", "weights": "权重", "base": "基础模型"}
    return ", ".join(f"{say(words.get(part, part), part)} {each}" for part, each in found.items() if each)


@review.command("approve", help=text("通过并上架。", "Approve it: it is listed at once."))
@click.argument("version")
@click.option("--why", default="", help=text("原因，记入历史。", "Reason, for its history."))
@click.option(
    "--seen",
    default="",
    help=text(
        "review show 给出的指纹；内容已变则拒绝。", "What review show told; refused when it has changed."
    ),
)
@as_json
def approve(version: str, why: str, seen: str, json_out: bool) -> None:
    """Approve a version."""
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("POST", f"{_path(shop, version)}/approve", json={"why": why, "seen": seen})
    name = _decided(told, json_out)
    hint(f"已上架。查看：market show {name}", f"It is listed. Look at it: market show {name}")


@review.command(
    "reject",
    help=text(
        "退回：每条意见写作 种类:内容，可重复。",
        "Reject it; each finding is KIND:TEXT, repeatable.",
    ),
)
@click.argument("version")
@click.option(
    "--finding",
    "findings",
    multiple=True,
    required=True,
    metavar="KIND:TEXT",
    help=text(
        "licence、description、quality、safety、duplicate、other 之一，加上要改的内容。",
        "One of licence, description, quality, safety, duplicate, other, and what to mend.",
    ),
)
@click.option("--why", default="", help=text("原因，记入历史。", "Reason, for its history."))
@as_json
def reject(version: str, findings: tuple[str, ...], why: str, json_out: bool) -> None:
    """Reject a version."""
    from marketplace.client import opened

    found = [_finding(each) for each in findings]
    with opened() as shop:
        told = shop.call("POST", f"{_path(shop, version)}/reject", json={"findings": found, "why": why})
    name = _decided(told, json_out)
    hint(
        f"已退回。商家这样查看意见：market versions {name}",
        f"It was rejected. Its vendor reads the findings with: market versions {name}",
    )


def _finding(given: str) -> dict[str, str]:
    kind, colon, what = given.partition(":")
    if not colon or not what.strip():
        raise click.BadParameter(say(f"{given}：应为 种类:内容", f"{given}: expected KIND:TEXT"))
    return {"kind": kind.strip(), "text": what.strip()}


def _decided(told: Told, json_out: bool) -> str:
    from marketplace.cli.words import version_state

    name = f"{told['review']['name']}@{told['review']['version']}"
    if json_out:
        data_json(told)
    else:
        data(f"{name}  {version_state(told['review']['state'])}")
    return name


@review.command(
    "rescan",
    help=text(
        "按现行规则重新检查待审或在架的版本；省略 VERSION 即全部在架的。",
        "Check a version again by today's rules; without VERSION all that are listed.",
    ),
)
@click.argument("version", required=False)
@yes_option
@as_json
def rescan(version: str | None, yes: bool, json_out: bool) -> None:
    """Have listed versions checked again."""
    from marketplace.client import opened

    if not version and not yes:
        question = say("重新检查全部在架版本？", "Check everything that is listed again?")
        click.confirm(question, abort=True, err=True)
    wanted = full_name(version) if version else ""
    with opened() as shop:
        page = shop.call("POST", "/api/reviews/rescan", json={"name": wanted})
    if json_out:
        data_json(page)
    else:
        for item in page["items"]:
            data(f"{item['name']}@{item['version']}")
    hint(
        "正在逐个检查，期间状态不变。结果：market review",
        "They are checked one at a time; their state stays meanwhile. What fails stands in: market review",
    )


def _path(shop: "Shop", version: str) -> str:
    """The place in the API of vendor/name[@number]; without a number it is the one that waits."""
    name, _, number = full_name(version).partition("@")
    if not number:
        waiting = shop.call("GET", "/api/reviews", params={"limit": 200})["items"]
        number = next((item["version"] for item in waiting if item["name"] == name), "")
    if not number:
        raise click.BadParameter(
            say(
                f"{name} 没有等待审核的版本，请写 {name}@版本号",
                f"nothing of {name} waits; name a version as {name}@1.0.0",
            )
        )
    return "/".join(("/api/reviews", *(quote(part, safe="") for part in (*name.split("/"), number))))
