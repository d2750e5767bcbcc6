"""package: a listing, made by the shop, or a model folder, made here, as one package for a terminal."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from marketplace.cli.optimize import INTERRUPTED, is_path
from marketplace.cli.options import FAILED, as_json, full_name, show_facts, text
from marketplace.terminal import data_json, hint, problem_text, say, size

if TYPE_CHECKING:
    from marketplace.client import Shop

Made = dict[str, Any]  # as /api/packages/{id} tells it

TERMINALS = ("image", "modelpack", "box", "browser", "android", "ios")


@click.command(
    help=text(
        "打包带走：MODEL 是 vendor/name[@version]，或本机的模型目录（无需商店）。",
        "Package a model for where it is to run: MODEL is vendor/name[@version], or a model folder, which "
        "needs no shop.",
    )
)
@click.argument("model")
@click.option(
    "--format",
    "terminal",
    type=click.Choice(TERMINALS),
    default="image",
    show_default=True,
    help=text("打成什么。", "What to make."),
)
@click.option("--device", default="", help=text("镜像面向的设备，见 market doctor。", "Device of an image."))
@click.option(
    "--platform",
    default="",
    metavar="LIST",
    help=text(
        "镜像的平台，如 linux/amd64,linux/arm64；默认为本机的，推送时为全部。",
        "Platforms of an image, such as linux/amd64,linux/arm64; else this machine's, all with --push.",
    ),
)
@click.option("--variant", default="", help=text("打包这个变体（sha256:…）。", "A variant (sha256:…)."))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=text(
        "存到这个文件；目录则解开在其中。", "File to write; what is a folder is unpacked into a folder."
    ),
)
@click.option("--load", is_flag=True, help=text("装入本机的 Docker 引擎。", "Load it into the engine."))
@click.option("--push", metavar="REFERENCE", help=text("推到镜像仓库。", "Push to registry/repository:tag."))
@click.option(
    "--insecure",
    is_flag=True,
    help=text("以 http 访问其他机器的仓库。", "Push over http elsewhere too."),
)
@click.option("--wait/--no-wait", default=True, help=text("等到做好。", "Wait until it is made."))
@click.option("--timeout", type=click.FloatRange(min=0), default=1800.0, show_default=True)
@as_json
def package(model: str, json_out: bool, wait: bool, timeout: float, **wanted: Any) -> None:
    """Package a model for a terminal."""
    _check(wait, **wanted)
    if is_path(model):
        from marketplace.cli.package_here import package_here

        sys.exit(package_here(Path(model).expanduser().absolute(), json_out, **wanted))
    sys.exit(_in_the_shop(full_name(model), json_out, wait, timeout, **wanted))


def _check(
    wait: bool, *, terminal: str, platform: str, output: Path | None, load: bool, push: str | None, **_: Any
) -> None:
    """Refuse what does not go together, before minutes of work."""
    if platform and terminal != "image":
        raise click.UsageError(say("--platform 只用于镜像。", "--platform is for images."))
    if load and terminal != "image":
        raise click.UsageError(say("--load 只用于镜像。", "--load is for images."))
    if push and terminal not in ("image", "modelpack"):
        raise click.UsageError(say("--push 只用于镜像和 modelpack。", "--push is for image and modelpack."))
    if not wait and (load or push or output):
        raise click.UsageError(
            say(
                "--no-wait 不与 -o、--load、--push 同用。",
                "--no-wait goes without -o, --load and --push.",
            )
        )
    if push:
        from marketplace.cli.handing import require_reference

        require_reference(push)
    if output:
        from marketplace.cli.handing import require_free

        require_free(output, unpacked=terminal not in ("image", "modelpack"))


def platforms_of(platform: str, *, terminal: str, device: str, load: bool, push: str | None) -> list[str]:
    """The platforms asked for; else all that there are for a registry, and the engine's own for an engine."""
    if platform or terminal != "image" or not (load or push):
        return [each.strip() for each in platform.split(",") if each.strip()]
    if push:
        from deployer.terminals import order
        from deployer.terminals import platforms_of as offered
        from marketplace.cli.handing import refused_in_words

        with refused_in_words():
            return list(offered(order("image", device=device).device))
    from marketplace.cli.handing import engine_platform

    return [engine_platform()]


