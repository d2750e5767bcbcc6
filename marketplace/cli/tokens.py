"""tokens: what lets programs work in one's name. Keys of single deployments are `market keys`."""

from typing import Any
from urllib.parse import quote

import click

from marketplace.cli.options import FAILED, as_json, show_facts, text, yes_option
from marketplace.terminal import data, data_json, hint, say, table


@click.group(
    help=text("管理 API 令牌：程序以你的名义工作。", "Manage API tokens: programs that work in your name.")
)
def tokens() -> None:
    """Manage API tokens."""


@tokens.command("list", help=text("列出自己的令牌。", "List your tokens."))
@as_json
def list_tokens(json_out: bool) -> None:
    """List your tokens."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/tokens")
    if json_out:
        data_json(page)
    elif page["items"]:
        headings = say("名称 尾号 权限 到期 最近使用", "NAME ENDS MAY EXPIRES USED").split()
        table(headings, [_row(item) for item in page["items"]])
    else:
        hint(
            "还没有令牌。新建：market tokens create ci --scope publish",
            "None yet. Make one: market tokens create ci --scope publish",
        )


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    may = ", ".join(item["scopes"]) or say("全部", "all")
    end = say("已过期", "expired") if item["expired"] else (item["expires"] or "")[:10]
    return item["name"], item["hint"], may, end, (item["used"] or "")[:16].replace("T", " ")


@tokens.command("create", help=text("新建令牌，只显示这一次。", "Make a token; it is shown once."))
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help=text(
        "授予的权限，可重复：publish、read 或 publications:manage 这样的权限名；省略即与你相同。",
        "What it may do, repeatable: publish, read, or a permission such as publications:manage; "
        "without any it may what you may.",
    ),
)
@click.option(
    "--expires",
    type=click.IntRange(1, 366),
    default=90,
    show_default=True,
    help=text("有效天数。", "Days that it is valid."),
)
@as_json
def create(name: str, scopes: tuple[str, ...], expires: int, json_out: bool) -> None:
    """Make a token."""
    from marketplace.client import opened

    wish = {"name": name, "scopes": list(scopes), "days": expires}
    with opened() as shop:
        made = shop.call("POST", "/api/tokens", json=wish)
    if json_out:
        data_json(made)
        return
    data(made["token"])
    may = ", ".join(made["scopes"])
    hint(
        f"令牌只显示这一次。权限：{may or '与你相同'}；到期：{made['expires'][:10]}。"
        f"使用：MARKET_URL={shop.url} MARKET_KEY=令牌 market …",
        f"It is shown this once. It may: {may or 'all that you may'}; until {made['expires'][:10]}. "
        f"Use it as: MARKET_URL={shop.url} MARKET_KEY=TOKEN market …",
    )


@tokens.command("revoke", help=text("撤销令牌（名称或编号）。", "Revoke a token by name, ending or id."))
@click.argument("token")
@yes_option
@as_json
def revoke(token: str, yes: bool, json_out: bool) -> None:
    """Revoke a token."""
    from marketplace.client import opened

    with opened() as shop:
        found = _find(shop.call("GET", "/api/tokens")["items"], token)
        if not yes:
            question = say(
                f"撤销 {found['name']}？使用它的程序会立即失效。",
                f"Revoke {found['name']}? What uses it stops working at once.",
            )
            click.confirm(question, abort=True, err=True)
        shop.call("DELETE", f"/api/tokens/{quote(found['id'], safe='')}")
    told = {"id": found["id"], "name": found["name"], "state": "revoked"}
    if json_out:
        data_json(told)
    else:
        show_facts([(say("已撤销", "Revoked"), f"{found['name']} …{found['hint']}")])


def _find(items: list[dict[str, Any]], token: str) -> dict[str, Any]:
    """The one token that is meant; ends the command when none or several are."""
    named = [item for item in items if token in (item["id"], item["name"], item["hint"])]
    if len(named) == 1:
        return named[0]
    if named:
        endings = ", ".join(item["hint"] for item in named)
        hint(
            f"有 {len(named)} 个令牌叫 {token}，请用尾号指明：{endings}",
            f"{len(named)} tokens are called {token}; name one by its ending: {endings}",
        )
    else:
        hint(f"没有令牌 {token}：market tokens list", f"No token {token}: market tokens list")
    raise click.exceptions.Exit(FAILED)
