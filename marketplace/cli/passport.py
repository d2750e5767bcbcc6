"""passport: where a version comes from and what was checked of it, as files to keep and to verify."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from marketplace.cli.options import as_json, full_name, show_facts, text
from marketplace.terminal import data_json, hint, say

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@click.command(
    help=text(
        "取一个版本的来源护照：NAME 是 vendor/name[@version]。来源、转换、文件、检查、实测与签名，"
        "存为文件后可离线核对：market verify。",
        "Fetch the passport of a version, vendor/name[@version]: source, conversion, files, checks, figures "
        "and signature, as files that market verify checks offline.",
    )
)
@click.argument("name")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help=text("存到这个目录。", "Folder to write it to."),
)
@as_json
def passport(name: str, output: Path | None, json_out: bool) -> None:
    """Fetch the passport of a version."""
    from marketplace.client import opened

    vendor_name, _, number = full_name(name).partition("@")
    with opened() as shop:
        if not number:
            number = shop.call("GET", f"/api/listings/{quote(vendor_name)}")["version"]
        place = f"/api/passports/{quote(vendor_name)}/{quote(number)}"
        told: dict[str, Any] = shop.call("GET", place)
        if output is not None:
            _save(shop, place, told, output)
    if json_out:
        data_json(told)
    else:
        _show(told)
    if output is not None:
        hint(f"下一步：market verify {output}", f"Next: market verify {output}")
    else:
        folder = f"{vendor_name.rpartition('/')[2]}-passport"
        command = f"market passport {vendor_name}@{number} -o {folder}"
        hint(f"存为文件：{command}", f"Keep it as files: {command}")


def _save(shop: Any, place: str, told: dict[str, Any], folder: Path) -> None:
    """Write the files into a folder that is new or empty: what else lies there would not be signed."""
    if folder.exists() and any(folder.iterdir()):
        raise click.BadParameter(say(f"{folder} 不是空目录", f"{folder} is not empty"))
    folder.mkdir(parents=True, exist_ok=True)
    for file in told["files"]:
        name = str(file["name"])
        if not PLAIN.fullmatch(name):
            raise click.ClickException(say(f"文件名不合规：{name!r}", f"No name for a file: {name!r}"))
        shop.download(f"{place}/files/{quote(name)}", folder / name, lambda _done, _total: None)


def _show(told: dict[str, Any]) -> None:
    from marketplace.cli.proved import passport_rows

    show_facts(
        [
            (say("名称", "Name"), told["name"]),
            (say("版本", "Version"), told["version"]),
            (say("摘要", "Digest"), told["digest"]),
            *passport_rows(told["chain"]),
            (say("密钥指纹", "Key"), told["fingerprint"]),
            (say("文件", "Files"), ", ".join(str(file["name"]) for file in told["files"])),
        ]
    )
