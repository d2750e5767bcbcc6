"""What is found of packages: images, folders and bundles, looked at here, with no shop and no network.

A registry's reference is the exception: what it names is fetched first, and not kept.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from marketplace.cli.signers import Signer
from marketplace.terminal import data, language, say, table

if TYPE_CHECKING:
    from deployer.packager.evidence import Evidence
    from deployer.packager.verify import Verified

STATEMENT = ".intoto.json"
MARKS = {"holds": "●", "none": "–", "unknown": "–", "fails": "✕"}


def verify_file(path: Path, signer: Signer) -> dict[str, Any]:
    """What holds of an OCI layout (folder, .tar, .tar.gz), a package (folder, .zip) or a bundle."""
    from deployer.packager import opening
    from marketplace.bundles.reading import is_bundle

    if path.is_file() and is_bundle(path):
        return _bundle(path, signer)

    if path.is_file() and path.name.endswith(STATEMENT):
        return _looked(str(path), signer, lambda: _beside(path))
    return _looked(str(path), signer, lambda: opening.opened(path))


PASSPORT_FOLDER = "passport"


def has_passport(folder: Path) -> bool:
    """Whether a folder of files has its passport beside them, as a download from a shop's Hub does."""
    from deployer.packager.passport import PASSPORT

    return (folder / PASSPORT_FOLDER / PASSPORT).is_file()


def verify_with_passport(folder: Path, signer: Signer) -> dict[str, Any]:
    """What holds of a passport, and whether the files beside it are those that it names."""
    from deployer.errors import VerificationFailed
    from deployer.packager import passport
    from deployer.packager.release import MANIFEST
    from marketplace.problems import problem_of

    told = verify_file(folder / PASSPORT_FOLDER, signer)
    told["subject"] = str(folder)
    if not told["holds"]:
        return told
    manifest = (folder / PASSPORT_FOLDER / MANIFEST).read_bytes()
    content = next(step for step in told["steps"] if step["step"] == "content")
    try:
        told["compared"] = passport.require_files(manifest, folder, str(folder))
        content["facts"] = {**content["facts"], "compared": told["compared"]}
    except VerificationFailed as error:
        facts = error.facts
        content |= {"verdict": "fails", "why": facts["why"], "why_zh": facts["why_zh"]}
        told |= {"holds": False, "error": problem_of(error, language()).to_dict()}
    return told


@contextlib.contextmanager
def _beside(path: Path) -> "Iterator[Evidence]":
    """A signed statement by itself, with the files of its subject that lie beside it."""
    from deployer.packager import evidence

    yield evidence.of_statement(path)


def verify_image(reference: str, signer: Signer) -> dict[str, Any]:
    """What holds of an image: a registry's when it is named in front, else the local engine's."""
    if _names_registry(reference):
        return _looked(reference, signer, lambda: _pulled(reference))
    return _looked(reference, signer, lambda: _in_engine(reference))


def _looked(subject: str, signer: Signer, open_: Any) -> dict[str, Any]:
    """The result as JSON types; every named refusal is part of it."""
    from catalog.errors import CatalogError
    from deployer.errors import DeployerError, VerificationFailed
    from deployer.packager import verify
    from marketplace.problems import problem_of

    certified = None
    try:
        with open_() as found:
            result = verify.look(found, signer.keys(found.keys))
            if result.holds:
                result, certified = _certified(found, result)
    except VerificationFailed as error:
        result = verify.broken(subject, error)
    except (CatalogError, DeployerError) as error:
        return {"subject": subject, "holds": False, "error": problem_of(error, language()).to_dict()}
    told = {**result.to_json(), **_signer(result.fingerprint), **_certificate(certified)}
    told["subject"] = subject
    if result.error:
        told["error"] = problem_of(result.error, language()).to_dict()
    return told


def _signer(fingerprint: str) -> dict[str, Any]:
    from catalog import signing
    from marketplace.settings import load

    return {"own": bool(fingerprint) and fingerprint == signing.fingerprint(load().home)}


def _certificate(certified: dict[str, Any] | None) -> dict[str, Any]:
    import msgspec

    from marketplace.figures import figures_of

    figures = figures_of(certified) if certified else None
    return {
        "certificate": certified,
        "figures": msgspec.to_builtins(asdict(figures)) if figures else None,
    }


