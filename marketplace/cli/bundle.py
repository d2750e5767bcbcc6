"""bundle: listings with all that runs them in one file, and that file installed where no network is."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from marketplace.cli.here import database, named_errors, watched
from marketplace.cli.options import FAILED, as_json, full_name, show_facts, text
from marketplace.cli.signers import Signer, fingerprint_option, key_option
from marketplace.terminal import data_json, hint, say, size, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from marketplace.bundles.acceptance import Outcome
    from marketplace.bundles.contents import Table
    from marketplace.bundles.installing import Installed
    from marketplace.client import Shop


class _Bundle(click.Group):
    """`bundle NAME… --output FILE` makes one; `bundle install FILE` and `bundle show FILE` take one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is no subcommand for the names of listings."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            if len(args) == 1 and Path(args[0]).is_file():
                raise click.UsageError(
                    say(
                        f"要查看或安装它：market bundle show {args[0]}，market bundle install {args[0]}",
                        f"To look at it or install it: market bundle show {args[0]}, "
                        f"market bundle install {args[0]}",
                    )
                )
            args = ["make", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=_Bundle,
    subcommand_metavar="NAME… --output FILE | install FILE | show FILE",
    help=text(
        "离线包：把商品连同运行所需的一切装进一个文件，拿到没有网络的机器上安装。",
        "Air-gap bundles: listings with all that runs them in one file, for machines without a network.",
    ),
)
def bundle() -> None:
    """Make, look at and install bundles."""


@bundle.command("make", help=text("制作离线包。", "Make a bundle; `make` may be left out."))
@click.argument("listings", nargs=-1, required=True)
@click.option(
    "--output", "-o", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help=text("写到这个文件。", "Write to this file."),
)  # fmt: skip
@click.option(
    "--shop/--no-shop", default=True,
    help=text("是否带上商店程序和 wheel（默认带）。", "Bring the shop and its wheels along (default)."),
)  # fmt: skip
@click.option(
    "--image/--no-image", default=True,
    help=text("是否带上容器运行镜像（默认带）。", "Bring the runtime image of containers along (default)."),
)  # fmt: skip
@as_json
def make_command(listings: tuple[str, ...], output: Path, shop: bool, image: bool, json_out: bool) -> None:
    """Make a bundle."""
    from catalog import signing
    from catalog.storage import sha256_of
    from marketplace.bundles.making import make
    from marketplace.releases import workshop_of
    from marketplace.settings import load

    settings = load()
    with named_errors(json_out), database() as engine, watched(say("打包", "Bundle")) as progress:
        made = make(
            engine,
            workshop_of(settings),
            [full_name(name) for name in listings],
            output,
            with_shop=shop,
            with_image=image,
            progress=progress,
        )
    fingerprint, sha256 = signing.fingerprint(settings.home), sha256_of(output)
    if json_out:
        data_json(_told(output, made, fingerprint) | {"sha256": sha256})
    else:
        _show(output, made, fingerprint)
    command = _first_command(output.name, sha256, fingerprint, shop)
    hint(f"在目标机器上：{command}", f"On the other machine: {command}")


def _first_command(file: str, sha256: str, fingerprint: str, shop: bool) -> str:
    """What installs the bundle elsewhere.

    Where its own installer runs first, only the sum of the whole file can tell before whether it is ours.
    """
    quoted = shlex.quote(file)
    if not shop:
        return f"market bundle install {quoted} --fingerprint {fingerprint}"
    check = f"echo {shlex.quote(f'{sha256}  {file}')} | sha256sum -c"
    return f"{check} && tar -xOf {quoted} install.sh | sh -s -- {quoted} --fingerprint {fingerprint}"


@bundle.command("show", help=text("查看并核对离线包，不安装。", "Check a bundle and say what it holds."))
@click.argument("file", type=click.Path(path_type=Path))
@key_option
@fingerprint_option
@as_json
def show_command(file: Path, key: Path | None, fingerprint: str | None, json_out: bool) -> None:
    """Check a bundle without installing it."""
    from marketplace.bundles.reading import verify

    with named_errors(json_out), watched(say("核对", "Check")) as progress:
        check = Signer(file, key, fingerprint)
        held = verify(file, check, progress)
    if json_out:
        data_json(_told(file, held, check.fingerprint) | {"holds": True})
    else:
        _show(file, held, check.fingerprint)


