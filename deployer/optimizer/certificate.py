"""The certificate of a variant: what was measured, by what rule it was let through, and of which files.

It lies in the variant's folder as `certificate.json`, so the signature over the folder covers it. `check`
holds it against the files and decides again by the figures that it states; its signature is another matter.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from deployer.devices import profile
from deployer.optimizer import pick
from deployer.optimizer.errors import CertificateRefused
from deployer.optimizer.folders import MANIFEST
from deployer.optimizer.objective import Objective
from deployer.optimizer.report import Confirmation, Interval, Quality, Report, Trial

FILE_NAME = "certificate.json"
ROLE = "certificate"
SCHEMA = "opc-market/certificate/1"
LARGEST = 4 << 20  # bytes

Certificate = dict[str, Any]


def make(
    report: Report, trial: Trial, quality: Quality, files: Mapping[str, str], **facts: Any
) -> Certificate:
    """The certificate of a picked variant; `files` are the sha256 by path of what differs."""
    assert report.data is not None and report.baseline is not None
    plain = msgspec.to_builtins
    named = ("name", "version", "digest", "task", "files")
    return {
        "schema": SCHEMA,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "subject": {k: v for k, v in report.model.items() if k in named},
        "variant": {
            "graphs": trial.graphs,
            "kept_in_float": trial.keep,
            "files": dict(files),
            "size": trial.size,
            "baseline_size": report.baseline.size,
            **facts,
        },
        "objective": plain(report.objective),
        "device": report.device,
        "grade": profile(report.device).runs_here,
        "versions": report.versions,
        "seed": report.seed,
        "data": plain(report.data),
        "quality": plain(quality),
        "speed": {
            "ratio": plain(trial.speed),
            "control": plain(report.control),
            "milliseconds": trial.milliseconds,
            "baseline_milliseconds": report.baseline.milliseconds if trial.speed else None,
        },
        "target": plain(report.confirmation),
        "trials": [
            {
                "id": each.id,
                "state": each.state,
                "size": each.size,
                "speed": plain(each.speed),
                "chosen": plain(each.chosen),
                "why": plain(each.why),
            }
            for each in report.trials
        ],
    }  # fmt: skip


def encode(certificate: Certificate) -> bytes:
    """Its canonical bytes: UTF-8 JSON, keys sorted."""
    text = json.dumps(certificate, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
    return text.encode() + b"\n"


def read(folder: Path) -> Certificate:
    """The certificate in a variant's folder; raises CertificateRefused when none can be read."""
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large")
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _refused(folder, "there is no certificate", "没有证书") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(folder, f"it cannot be read: {error}", f"证书无法读取：{error}") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise _refused(folder, "it is of no known form", "证书的格式未知")
    return found


def check(folder: Path) -> Certificate:
    """The certificate, once its files and its decision were found to hold; raises CertificateRefused."""
    found = read(folder)
    try:
        files = dict(found["variant"]["files"])
        quality = msgspec.convert(found["quality"], Quality)
        objective = msgspec.convert(found["objective"], Objective)
        speed = msgspec.convert(found["speed"]["ratio"], Interval | None)
        seen = msgspec.convert(found["target"], Confirmation | None)
        size, milliseconds = int(found["variant"]["size"]), found["speed"]["milliseconds"]
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
        raise _refused(folder, f"it is incomplete: {error}", f"证书不完整：{error}") from None
    if not files:
        raise _refused(folder, "it names no file", "证书没有写明任何文件")
    for path, sha256 in files.items():
        _check_file(folder, str(path), str(sha256))
    _check_served(folder, set(files))
    why = pick.decide(quality, objective, size=size, speed=speed, milliseconds=milliseconds, seen=seen)
    if why is not None:
        raise _refused(folder, why.why_en, why.why_zh)
    return found


def _check_file(folder: Path, path: str, sha256: str) -> None:
    file = (folder / path).absolute()
    if ".." in Path(path).parts or not file.is_relative_to(folder.absolute()) or not file.is_file():
        raise _refused(folder, f"{path} is missing", f"缺少文件 {path}")
    with file.open("rb") as opened:
        got = hashlib.file_digest(opened, "sha256").hexdigest()
    if got != sha256:
        raise _refused(folder, f"{path} is not the file that was measured", f"{path} 不是测量时的文件")


def _check_served(folder: Path, files: set[str]) -> None:
    """What the manifest serves must be what the certificate speaks of."""
    path = folder / MANIFEST
    if not path.is_file():
        return
    try:
        served = {str(name) for name in json.loads(path.read_bytes())["files"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refused(
            folder, f"{MANIFEST} cannot be read: {error}", f"{MANIFEST} 无法读取：{error}"
        ) from None
    graphs = {name for name in files if name.endswith(".onnx")}
    if not graphs <= served:
        names = ", ".join(sorted(graphs - served))
        raise _refused(folder, f"{MANIFEST} does not serve {names}", f"{MANIFEST} 所用的不是 {names}")


def _refused(folder: Path, why: str, why_zh: str) -> CertificateRefused:
    return CertificateRefused(subject=folder.name, why=why, why_zh=why_zh)


def variant_manifest(base: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The catalogue's manifest of the picked variant: the base's, but for what differs."""
    assert report.pick is not None
    folder = Path(report.pick.folder)
    files: dict[str, str] = dict(base["files"])
    dropped = {files[role] for role in report.pick.graphs} | set(report.pick.dropped)
    files.update(report.pick.graphs)
    kept = [artifact for artifact in base["artifacts"] if artifact["path"] not in dropped]
    new = [
        {"path": path, "sha256": sha256, "size": (folder / path).stat().st_size}
        for path, sha256 in report.pick.files.items()
    ]
    return {
        **base,
        "files": {**files, ROLE: FILE_NAME},
        "options": {**base.get("options", {}), **report.pick.options},
        "artifacts": [*kept, *new],
    }