def _certified(found: "Evidence", result: "Verified") -> "tuple[Verified, dict[str, Any] | None]":
    """The result once the certificate's decision was made again over the files that are here."""
    from dataclasses import replace

    from deployer.optimizer import certificate
    from deployer.optimizer.errors import CertificateRefused
    from deployer.packager import verify
    from deployer.packager.attestation import refusal

    step = next(each for each in result.steps if each.step == "evaluation")
    if step.verdict != "holds":
        return result, None
    measured = {each["path"]: each["sha256"] for each in step.facts["in"]}
    with TemporaryDirectory(prefix="market-verify-") as folder:
        place = Path(folder)
        found.unpack({**measured, "manifest.json": ""}, place)
        content = found.documents[step.facts["certificate"]]
        (place / certificate.FILE_NAME).write_bytes(content)
        if any(not (place / path).is_file() for path in measured):
            why = "it was measured in another form than the one that lies here"
            told = replace(step, verdict="unknown", why=why, why_zh="测量时的文件与此处的形式不同")
            steps = tuple(told if each is step else each for each in result.steps)
            return replace(result, steps=steps), certificate.read(place)
        try:
            return result, certificate.check(place)
        except CertificateRefused as error:
            why, why_zh = str(error.facts["why"]), str(error.facts["why_zh"])
            failed = refusal(result.subject, "evaluation", why, why_zh)
            steps = verify.with_failure([each for each in result.steps if each is not step], failed)
            return replace(result, steps=steps, error=failed), None


# Where it lies


def _names_registry(reference: str) -> bool:
    """Whether a host stands in front: nothing is fetched from where nobody said."""
    if reference.startswith("oci://"):
        return True
    host, slash, _ = reference.partition("/")
    return bool(slash) and (bool(set(".:") & set(host)) or host == "localhost")


@contextlib.contextmanager
def _pulled(reference: str) -> "Iterator[Evidence]":
    from deployer.errors import ContentCorrupted
    from deployer.packager import evidence, registry
    from deployer.packager.attestation import refusal
    from deployer.packager.layout import Layout
    from marketplace.cli.here import watched

    with TemporaryDirectory(prefix="market-verify-") as folder:
        layout = Layout(Path(folder))
        try:
            with watched(say("取回", "Fetch")) as progress:
                root = registry.pull(reference, layout, progress=progress)
        except ContentCorrupted as error:
            what = str(error.facts.get("what", ""))
            raise refusal(
                reference, "content", f"{what} is not what its digest says", f"{what} 与其摘要不符"
            ) from error
        yield evidence.of_image(layout, root, reference)


@contextlib.contextmanager
def _in_engine(reference: str) -> "Iterator[Evidence]":
    import docker

    from deployer.errors import RuntimeUnavailable
    from deployer.packager import opening
    from deployer.runtimes.engines import connect
    from marketplace.settings import load

    client = connect()
    try:
        with opening.in_engine(client, reference, load().home / "images") as found:
            yield found
    except docker.errors.ImageNotFound:
        raise click.BadParameter(
            say(
                f"引擎中没有镜像 {reference}，也没有这样的文件；"
                f"仓库里的请写上仓库地址，如 127.0.0.1:5000/{reference}",
                f"the engine has no image {reference}, and there is no such file;"
                f" of a registry, name it in front, as in 127.0.0.1:5000/{reference}",
            )
        ) from None
    except docker.errors.DockerException as error:
        raise RuntimeUnavailable(runtime="docker", why=str(error)) from error
    finally:
        client.close()


def _bundle(path: Path, signer: Signer) -> dict[str, Any]:
    """Every file of a bundle against its signed table."""
    from deployer.errors import DeployerError
    from marketplace.bundles.reading import verify
    from marketplace.cli.here import watched
    from marketplace.problems import problem_of

    told: dict[str, Any] = {"subject": str(path), "kind": "bundle", "holds": False, "certificate": None}
    try:
        with watched(say("核对", "Check")) as progress:
            held = verify(path, signer, progress)
    except DeployerError as error:
        return told | {"error": problem_of(error, language()).to_dict()}
    return told | {
        "holds": True,
        "fingerprint": signer.fingerprint,
        **_signer(signer.fingerprint),
        "listings": held.listings,
        "files": len(held.items),
    }


# What is shown


def show(told: Mapping[str, Any]) -> None:
    """The steps as a table; of a bundle, what it holds."""
    if told.get("kind") == "bundle":
        _show_bundle(told)
        return
    if not told.get("steps"):
        return
    from deployer.packager.attestation import STEPS_ZH

    rows = [
        (MARKS[one["verdict"]], say(STEPS_ZH[one["step"]], one["step"].capitalize()), _words(one, told))
        for one in told["steps"]
    ]
    table(("", say("步骤", "STEP"), say("说明", "WHAT WAS FOUND")), rows)
    if told.get("figures"):
        from marketplace.cli.jobs import show_figures

        data("")
        show_figures(told["figures"])


def _show_bundle(told: Mapping[str, Any]) -> None:
    if not told["holds"]:
        return
    from marketplace.cli.options import show_facts

    show_facts(
        [
            (say("签名", "Signature"), say("成立", "holds")),
            (say("密钥指纹", "Key"), _key(told)),
            (say("商品", "Listings"), ", ".join(told["listings"])),
            (say("文件", "Files"), told["files"]),
        ]
    )


def _key(told: Mapping[str, Any]) -> str:
    who = (
        say("本机密钥", "this home's key")
        if told["own"]
        else say("请与签署者核对", "compare it with the signer's")
    )
    return f"{told['fingerprint']} ({who})"


