"""What the commands share: options, help in the reader's language, names, and lists of facts."""

from typing import Any
from urllib.parse import quote

import click

from marketplace.terminal import data, hint, say

FAILED, UNREACHABLE = 1, 3  # exit statuses


def text(zh: str, en: str) -> str:
    """A help text in the reader's language, chosen when the command line starts."""
    return say(zh, en)


as_json = click.option("--json", "json_out", is_flag=True, help=text("以 JSON 输出。", "Print JSON."))
yes_option = click.option(
    "-y", "--yes", is_flag=True, help=text("不再询问。", "Do not ask for confirmation.")
)


def full_name(name: str) -> str:
    """vendor/name[@version]; a bare name is taken for one of the market's own."""
    plain = name.partition("@")[0]
    if plain.count("/") > 1 or not all(plain.split("/")):
        raise click.BadParameter(
            say(f"{name}：应为 vendor/name[@version]", f"{name}: expected vendor/name[@version]")
        )
    return name if "/" in plain else f"opc-market/{name}"


def deployment_path(deployment: str, what: str = "") -> str:
    """A deployment's place in the API."""
    return "/".join(filter(None, ("/api/deployments", quote(deployment, safe=""), what)))


def title_of(listing: dict[str, Any]) -> str:
    """A listing's title in the reader's language."""
    return str(listing[say("title_zh", "title_en")])


def show_facts(facts: list[tuple[str, object]]) -> None:
    """Names and values, one a line."""
    from marketplace.terminal import width

    room = max(width(name) for name, _ in facts)
    for name, value in facts:
        data(f"{name}{' ' * (room - width(name))}  {value if value not in (None, '') else '-'}")


def warn_of_version(made: dict[str, Any]) -> None:
    """Say it where a deployment runs a version that is not simply on the shelf."""
    name, version = made["deployment"], f"{made['listing']}@{made['version']}"
    hints = {
        "deprecated": ("已弃用", "is no longer recommended"),
        "yanked": ("已被撤下", "was taken off the shelf"),
        "draft": ("是未上架的草稿", "is a draft that is not listed"),
        "submitted": ("尚在审核", "is still under review"),
        "rejected": ("未通过审核", "was rejected"),
    }
    if made.get("version_state") in hints:
        zh, en = hints[made["version_state"]]
        command = f"market versions {made['listing']}"
        hint(f"{name}：{version} {zh}。详见：{command}", f"{name}: {version} {en}. See: {command}")


def show_deployment(made: dict[str, Any]) -> None:
    """Where a deployment is and its key, which is shown once."""
    facts = [
        (say("部署", "Deployment"), made["deployment"]),
        (say("状态", "State"), made["state"]),
        (say("地址", "Endpoint"), made["endpoint"]),
        (say("密钥", "Key"), made.get("key")),
        (say("运行方式", "Runtime"), f"{made['runtime']} / {made['device']}"),
        (say("沙箱", "Sandbox"), made["sandbox"]),
    ]
    if made["variant"]:
        facts.append((say("变体", "Variant"), made["variant"]))
    show_facts(facts)
    warn_of_version(made)
    if made.get("key"):
        hint("密钥只显示这一次，请妥善保存。", "The key is shown this once; keep it safe.")
