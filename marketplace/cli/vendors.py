"""vendors: make one, prove its name, say who acts for it."""

from typing import Any
from urllib.parse import quote

import click

from marketplace.cli.options import as_json, show_facts, text
from marketplace.terminal import data_json, hint, say, table

Vendor = dict[str, Any]  # as /api/vendors tells it


@click.group(
    help=text("管理商家：谁在发布、由谁代表。", "Manage vendors: who publishes, and who acts for them.")
)
def vendors() -> None:
    """Manage vendors."""


@vendors.command("list", help=text("列出我的商家，或全部。", "List my vendors, or all of them."))
@click.option("--all", "everybody", is_flag=True, help=text("全部商家。", "All vendors."))
@as_json
def list_vendors(everybody: bool, json_out: bool) -> None:
    """List vendors."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/vendors", params={} if everybody else {"mine": "true"})
    if json_out:
        data_json(page)
        return
    if not page["items"]:
        hint(
            "还没有商家。新建：market vendors create NAME",
            "No vendor yet. Make one: market vendors create NAME",
        )
        return
    rows = [(v["name"], v[say("title_zh", "title_en")], v["role"], _proof(v)) for v in page["items"]]
    table(say("商家 名称 角色 验证", "VENDOR TITLE ROLE PROOF").split(), rows)


@vendors.command("create", help=text("新建商家；名称以后不能改。", "Make a vendor; its name stays as it is."))
@click.argument("name")
@click.option("--title-zh", default="", help=text("中文名称。", "Title in Chinese."))
@click.option("--title-en", default="", help=text("英文名称。", "Title in English."))
@click.option("--vouch", is_flag=True, help=text("由运营者担保名称。", "Vouch for it, as an operator."))
@as_json
def create(name: str, title_zh: str, title_en: str, vouch: bool, json_out: bool) -> None:
    """Make a vendor."""
    from marketplace.client import opened

    title_zh, title_en = title_zh or title_en or name, title_en or title_zh or name
    asked = {"name": name, "title_zh": title_zh, "title_en": title_en, "vouch": vouch}
    with opened() as shop:
        _tell(shop.call("POST", "/api/vendors", json=asked), json_out)


@vendors.command(
    "prove",
    help=text("验证商家的名称：域名的 TXT 记录、网站上的文件，或运营者担保。", "Prove a vendor's name."),
)
@click.argument("name")
@click.option("--domain", default="", help=text("你的域名，如 example.com。", "Your domain, as example.com."))
@click.option(
    "--way",
    type=click.Choice(["dns", "file"]),
    default="dns",
    show_default=True,
    help=text("查 DNS 记录，或网站上的文件。", "Look in the DNS, or at the file on the site."),
)
@click.option("--vouch", is_flag=True, help=text("由运营者担保。", "Vouch for it, as an operator."))
@as_json
def prove(name: str, domain: str, way: str, vouch: bool, json_out: bool) -> None:
    """Prove a vendor's name; without a domain, tell what must stand where."""
    from marketplace.client import opened

    path = f"/api/vendors/{quote(name, safe='')}"
    with opened() as shop:
        if vouch:
            _tell(shop.call("POST", f"{path}/vouch"), json_out)
        elif domain:
            _tell(shop.call("POST", f"{path}/proof", json={"way": way, "domain": domain}), json_out)
        else:
            _tell(shop.call("GET", path), json_out, how=True)


@vendors.command("members", help=text("列出、加入或移除成员。", "List members, take one in or out."))
@click.argument("name")
@click.option("--add", default="", metavar="ACCOUNT", help=text("加入账户。", "Account to take in."))
@click.option("--role", type=click.Choice(["owner", "publisher"]), default="publisher", show_default=True)
@click.option("--remove", default="", metavar="ACCOUNT", help=text("移除账户。", "Account to take out."))
@as_json
def members(name: str, add: str, role: str, remove: str, json_out: bool) -> None:
    """List or change the members of a vendor."""
    from marketplace.client import opened

    if add and remove:
        raise click.UsageError(say("--add 与 --remove 只能选一个。", "Give one of --add and --remove."))
    path = f"/api/vendors/{quote(name, safe='')}"
    with opened() as shop:
        if add:
            told = shop.call("PUT", f"{path}/members/{quote(add, safe='')}", json={"role": role})
        elif remove:
            told = shop.call("DELETE", f"{path}/members/{quote(remove, safe='')}")
        else:
            told = shop.call("GET", path)
    if json_out:
        data_json({"items": told["members"], "total": len(told["members"])})
        return
    rows = [(member["account"], member["role"]) for member in told["members"]]
    table(say("账户 角色", "ACCOUNT ROLE").split(), rows)


def _proof(vendor: Vendor) -> str:
    if not vendor["verified"]:
        return say("未验证", "not proved")
    by = {"dns": "DNS", "file": say("网站文件", "file"), "operator": say("运营者担保", "operator")}
    return f"{by.get(vendor['proof'], vendor['proof'])} {vendor['domain']}".strip() or say("已验证", "proved")


def _tell(vendor: Vendor, json_out: bool, *, how: bool = False) -> None:
    if json_out:
        data_json(vendor)
    else:
        facts = [
            (say("商家", "Vendor"), vendor["name"]),
            (say("名称", "Title"), vendor[say("title_zh", "title_en")]),
            (say("验证", "Proof"), _proof(vendor)),
        ]
        if how and vendor["to_prove"]:
            facts += [
                (say("TXT 记录", "TXT record"), vendor["to_prove"]["record"]),
                (say("或网站文件", "Or a file"), f"https://…{vendor['to_prove']['file']}"),
            ]
        show_facts(facts)
    if not vendor["verified"]:
        name = vendor["name"]
        hint(
            f"名称验证后才能上架。须放置的内容：market vendors prove {name}；放好后加 --domain 域名。"
            "运营者可用 --vouch。",
            "Nothing is listed until the name is proved. What to put where: "
            f"market vendors prove {name}; then again with --domain. Operators may --vouch.",
        )