def _in_the_shop(
    listing: str, json_out: bool, wait: bool, timeout: float, *, platform: str, **wanted: Any
) -> int:
    from marketplace.client import opened

    load, push, output = (wanted[name] for name in ("load", "push", "output"))
    handing = {"load": load, "push": push, "output": output, "insecure": wanted["insecure"]}
    asked: dict[str, Any] = {"listing": listing, "terminal": wanted["terminal"], "device": wanted["device"]}
    asked["variant"] = wanted["variant"]
    asked["platforms"] = platforms_of(
        platform, terminal=wanted["terminal"], device=wanted["device"], load=load, push=push
    )
    with opened() as shop:
        made: Made = shop.call("POST", "/api/packages", json=asked)
        if wait:
            made = _follow(shop, made, timeout)
        if made["state"] in ("failed", "cancelled"):
            return _tell_failure(made, json_out)
        if made["state"] == "ready" and (load or push or output):
            from marketplace.cli.handing import downloaded, hand_over

            with downloaded(shop, made, output) as file:
                made |= hand_over(made, file, **handing)
    tell(made, json_out)
    if made["state"] != "ready":
        path = f"{shop.url}/packages/{made['id']}"
        hint(f"正在打包。进度：{path}", f"On its way. Progress: {path}")
        return 0
    from marketplace.cli.handing import hint_next

    hint_next(made, command=f"market package {listing} --format {made['terminal']}")
    return 0


def _follow(shop: "Shop", made: Made, timeout: float) -> Made:
    """Show the package's steps until it ends; Ctrl-C leaves it running."""
    from marketplace.cli.steps import viewed

    path = f"/api/packages/{quote(made['id'], safe='')}"
    try:
        with viewed() as view:
            view(made)
            for event in shop.events(f"{path}/events", timeout):
                if event.kind == "package":
                    made = event.data
                    view(made)
    except KeyboardInterrupt:
        where = f"{shop.url}/packages/{made['id']}"
        hint(f"打包仍在进行，可在此取消：{where}", f"It goes on. To cancel it: {where}")
        sys.exit(INTERRUPTED)
    return made


def _tell_failure(made: Made, json_out: bool) -> int:
    if json_out:
        data_json(made)
    said = problem_text(made["error"]) if made["error"] else say("打包已取消。", "It was cancelled.")
    hint(said, said)
    return FAILED


def tell(made: Made, json_out: bool) -> None:
    """What was made, on stdout."""
    if json_out:
        data_json(made)
        return
    from deployer.devices import GRADES

    facts: list[tuple[str, object]] = [
        (say("模型", "Model"), f"{made['name']}@{made['version']}"),
        (say("终端", "Terminal"), " ".join([made["terminal"], made["device"], *made["platforms"]])),
        (say("检验", "Looked at"), say(*GRADES[made["grade"]])),
        (say("状态", "State"), made["state"]),
    ]
    if made["state"] == "ready":
        at = made.get("output") or made.get("path")
        if at or not ("loaded" in made or "pushed" in made):  # the shop's file is of no use to them
            facts.append((say("文件", "File"), at or made["file"]))
        facts += [
            (say("大小", "Size"), size(made["size"])),
            (say("摘要", "Digest"), made["digest"]),
        ]
    facts += [
        (title, made[name])
        for title, name in (
            (say("已装入", "Loaded"), "loaded"),
            (say("已推送", "Pushed"), "pushed"),
            (say("权重镜像", "Weights as an image"), "weights"),
        )
        if name in made
    ]
    show_facts(facts)
