"""accounts and audit: what operators do about people, and the log of what everybody did."""

from typing import Any
from urllib.parse import quote

import click

from marketplace.cli.options import as_json, show_facts, text, yes_option
from marketplace.terminal import data, data_json, hint, say, table

ROLES = ("opc", "operator", "vendor")
role_option = click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    default=("opc",),
    show_default=True,
    help=text("角色，可重复。", "A role, repeatable."),
)


def account_path(name: str, what: str = "") -> str:
    """An account's place in the API."""
    return "/".join(filter(None, ("/api/accounts", quote(name, safe=""), what)))


@click.group(help=text("管理账号与角色（运营者）。", "Manage accounts and roles, as an operator."))
def accounts() -> None:
    """Manage accounts."""


@accounts.command("list", help=text("列出所有账号。", "List all accounts."))
@as_json
def list_accounts(json_out: bool) -> None:
    """List all accounts."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/accounts")
    if json_out:
        data_json(page)
        return
    headings = say("名称 角色 登录 状态 创建于", "NAME ROLES SIGN-IN STATE SINCE").split()
    table(headings, [_row(item) for item in page["items"]])


def _row(item: dict[str, Any]) -> tuple[object, ...]:
    enters = say("密码", "password") if item["has_password"] else say("链接", "link")
    state = say("停用", "disabled") if item["disabled"] else say("正常", "enabled")
    return item["name"], ", ".join(item["roles"]), enters, state, item["created"][:10]


@accounts.command(
    "add", help=text("新建账号，并打印其登录链接。", "Make an account and print its sign-in link.")
)
@click.argument("name")
@role_option
@as_json
def add(name: str, roles: tuple[str, ...], json_out: bool) -> None:
    """Make an account."""
    from marketplace.client import opened

    with opened() as shop:
        made = shop.call("POST", "/api/accounts", json={"name": name, "roles": list(roles)})
    show_link(made, json_out)


@accounts.command("roles", help=text("改为只有这些角色。", "Give an account these roles and no others."))
@click.argument("name")
@click.argument("roles", nargs=-1, type=click.Choice(ROLES))
@as_json
def change_roles(name: str, roles: tuple[str, ...], json_out: bool) -> None:
    """Give an account these roles and no others."""
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("PUT", account_path(name, "roles"), json={"roles": list(roles)})
    _show(told, json_out)


@accounts.command("disable", help=text("停用账号，立即生效。", "Shut an account out at once."))
@click.argument("name")
@yes_option
@as_json
def disable(name: str, yes: bool, json_out: bool) -> None:
    """Shut an account out at once."""
    from marketplace.client import opened

    if not yes:
        question = say(
            f"停用 {name}？其浏览器会退出，令牌与密钥全部失效。",
            f"Disable {name}? Browsers are signed out; tokens and keys open nothing.",
        )
        click.confirm(question, abort=True, err=True)
    with opened() as shop:
        told = shop.call("POST", account_path(name, "disable"))
    _show(told, json_out)
    hint(f"恢复：market accounts enable {name}", f"To let it in again: market accounts enable {name}")


@accounts.command("enable", help=text("恢复账号。", "Let an account in again."))
@click.argument("name")
@as_json
def enable(name: str, json_out: bool) -> None:
    """Let an account in again."""
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("POST", account_path(name, "enable"))
    _show(told, json_out)


@accounts.command(
    "reset-password",
    help=text("清除忘记的密码，之后用链接登录。", "Take a forgotten password away; a link lets in then."),
)
@click.argument("name")
@yes_option
@as_json
def reset_password(name: str, yes: bool, json_out: bool) -> None:
    """Take a forgotten password away."""
    from marketplace.client import opened

    if not yes:
        question = say(f"清除 {name} 的密码并退出其浏览器？", f"Take the password of {name} away?")
        click.confirm(question, abort=True, err=True)
    with opened() as shop:
        told = shop.call("POST", account_path(name, "reset-password"))
    _show(told, json_out)
    hint(f"下一步：market accounts login-link {name}", f"Next: market accounts login-link {name}")


@accounts.command("login-link", help=text("打印某账号的登录链接。", "Print a sign-in link for an account."))
@click.argument("name")
@as_json
def login_link(name: str, json_out: bool) -> None:
    """Print a sign-in link for an account."""
    from marketplace.client import opened

    with opened() as shop:
        show_link(shop.call("POST", account_path(name, "login-link")), json_out)


def show_link(made: dict[str, Any], json_out: bool) -> None:
    """A sign-in link on stdout, and how long it works beside it."""
    if json_out:
        data_json(made)
    elif made["url"]:
        data(made["url"])
        hint(
            f"请交给 {made['name']}：在浏览器中打开，半小时内只能用一次。",
            f"Give it to {made['name']}: it works once, in a browser, within half an hour.",
        )
    else:
        data(made["name"])
        hint("令牌无权创建登录链接。", "This token may not make sign-in links.")


def _show(told: dict[str, Any], json_out: bool) -> None:
    if json_out:
        data_json(told)
        return
    state = say("停用", "disabled") if told["disabled"] else say("正常", "enabled")
    show_facts(
        [
            (say("账号", "Account"), told["name"]),
            (say("角色", "Roles"), ", ".join(told["roles"])),
            (say("状态", "State"), state),
        ]
    )


@click.command(help=text("查看审计日志：谁做了什么（运营者）。", "Show the audit log: who did what."))
@click.option("--account", help=text("只看此人所做。", "Only what this account did."))
@click.option(
    "--action",
    help=text("只看此操作，如 token 或 token:create。", "Only this, such as token or token:create."),
)
@click.option("--subject", help=text("对象名称包含的文字。", "Part of the name of what it was done to."))
@click.option("--since", help=text("从此时起，如 2026-11-25。", "From this time on, such as 2026-11-25."))
@click.option("--until", help=text("到此时为止。", "Up to this time."))
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True)
@as_json
def audit(json_out: bool, **asked: Any) -> None:
    """Show the audit log."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/audit", params={k: v for k, v in asked.items() if v})
    if json_out:
        data_json(page)
        return
    rows = [
        (
            item["at"][:19].replace("T", " "),
            item["account"],
            item["action"],
            item["subject"],
            " ".join(f"{name}={_plain(value)}" for name, value in item["facts"].items()),
            item["address"],
        )
        for item in page["items"]
    ]
    if rows:
        headings = say("时间 操作者 操作 对象 详情 地址", "WHEN WHO DEED WHAT FACTS ADDRESS").split()
        table(headings, rows)
    shown = asked["offset"] + len(rows)
    if shown < page["total"]:
        hint(
            f"共 {page['total']} 条；接着看：market audit --offset {shown}",
            f"{page['total']} in all; further: market audit --offset {shown}",
        )
    elif not rows:
        hint("没有这样的记录。", "Nothing like that was done.")


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