def _words(step: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """A row's words. The name is the signed one: a file may be called anything."""
    if step["verdict"] != "holds":
        return str(say(step["why_zh"], step["why"]) or step["why"])
    if step["step"] == "signature":
        return _key(told)
    words = {
        "content": _content,
        "source": _source,
        "conversion": _conversion,
        "quantisation": _quantisation,
        "evaluation": _evaluation,
        "checks": _checks,
        "measurement": _measurement,
        "package": _package,
        "bill": _bill,
    }[step["step"]]
    try:
        said = words(step["facts"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return "?"  # signed by somebody trusted, and yet of no form that is known here
    if step["step"] == "package":
        said = f"{told['release']['name']} {told['release']['version']}, {said}"
    if step["step"] == "content" and told.get("digest"):
        said = f"{said}: {told['digest']}"  # a tag may lead elsewhere tomorrow
    return said


def _content(facts: Mapping[str, Any]) -> str:
    if facts["images"]:
        return say("每一字节都与摘要相符", "every byte is what its digest says")
    if count := facts.get("compared"):
        return say(
            f"护照所列 {count} 个文件与目录中的一致", f"{count} files are those that the passport names"
        )
    return say(f"{facts['files']} 个文件已读取并核算", f"{facts['files']} files, read and hashed")


def _source(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['registry']} {one['package']} {one['version']}" for one in facts["materials"])


def _conversion(facts: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{one['converter']} {one['version']} → {', '.join(file['path'] for file in one['out'])}"
        for one in facts["conversions"]
    )


def _quantisation(facts: Mapping[str, Any]) -> str:
    recipes = ", ".join(f"{graph}: {recipe}" for graph, recipe in sorted(facts["recipes"].items()))
    return f"{recipes} ({facts['device']})"


def _evaluation(facts: Mapping[str, Any]) -> str:
    data_, quality = facts["data"], facts["quality"]
    rows = say(f"{data_['name']}，{quality['rows']} 行", f"{data_['name']}, {quality['rows']} rows")
    agreed = quality.get("agreement")
    share = say(f"，一致 {agreed['value']:.2%}", f", agreement {agreed['value']:.2%}") if agreed else ""
    return f"{rows}{share} ({facts['grade']})"


def _checks(facts: Mapping[str, Any]) -> str:
    from marketplace.cli.verdicts import counts

    rows = facts["rows"]
    found = counts(rows)
    scanners = sorted(
        {f"{row['scanner']} {row['scanner_version']}".strip() for row in rows if row["scanner"]}
    )
    said = [
        say(f"{found['pass']} 项通过", f"{found['pass']} passed"),
        say(f"{found['warn']} 项提醒", f"{found['warn']} with a warning") if found["warn"] else "",
        say(f"{found['unknown']} 项没有结论", f"{found['unknown']} without a verdict")
        if found["unknown"]
        else "",
        say(f"{found['fail']} 项不通过", f"{found['fail']} failed") if found["fail"] else "",
    ]
    return f"{say('，', ', ').join(filter(None, said))} ({', '.join(scanners)})"


def _measurement(facts: Mapping[str, Any]) -> str:
    claimed, measured = facts["claimed"], facts["measured"]
    latency = (measured.get("latency_ms") or {}).get("p50")
    if latency is None:
        return say(f"{len(measured)} 项实测", f"{len(measured)} measured")
    said = claimed.get("latency_ms")
    told = say(f"，所称 {said:g} 毫秒", f", claimed {said:g} ms") if said is not None else ""
    return say(f"实测 {latency:g} 毫秒", f"{latency:g} ms measured") + told


def passport_rows(chain: Mapping[str, Any]) -> list[tuple[str, object]]:
    """What a passport says of each step, as a list of facts; nothing is verified here."""
    from deployer.packager.attestation import STEPS_ZH

    said: list[tuple[str, object]] = []
    for step in chain["steps"]:
        words = {"source": _source, "conversion": _conversion, "checks": _checks, "measurement": _measurement}
        if step["step"] in words:
            name = say(STEPS_ZH[step["step"]], step["step"].capitalize())
            said.append((name, words[step["step"]](step) or _stated(chain, step)))
    return said


def _stated(chain: Mapping[str, Any], step: Mapping[str, Any]) -> str:
    """What a vendor says of the source, where nobody saw the files come from there."""
    facts = [each.get("facts") or {} for each in chain["steps"] if each["step"] == "package"]
    stated = facts[0].get("stated_source") if facts else ""
    if step["step"] != "source" or not stated:
        return ""
    return say(f"未知；商家自述 {stated}", f"unknown; the vendor states {stated}")


def _package(facts: Mapping[str, Any]) -> str:
    platforms = ", ".join(filter(None, (one["platform"] for one in facts.get("images", ()))))
    return f"{facts['terminal'] or '-'} {platforms}".strip()


def _bill(facts: Mapping[str, Any]) -> str:
    count = facts["packages"]
    licenses = ", ".join(dict.fromkeys(facts["licenses"]))
    named = say(f"{count} 个软件包", f"{count} packages")
    return f"{named}; {licenses}" if licenses else named
