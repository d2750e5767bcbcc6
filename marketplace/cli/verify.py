"""verify: whether a package, a variant or a deployment is what it says; files are looked at with no shop."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from marketplace.cli import proved
from marketplace.cli.options import FAILED, as_json, deployment_path, show_facts, text
from marketplace.cli.signers import Signer, fingerprint_option, key_option
from marketplace.terminal import data_json, hint, language, problem_text, say

SIGNATURE, KEY = "signature.json", "signing.pub.pem"


@click.command(
    help=text(
        "离线核对签名、摘要、证书、物料清单与来源链：SUBJECT 是包文件或目录（.tar、.zip、OCI 布局、"
        "离线包，或带有 passport/ 的模型目录）、引擎中的镜像、仓库引用、部署名或 sha256:… 的变体。",
        "Check signature, digests, certificate, bill and origin: SUBJECT is a package's file or folder (.tar,"
        " .zip, OCI layout, bundle; or a model's with its passport/ beside it), an image of the engine, a"
        " registry's reference, a deployment or a variant's sha256:….",
    )
)
@click.argument("subject")
@key_option
@fingerprint_option
@as_json
def verify(subject: str, key: Path | None, fingerprint: str | None, json_out: bool) -> None:
    """Check signature, digests, certificate, bill and origin."""
    told = _look(subject, key, fingerprint)
    if json_out:
        data_json(told)
    elif "steps" in told or told.get("kind") == "bundle":
        proved.show(told)
    elif told["holds"]:
        _show(told)
    if not told["holds"]:
        hint(problem_text(told["error"]), problem_text(told["error"]))
        sys.exit(FAILED)


def _look(subject: str, key: Path | None, fingerprint: str | None) -> dict[str, Any]:
    path = Path(subject).expanduser()
    signer = Signer(path, key, fingerprint)
    if path.is_dir() and not _is_package(path) and proved.has_passport(path):
        return proved.verify_with_passport(path, signer)
    if path.is_dir() and not _is_package(path):
        return verify_folder(path, key)
    if path.exists():
        return proved.verify_file(path, signer)
    named = subject.partition("/")[0]
    if subject.startswith((".", "/", "~")) or ("." in subject and named == subject and ":" not in subject):
        raise click.BadParameter(say(f"没有 {subject}", f"There is no {subject}"))
    if not subject.startswith("sha256:") and set("/:") & set(subject):
        return proved.verify_image(subject, signer)
    return _ask_the_shop(subject, key)


def _is_package(path: Path) -> bool:
    from deployer.packager.opening import is_package

    return is_package(path)


def verify_folder(folder: Path, key: Path | None) -> dict[str, Any]:
    """What holds of a folder: its signature with the key given, else with the one that lies in it.

    A key out of the folder itself is believed only if it is this home's own.
    """
    from catalog import signing
    from catalog.errors import CatalogError, SignatureInvalid
    from deployer.errors import DeployerError
    from deployer.optimizer import certificate
    from marketplace.figures import figures_of
    from marketplace.problems import problem_of
    from marketplace.settings import load

    home = load().home
    told: dict[str, Any] = {"subject": str(folder), "holds": False}
    signature = folder / SIGNATURE
    digest = f"sha256:{folder.resolve().name}"
    if not signature.exists() and signing.signature_path(home, digest).exists():
        signature, key = signing.signature_path(home, digest), key or signing.public_key(home)
    public = key or folder / KEY
    try:
        if not signature.is_file():
            raise SignatureInvalid(
                digest=folder.name, why=f"the folder holds no {SIGNATURE}, so it is no package"
            )
        beside = [Path(SIGNATURE), Path(KEY)] if signature.parent == folder else []
        signing.verify_folder(folder, signature, public, subject=folder.name, beside=beside)
        told["fingerprint"] = signing.fingerprint_of(public)
        told["own"] = told["fingerprint"] == signing.fingerprint(home)
        if key is None and not told["own"]:
            # Whoever changes a folder can sign it anew: only a key from elsewhere tells who it was.
            raise SignatureInvalid(
                digest=folder.name,
                why=f"the key {told['fingerprint'][:16]}… is not this home's; give the signer's with --key",
            )
        found = certificate.check(folder) if _is_certified(folder) else None
        told["certificate"] = found
        figures = figures_of(found) if found else None
        told["figures"] = asdict(figures) if figures else None
        told["holds"] = True
    except (CatalogError, DeployerError) as error:
        told["error"] = problem_of(error, language()).to_dict()
    return _plain(told)


def _is_certified(folder: Path) -> bool:
    """Whether there is a certificate, or the manifest says that there is to be one."""
    import json

    from deployer.optimizer import certificate

    if (folder / certificate.FILE_NAME).exists():
        return True
    try:
        files = json.loads((folder / "manifest.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(files, dict) and certificate.ROLE in files


def _plain(told: dict[str, Any]) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain


def _ask_the_shop(subject: str, key: Path | None) -> dict[str, Any]:
    """What the shop finds of a deployment's files or of a variant."""
    from marketplace.client import opened

    if key is not None:
        raise click.UsageError(say("--key 用于文件、目录与镜像。", "--key is for files, folders and images."))
    if subject.startswith("sha256:"):
        path = f"/api/variants/{quote(subject, safe=':')}/verification"
    else:
        path = deployment_path(subject, "verification")
    with opened() as shop:
        told: dict[str, Any] = shop.call("GET", path, timeout=300)
    return told


def _show(told: dict[str, Any]) -> None:
    who = (
        say("本机密钥", "this home's key")
        if told["own"]
        else say("请与签署者核对", "compare it with the signer's")
    )
    facts: list[tuple[str, object]] = [
        (say("签名", "Signature"), say("成立", "holds")),
        (say("密钥指纹", "Key"), f"{told['fingerprint']} ({who})"),
    ]
    if told["certificate"]:
        made = told["certificate"]
        facts += [
            (say("证书", "Certificate"), say("成立", "holds")),
            (say("设备", "Device"), made["device"]),
            (say("数据", "Data"), f"{made['data']['name']} {made['data']['digest']}".strip()),
        ]
    show_facts(facts)
    if told["certificate"] and told["figures"]:
        from marketplace.cli.jobs import show_figures

        show_figures(told["figures"])
