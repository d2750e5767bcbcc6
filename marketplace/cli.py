"""`market`, the command line: a client of the shop's HTTP API, as `docker` is one of its engine.

Results go to stdout, hints that name the next command to stderr; --json everywhere. Exit status:
0 done, 1 refused or failed, 2 wrong usage, 3 no shop answers. Bodies of commands import what they
need themselves, so that the command starts at once.
"""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from marketplace.terminal import data, data_json, hint, problem_text, say, size, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from marketplace.client import Event, Shop

_FAILED, _UNREACHABLE = 1, 3


class _Market(click.Group):
    """Turns what the client raises into words and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        from marketplace.settings import SettingError

        try:
            return super().invoke(ctx)
        except SettingError as error:
            hint(str(error), str(error))
            ctx.exit(_FAILED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from marketplace.client import Refused, Unreachable

            if not isinstance(error, Refused | Unreachable):
                raise
            hint(str(error), str(error))
            ctx.exit(_FAILED if isinstance(error, Refused) else _UNREACHABLE)


def _text(zh: str, en: str) -> str:
    """A help text in the reader's language, chosen when the command line starts."""
    return say(zh, en)


as_json = click.option("--json", "json_out", is_flag=True, help=_text("以 JSON 输出。", "Print JSON."))
yes_option = click.option(
    "-y", "--yes", is_flag=True, help=_text("不再询问。", "Do not ask for confirmation.")
)


@click.group(
    cls=_Market,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help=_text(
        "OPC 市场：挑一个模型，一键部署，随即调用。先运行 market serve。",
        "OPC Market: pick a model, deploy it in one go, call it. Begin with: market serve.",
    ),
)
@click.version_option(package_name="opc-market", prog_name="market")
def main() -> None:
    """Entry point of the `market` command."""


@main.command(help=_text("启动商店，保持在前台。", "Run the market in the foreground."))
def serve() -> None:
    """Run the market in the foreground."""
    from marketplace.serve import serve as run

    sys.exit(run())