@bundle.command("install", help=text("核对、安装、部署并自检。", "Check, install, deploy and try a bundle."))
@click.argument("file", type=click.Path(path_type=Path))
@key_option
@fingerprint_option
@click.option("--runtime", help=text("运行方式：process 或 docker。", "Runtime: process or docker."))
@click.option("--deploy/--no-deploy", default=True, help=text("是否部署并自检。", "Deploy and try it."))
@click.option("--timeout", type=click.FloatRange(min=0), default=1800.0, show_default=True)
@as_json
def install_command(
    file: Path,
    key: Path | None,
    fingerprint: str | None,
    runtime: str | None,
    deploy: bool,
    timeout: float,
    json_out: bool,
) -> None:
    """Check, install, deploy and try a bundle."""
    with named_errors(json_out):
        check = Signer(file, key, fingerprint)
        installed = _install(file, check)
        outcomes = _accept(installed, runtime, timeout) if deploy else []
    told = [{"name": each.name, "version": each.version, "digest": each.digest} for each in installed]
    if json_out:
        tried = [outcome.to_dict() for outcome in outcomes]
        data_json({"installed": told, "fingerprint": check.fingerprint, "acceptance": tried})
    else:
        _show_outcomes(installed, outcomes)
    if any(not outcome.passed for outcome in outcomes):
        sys.exit(FAILED)
    hint("下一步：market serve，然后 market ps。", "Next: market serve, then market ps.")


def _install(file: Path, check: "Signer") -> "list[Installed]":
    from tempfile import TemporaryDirectory

    from marketplace.bundles.installing import install
    from marketplace.bundles.reading import unpacked
    from marketplace.settings import load

    home = load().home
    with (
        database() as engine,
        watched(say("安装", "Install")) as progress,
        TemporaryDirectory(prefix="market-key-") as folder,
        unpacked(file, home / "bundles", check, progress) as (held, root),
    ):
        key = Path(folder) / "signing.pub.pem"
        key.write_bytes(check.key)
        check.remember()
        return install(engine, home, held, root, key=key, file=file.name, progress=progress)


def _accept(installed: "Sequence[Installed]", runtime: str | None, timeout: float) -> "list[Outcome]":
    from marketplace.bundles.acceptance import accept
    from marketplace.bundles.running import running_shop

    outcomes = []
    with running_shop() as shop:
        chosen = runtime or _best_runtime(shop)
        for each in installed:
            hint(f"自检 {each.name}…", f"Trying {each.name}…")
            outcomes.append(accept(shop, each, runtime=chosen, timeout=timeout))
    return outcomes


def _best_runtime(shop: "Shop") -> str:
    """Containers where an engine answers, as the bundle brings their image."""
    runtimes = shop.call("GET", "/api/doctor")["runtimes"]
    if not any(each["name"] == "docker" and each["ok"] for each in runtimes):
        return "process"
    hint(
        "本机有容器引擎，用容器部署；要用进程，请加 --runtime process。",
        "An engine answers, so containers are used; for processes add --runtime process.",
    )
    return "docker"


def _told(file: Path, held: "Table", fingerprint: str) -> dict[str, Any]:
    return {
        "file": str(file),
        "size": file.stat().st_size,
        "fingerprint": fingerprint,
        "listings": held.listings,
        "machine": held.machine,
        "image": held.image or None,
        "shop": held.product if _brings_shop(held) else None,
        "files": len(held.items),
    }


def _brings_shop(held: "Table") -> bool:
    return any(item.path == "install.sh" for item in held.items)


def _machine(told: "Mapping[str, str]") -> str:
    return f"Python {told['python']}, {told['platform']}" if told else say("任何机器", "any machine")


def _show(file: Path, held: "Table", fingerprint: str) -> None:
    show_facts(
        [
            (say("离线包", "Bundle"), f"{file}  {size(file.stat().st_size)}"),
            (say("商品", "Listings"), ", ".join(held.listings)),
            (say("运行镜像", "Runtime image"), held.image or say("没有", "none")),
            (say("商店程序", "Shop"), held.product if _brings_shop(held) else say("没有", "none")),
            (say("适用机器", "For"), _machine(held.machine)),
            (say("签署者", "Signed by"), fingerprint),
        ]
    )


def _show_outcomes(installed: "Sequence[Installed]", outcomes: "Sequence[Outcome]") -> None:
    if not outcomes:
        for each in installed:
            show_facts([(say("已安装", "Installed"), f"{each.name}@{each.version}")])
        return
    words = (
        ("商品", "Listing"),
        ("自检", "Self-test"),
        ("例子", "Examples"),
        ("首个回答", "First answer"),
        ("运行方式", "Runtime"),
        ("地址", "Endpoint"),
    )
    rows = [
        [f"{o.name}@{o.version}", _mark(o), o.examples, f"{o.milliseconds} ms", o.runtime, o.endpoint]
        for o in outcomes
    ]
    table([say(*each) for each in words], rows)
    for outcome in outcomes:
        for wrong in outcome.wrong:
            hint(f"{outcome.name}：{wrong}", f"{outcome.name}: {wrong}")
        if outcome.key:
            hint(f"{outcome.deployment} 的密钥（只显示这一次）：{outcome.key}",
                 f"The key of {outcome.deployment} (shown this once): {outcome.key}")  # fmt: skip


def _mark(outcome: "Outcome") -> str:
    return say("● 通过", "● passed") if outcome.passed else say("✕ 未通过", "✕ failed")
