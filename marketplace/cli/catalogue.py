"""search and show: what can be had."""

from urllib.parse import quote

import click

from marketplace.cli.options import as_json, full_name, show_facts, text, title_of
from marketplace.terminal import data, data_json, hint, say, size, table


@click.command(help=text("搜索货架。", "Search the shelf."))
@click.argument("query", nargs=-1)
@click.option("--task", help=text("只看这个任务。", "Only this task."))
@click.option("--vertical", help=text("只看这个行业。", "Only this vertical."))
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@as_json
def search(
    query: tuple[str, ...], task: str | None, vertical: str | None, limit: int, json_out: bool
) -> None:
    """Search the shelf."""
    from marketplace.client import opened

    asked = {"q": " ".join(query), "task": task, "vertical": vertical, "limit": limit}
    with opened() as shop:
        page = shop.call("GET", "/api/listings", params={k: v for k, v in asked.items() if v})
    if json_out:
        data_json(page)
        return
    headings = say("名称 任务 大小 许可 说明", "NAME TASK SIZE LICENSE TITLE").split()
    rows = [(i["name"], i["task"], size(i["size"]), i["license_weights"], title_of(i)) for i in page["items"]]
    if rows:
        table(headings, rows)
        hint(f"下一步：market show {rows[0][0]}", f"Next: market show {rows[0][0]}")
    else:
        hint(
            "没有找到。换个词，或用 market search 看全部；货架可能还在上架：market doctor。",
            "Nothing found. Try another word, or market search for all; "
            "the shelf may still be filling: market doctor.",
        )


@click.command(help=text("查看一件商品。", "Show one listing."))
@click.argument("name")
@as_json
def show(name: str, json_out: bool) -> None:
    """Show one listing."""
    from marketplace.client import opened

    path = f"/api/listings/{quote(full_name(name).partition('@')[0])}"
    with opened() as shop:
        listing = shop.call("GET", path)
    if json_out:
        data_json(listing)
        return
    facts = [
        (say("名称", "Name"), listing["name"]),
        (say("标题", "Title"), title_of(listing)),
        (say("任务", "Task"), listing["task"]),
        (say("行业", "Verticals"), ", ".join(listing["verticals"])),
        (say("版本", "Version"), listing["version"]),
        (say("大小", "Size"), size(listing["size"])),
        (say("软件包许可", "Package licence"), listing["license_package"]),
        (say("权重许可", "Weights licence"), listing["license_weights"]),
        (say("供应方", "Vendor"), say(listing["vendor"]["title_zh"], listing["vendor"]["title_en"])),
    ]
    show_facts(facts)
    data("\n" + (listing.get(say("card_zh", "card_en")) or say(listing["summary_zh"], listing["summary_en"])))
    hint(f"下一步：market deploy {name} --wait", f"Next: market deploy {name} --wait")