@main.command("doctor", help=_text("检查本机环境与货架。", "Say what this machine has, and how the shop is."))
@as_json
@click.option(
    "--wait-shelf", is_flag=True, help=_text("等待起步货架就绪。", "Wait until the starter shelf is full.")
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=1800.0,
    show_default=True,
    help=_text("最多等待的秒数。", "Longest wait, in seconds."),
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
        sys.exit(_FAILED)


@main.command("login-link", help=_text("打印一次性登录链接。", "Print a sign-in link that works once."))
@as_json
def login_link(json_out: bool) -> None:
    """Print a sign-in link that works once."""
    from marketplace.client import opened

    with opened() as shop:
        made = shop.call("POST", "/api/login-links")
    if json_out:
        data_json(made)
    else:
        data(made["url"])
        hint("在浏览器中打开它；只能用一次。", "Open it in a browser; it works once.")


@main.command(help=_text("搜索货架。", "Search the shelf."))
@click.argument("query", nargs=-1)
@click.option("--task", help=_text("只看这个任务。", "Only this task."))
@click.option("--vertical", help=_text("只看这个行业。", "Only this vertical."))
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
    rows = [(i["name"], i["task"], size(i["size"]), i["license_weights"], _title(i)) for i in page["items"]]
    if rows:
        table(headings, rows)
        hint(f"下一步：market show {rows[0][0]}", f"Next: market show {rows[0][0]}")
    else:
        hint(
            "没有找到。换个词，或用 market search 看全部；货架可能还在上架：market doctor。",
            "Nothing found. Try another word, or market search for all; "
            "the shelf may still be filling: market doctor.",
        )


@main.command(help=_text("查看一件商品。", "Show one listing."))
@click.argument("name")
@as_json
def show(name: str, json_out: bool) -> None:
    """Show one listing."""
    from marketplace.client import opened

    path = f"/api/listings/{quote(_full_name(name).partition('@')[0])}"
    with opened() as shop:
        listing = shop.call("GET", path)
    if json_out:
        data_json(listing)
        return
    facts = [
        (say("名称", "Name"), listing["name"]),
        (say("标题", "Title"), _title(listing)),
        (say("任务", "Task"), listing["task"]),
        (say("行业", "Verticals"), ", ".join(listing["verticals"])),
        (say("版本", "Version"), listing["version"]),
        (say("大小", "Size"), size(listing["size"])),
        (say("软件包许可", "Package licence"), listing["license_package"]),
        (say("权重许可", "Weights licence"), listing["license_weights"]),
        (say("供应方", "Vendor"), say(listing["vendor"]["title_zh"], listing["vendor"]["title_en"])),
    ]
    _show_facts(facts)
    data("\n" + (listing.get(say("card_zh", "card_en")) or say(listing["summary_zh"], listing["summary_en"])))
    hint(f"下一步：market deploy {name} --wait", f"Next: market deploy {name} --wait")


@main.command(help=_text("一键部署：NAME 是 vendor/name[@version]。", "Deploy NAME: vendor/name[@version]."))
@click.argument("listing")
@click.option("--name", help=_text("部署的名字。", "Name of the deployment."))
@click.option("--runtime", help=_text("运行方式：process 或 docker。", "Runtime: process or docker."))
@click.option("--device", help=_text("设备，见 market doctor。", "Device, see market doctor."))
@click.option("--wait/--no-wait", default=False, help=_text("等到可用为止。", "Wait until it is live."))
@click.option("--timeout", type=click.FloatRange(min=0), default=1800.0, show_default=True)
@as_json
def deploy(
    listing: str,
    name: str | None,
    runtime: str | None,
    device: str | None,
    wait: bool,
    timeout: float,
    json_out: bool,
) -> None:
    """Deploy a listing."""
    from marketplace.client import opened

    asked = {"listing": _full_name(listing), "name": name, "runtime": runtime, "device": device}
    with opened() as shop:
        made = shop.call("POST", "/api/deployments", json=asked)
        key, deployment = made.get("key"), made["deployment"]
        if wait:
            _follow(shop, deployment, made["revision"], timeout)
            made = shop.call("GET", _deployment_path(deployment)) | {"key": key}
        failed = made["state"] in ("failed", "stopped")
        if json_out:
            data_json(made)
        elif not failed:
            _show_deployment(made)
        if failed:
            _tell_failure(shop, made)
            sys.exit(_FAILED)
    if wait:
        hint(f"下一步：market call {deployment} --help", f"Next: market call {deployment} --help")
    else:
        hint(f"正在部署。进度：market ps；日志：market logs {deployment}",
             f"On its way. Progress: market ps; log: market logs {deployment}")  # fmt: skip


@main.command(help=_text("调用一个部署。", "Call a deployment."))
@click.argument("deployment")
@click.option("--text", help=_text("一段文字。", "A text."))
@click.option("--image", type=click.File("rb"), help=_text("图片文件。", "An image file."))
@click.option("--audio", type=click.File("rb"), help=_text("WAV 音频文件。", "A WAV file."))
@click.option("--file", "any_file", type=click.File("rb"), help=_text("任意文件。", "Any file."))
@click.option(
    "--body",
    type=click.File("rb"),
    help=_text(
        "JSON 文件，原样发给 /predict；- 为标准输入。", "JSON file for /predict as it is; - is stdin."
    ),
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help=_text("把回答里的声音存到文件。", "File for the sound of the answer."),
)
@as_json
def call(deployment: str, json_out: bool, output: Path | None, **inputs: Any) -> None:
    """Call a deployment; prints the answer as JSON, with or without --json, less the sound that is kept."""
    from marketplace.client import opened

    body = _request_body(inputs)
    with opened() as shop:
        answer = shop.call(
            "POST",
            f"/d/{quote(deployment, safe='')}/predict",
            content=body,
            headers={"Content-Type": "application/json"},
            timeout=900,
        )
    if output is not None:
        _keep_sound(answer, output)
    data_json(answer)


def _keep_sound(answer: dict[str, Any], output: Path) -> None:
    """Move the sound of an answer into a file; refuses an answer without one."""
    import base64

    sound = answer.get("audio")
    if not isinstance(sound, dict) or "base64" not in sound:
        raise click.ClickException(say("回答里没有声音。", "The answer holds no sound."))
    output.write_bytes(base64.b64decode(sound["base64"]))
    answer["audio"] = {"file": str(output)}


@main.command(help=_text("列出全部部署。", "List all deployments."))
@as_json
def ps(json_out: bool) -> None:
    """List all deployments."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/deployments")
    if json_out:
        data_json(page)
        return
    if not page["items"]:
        hint("还没有部署。下一步：market search", "No deployments yet. Next: market search")
        return
    headings = say("部署 状态 商品 运行方式 请求 地址", "DEPLOYMENT STATE LISTING RUNTIME REQUESTS ENDPOINT")
    table(
        headings.split(),
        [
            (d["deployment"], d["state"], d["listing"], d["runtime"], d["usage"]["requests"], d["endpoint"])
            for d in page["items"]
        ],
    )


@main.command(help=_text("打印一个部署的日志。", "Print a deployment's log."))
@click.argument("deployment")
@click.option("-n", "--tail", type=click.IntRange(1, 10_000), default=200, show_default=True)
@as_json
def logs(deployment: str, tail: int, json_out: bool) -> None:
    """Print a deployment's log."""
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("GET", _deployment_path(deployment, "logs"), params={"tail": tail})
    if json_out:
        data_json(told)
    else:
        data(told["logs"].rstrip("\n"))


@main.command(
    help=_text("停止一个部署；--remove 连同记录删除。", "Stop a deployment; --remove forgets it too.")
)
@click.argument("deployment")
@click.option("--remove", is_flag=True, help=_text("同时删除。", "Forget it as well."))
@yes_option
@as_json
def stop(deployment: str, remove: bool, yes: bool, json_out: bool) -> None:
    """Stop a deployment."""
    from marketplace.client import opened

    if remove and not yes:
        question = say(
            f"停止并删除 {deployment}，其密钥随之失效？", f"Stop and forget {deployment}, with its keys?"
        )
        click.confirm(question, abort=True, err=True)
    with opened() as shop:
        if remove:
            shop.call("DELETE", _deployment_path(deployment))
            told = {"deployment": deployment, "state": "removed"}
        else:
            told = shop.call("POST", _deployment_path(deployment, "stop"))
    if json_out:
        data_json(told)
    else:
        data(f"{deployment}  {told['state']}")


@main.group(help=_text("管理密钥。", "Manage keys."))
def keys() -> None:
    """Manage keys."""


@keys.command("new", help=_text("为一个部署新建密钥。", "Make a new key for a deployment."))
@click.argument("deployment")
@as_json
def new_key(deployment: str, json_out: bool) -> None:
    """Make a new key for a deployment."""
    from marketplace.client import opened

    with opened() as shop:
        made = shop.call("POST", _deployment_path(deployment, "keys"))
    if json_out:
        data_json(made)
    else:
        data(made["key"])
        hint("密钥只显示这一次，请妥善保存。", "The key is shown this once; keep it safe.")


def _full_name(name: str) -> str:
    """vendor/name[@version]; a bare name is taken for one of the market's own."""
    plain = name.partition("@")[0]
    if plain.count("/") > 1 or not all(plain.split("/")):
        raise click.BadParameter(
            say(f"{name}：应为 vendor/name[@version]", f"{name}: expected vendor/name[@version]")
        )
    return name if "/" in plain else f"opc-market/{name}"


def _deployment_path(deployment: str, what: str = "") -> str:
    """A deployment's place in the API."""
    return "/".join(filter(None, ("/api/deployments", quote(deployment, safe=""), what)))


def _title(listing: dict[str, Any]) -> str:
    return str(listing[say("title_zh", "title_en")])


def _show_facts(facts: list[tuple[str, object]]) -> None:
    from marketplace.terminal import width

    room = max(width(name) for name, _ in facts)
    for name, value in facts:
        data(f"{name}{' ' * (room - width(name))}  {value if value not in (None, '') else '-'}")


def _show_deployment(made: dict[str, Any]) -> None:
    facts = [
        (say("部署", "Deployment"), made["deployment"]),
        (say("状态", "State"), made["state"]),
        (say("地址", "Endpoint"), made["endpoint"]),
        (say("密钥", "Key"), made.get("key")),
        (say("运行方式", "Runtime"), f"{made['runtime']} / {made['device']}"),
        (say("沙箱", "Sandbox"), made["sandbox"]),
    ]
    _show_facts(facts)
    if made.get("key"):
        hint("密钥只显示这一次，请妥善保存。", "The key is shown this once; keep it safe.")


def _tell_failure(shop: "Shop", made: dict[str, Any]) -> None:
    from marketplace.client import Refused

    name = made["deployment"]
    said = problem_text(made["error"]) if made["error"] else made["state"]
    hint(f"部署 {name} 没有成功。{said}", f"The deployment {name} did not come up. {said}")
    try:
        lines = shop.call("GET", _deployment_path(name, "logs"), params={"tail": 12})["logs"].strip()
    except Refused:
        lines = ""
    if lines:
        hint(f"日志末尾：\n{lines}", f"The end of its log:\n{lines}")


def _steps(shop: "Shop", deployment: str, revision: int, timeout: float) -> "Iterator[Event]":
    """What happens to this revision of a deployment; the stream begins with those before it."""
    for event in shop.events(deployment, timeout):
        if event.data.get("revision", revision) >= revision:
            yield event


def _follow(shop: "Shop", deployment: str, revision: int, timeout: float) -> None:
    """Show the steps of a deployment as they happen, until it is live or failed."""
    if not sys.stderr.isatty():
        for event in _steps(shop, deployment, revision, timeout):
            if event.kind == "step":
                hint(
                    f"{event.data['name']}: {event.data['state']}",
                    f"{event.data['name']}: {event.data['state']}",
                )
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(finished_text="✓"), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as progress:
        bars: dict[str, Any] = {}
        for event in _steps(shop, deployment, revision, timeout):
            name, state = str(event.data.get("name", "")), event.data.get("state")
            if event.kind not in ("step", "progress"):
                continue
            if name not in bars:
                bars[name] = progress.add_task(_step_words(name), total=1, note="")
            if event.kind == "progress":
                progress.update(bars[name], note=_amount(event.data.get("progress") or {}))
            elif state in ("done", "failed"):
                mark = "" if state == "done" else say("失败", "failed")
                progress.update(bars[name], completed=1 if state == "done" else 0, note=mark)
                progress.stop_task(bars[name])


def _step_words(step: str) -> str:
    words = {
        "fetch": ("取模型", "Fetch"),
        "prepare": ("准备", "Prepare"),
        "package": ("打包", "Package"),
        "start": ("启动", "Start"),
        "health": ("健康检查", "Health"),
        "warm-up": ("预热", "Warm up"),
    }
    return say(*words.get(step, (step, step)))


def _amount(progress: dict[str, Any]) -> str:
    total = progress.get("total") or 0
    share = f"{100 * progress.get('done', 0) / total:.0f} %" if total else ""
    return f"{share} {progress.get('note', '')}".strip()


def _request_body(inputs: dict[str, Any]) -> bytes:
    """The body of /predict from exactly one of the inputs."""
    import base64
    import json

    given = {name: value for name, value in inputs.items() if value is not None}
    if len(given) != 1:
        raise click.UsageError(
            say(
                "请给出且只给出一项：--text、--image、--audio、--file 或 --body。",
                "Give exactly one of --text, --image, --audio, --file and --body.",
            )
        )
    name, value = given.popitem()
    if name == "text":
        return json.dumps({"text": value}, ensure_ascii=False).encode()
    content = value.read()
    if name == "body":
        try:
            json.loads(content)
        except ValueError as error:
            raise click.UsageError(
                say(f"--body 不是 JSON：{error}", f"--body is not JSON: {error}")
            ) from None
        return bytes(content)
    encoded = {"base64": base64.b64encode(content).decode()}
    if name == "any_file":
        from pathlib import Path

        return json.dumps({"file": encoded, "name": Path(value.name).name}).encode()
    return json.dumps({name: encoded}).encode()


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


if __name__ == "__main__":
    main()
