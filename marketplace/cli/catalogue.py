"""search, show and compare: what can be had."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import click

from marketplace.cli.options import as_json, full_name, show_facts, text, title_of
from marketplace.cli.words import task, verticals
from marketplace.terminal import data, data_json, hint, say, size, table

SORTS = ("fit", "newest", "size", "latency")
_MOST_FACETS = 6


@click.command(help=text("搜索货架。", "Search the shelf."))
@click.argument("query", nargs=-1)
@click.option("--task", multiple=True, help=text("只看这个任务。", "Only this task."))
@click.option("--vertical", multiple=True, help=text("只看这个行业。", "Only this vertical."))
@click.option("--kind", type=click.Choice(["model", "agent"]), help=text("只看这一类。", "Only this kind."))
@click.option("--licence", "--license", multiple=True, help=text("只看这个许可。", "Only this licence."))
@click.option(
    "--commercial", is_flag=True, help=text("只看可商用的。", "Only what a business may use as it likes.")
)
@click.option(
    "--language", multiple=True, help=text("只看这种语言，如 zh。", "Only this language, such as zh.")
)
@click.option(
    "--device", multiple=True, help=text("只看可运行于此设备的。", "Only what runs on this device.")
)
@click.option("--free", is_flag=True, help=text("只看免费的。", "Only what is free."))
@click.option("--vendor", help=text("只看这家商家。", "Only this vendor's."))
@click.option(
    "--sort",
    type=click.Choice(SORTS),
    default="fit",
    show_default=True,
    help=text("排序：最相关、最新、最小或最快。", "Order: best match, newest, smallest or fastest."),
)
@click.option("--facets", is_flag=True, help=text("另列出可供筛选的项。", "List what to narrow by, too."))
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@as_json
def search(
    query: tuple[str, ...], commercial: bool, free: bool, facets: bool, json_out: bool, **asked: Any
) -> None:
    """Search the shelf."""
    from marketplace.client import opened

    asked |= {
        "q": " ".join(query),
        "terms": "commercial" if commercial else None,
        "price": "free" if free else None,
        "facets": "true" if facets else None,
    }
    with opened() as shop:
        page = shop.call("GET", "/api/listings", params={k: v for k, v in asked.items() if v})
    if json_out:
        data_json(page)
        return
    _show_found(page)
    if facets:
        _show_facets(page["facets"])


def _show_found(page: dict[str, Any]) -> None:
    for typed, taken in page["corrected"].items():
        hint(
            f"没有商品用到“{typed}”，已改按“{taken}”查找。",
            f"Nobody uses the word {typed}; this is what {taken} finds.",
        )
    if page["loose"]:
        hint("已把长词拆开查找。", "Nothing has these words in one piece; this is what has all their parts.")
    headings = say("名称 任务 大小 延迟 许可 说明", "NAME TASK SIZE LATENCY LICENSE TITLE").split()
    rows = [
        (
            i["name"],
            task(i["task"]),
            size(i["size"]),
            _milliseconds(i["latency_ms"]),
            i["license_weights"],
            title_of(i),
        )
        for i in page["items"]
    ]
    if not rows:
        hint(
            "没有找到。换个词，或用 market search 看全部；货架可能还在上架：market doctor。",
            "Nothing found. Try another word, or market search for all; "
            "the shelf may still be filling: market doctor.",
        )
        return
    table(headings, rows)
    if page["more"]:
        total = f"{'> ' if page['at_least'] else ''}{page['total']:,}"
        hint(f"共 {total} 件，此处列出 {len(rows)} 件。", f"{total} listings; {len(rows)} of them are shown.")
    hint(f"下一步：market show {rows[0][0]}", f"Next: market show {rows[0][0]}")


def _show_facets(facets: dict[str, Any]) -> None:
    data("")
    for name, values in facets.items():
        told = [f"{v['value']} {'≥' if v['at_least'] else ''}{v['count']}" for v in values[:_MOST_FACETS]]
        if told:
            data(f"{name}: {', '.join(told)}")


def _milliseconds(value: float | None) -> str:
    """A time as it was measured; what was not says so."""
    if value is None:
        return say("未测", "not measured")
    return f"{value:.2g} ms" if value < 10 else f"{value:.0f} ms"


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
        (say("任务", "Task"), task(listing["task"])),
        (say("行业", "Verticals"), verticals(listing["verticals"])),
        (say("版本", "Version"), listing["version"]),
        (say("大小", "Size"), size(listing["size"])),
        (say("软件包许可", "Package licence"), listing["license_package"]),
        (say("权重许可", "Weights licence"), listing["license_weights"]),
        (say("商家", "Vendor"), _vendor(listing["vendor"])),
    ]
    show_facts(facts)
    data("\n" + (listing.get(say("card_zh", "card_en")) or say(listing["summary_zh"], listing["summary_en"])))
    hint(f"下一步：market deploy {name} --wait", f"Next: market deploy {name} --wait")


def _vendor(vendor: dict[str, Any]) -> str:
    """Who publishes it, and whose domain its name was proved by."""
    title = say(vendor["title_zh"], vendor["title_en"])
    return f"{title} ◈ {vendor['domain']}".rstrip() if vendor["verified"] else title


@click.command(
    help=text("并列比较至多四件商品的实测数字。", "Compare up to four listings by measured numbers.")
)
@click.argument("names", nargs=-1, required=True)
@as_json
def compare(names: tuple[str, ...], json_out: bool) -> None:
    """Compare listings."""
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("GET", "/api/compare", params={"name": [full_name(name) for name in names]})
    if json_out:
        data_json(told)
        return
    items = told["items"]
    table(
        [say("名称", "NAME"), *(item["name"] for item in items)],
        [
            (say("版本", "Version"), *(item["version"] for item in items)),
            (say("任务", "Task"), *(task(item["task"]) for item in items)),
            (say("许可", "Licence"), *(item["license_weights"] for item in items)),
            (say("大小", "Size"), *(size(item["size"]) for item in items)),
            *(
                (say(zh, en), *(_measured(item["measured"].get(name), shown) for item in items))
                for name, zh, en, shown in _MEASURED
            ),
        ],
    )
    hint(f"下一步：market show {items[0]['name']}", f"Next: market show {items[0]['name']}")


_MEASURED: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("latency_p50_ms", "延迟中位数", "Median latency", "{:.1f} ms".format),
    ("latency_p95_ms", "延迟 p95", "Latency p95", "{:.1f} ms".format),
    ("memory", "内存", "Memory", lambda value: size(int(value))),
)


def _measured(value: Any, shown: Callable[[Any], str]) -> str:
    """A number, or the words for one that nobody measured."""
    return say("未测", "not measured") if value is None else shown(value)
