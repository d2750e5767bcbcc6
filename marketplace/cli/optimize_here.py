"""The optimiser on a model file of this machine, with no shop: a certified and signed variant in a folder."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from marketplace.cli.optimize import INTERRUPTED
from marketplace.cli.options import FAILED
from marketplace.cli.verify import KEY, SIGNATURE
from marketplace.terminal import data_json, hint, language, problem_text, say

if TYPE_CHECKING:
    from deployer.optimizer.objective import Objective
    from deployer.optimizer.report import Report

EXIT = {"picked": 0, "kept": 0}


def optimize_here(
    model: Path, json_out: bool, *, out: Path | None, dry_run: bool, then_deploy: bool, **wanted: Any
) -> int:
    """Search here, and leave the variant in `out`; the exit status."""
    from catalog.errors import CatalogError
    from deployer.errors import DeployerError
    from marketplace.problems import problem_of

    if then_deploy:
        raise click.UsageError(
            say(
                "--deploy 用于商品；本机模型的变体在目录里。",
                "--deploy is for listings; this variant is a folder.",
            )
        )
    target = (out or Path(f"{model.resolve().stem}-{wanted['device'] or 'cpu'}")).absolute()
    if not dry_run and target.exists() and any(target.iterdir()):
        raise click.BadParameter(say(f"{target} 不是空目录", f"{target} is not empty"), param_hint="--out")
    try:
        with folder_of_model(model.expanduser().absolute()) as folder:
            if dry_run:
                return _look(folder, json_out)
            return _search(folder, target, json_out, **wanted)
    except (CatalogError, DeployerError) as error:
        problem = problem_of(error, language()).to_dict()
        if json_out:
            data_json({"state": "failed", "error": problem})
        hint(problem_text(problem), problem_text(problem))
        return FAILED


@contextmanager
def folder_of_model(model: Path) -> Iterator[Path]:
    """The model folder: itself, or one made around a bare graph, whose task is `tensors`.

    What is no ONNX yet (TFLite, GGUF, safetensors, a state dict, .skops) is converted first.
    """
    from deployer.optimizer.folders import MANIFEST, link, parts_of

    if (model / MANIFEST).is_file():
        yield model
        return
    with TemporaryDirectory(prefix="market-model-") as made:
        folder, graph = Path(made) / model.stem, "model.onnx"
        if model.suffix == ".onnx":
            graph = model.name
            for part in parts_of(model):
                link(part, folder / part.name)
        else:
            from deployer.optimizer.convert.sources import convert_source

            hint(f"先转换 {model.name}", f"Converting {model.name} first")
            convert_source(model, folder)
        manifest = {"name": model.stem, "task": "tensors", "files": {"model": graph}, "options": {}}
        (folder / MANIFEST).write_text(json.dumps({**manifest, "examples": []}), encoding="utf-8")
        yield folder


def _objective(wanted: dict[str, Any]) -> "Objective":
    from deployer.optimizer.objective import Objective

    drop = wanted["max_drop"]
    return Objective(
        kind=wanted["objective"] or "fastest",
        max_drop=Objective().max_drop if drop is None else drop,
        max_latency_ms=wanted["max_latency"],
        max_memory=wanted["max_memory"],
        max_size=wanted["max_size"],
    )


def _search(folder: Path, target: Path, json_out: bool, **wanted: Any) -> int:
    from deployer import devices
    from deployer.optimizer.search import Job
    from deployer.runtimes.process import ProcessRuntime
    from marketplace.cli.jobs import show_result
    from marketplace.settings import load

    device = devices.profile(wanted["device"] or devices.CPU.id).id
    settings = load()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="optimize-", dir=settings.home) as work:
        runtime = ProcessRuntime(settings.home, settings.run_dir / "here")
        job = Job(
            model_dir=folder,
            data=wanted["data"].absolute() if wanted["data"] else None,
            device=device,
            objective=_objective(wanted),
            work=Path(work),
            out=Path(work) / "out",
            seed=wanted["seed"],
            model={"name": folder.name},
            runtime=runtime,
            home=settings.home,
        )
        try:
            report = _watched(job)
        except KeyboardInterrupt:
            hint("已中断，什么也没有留下。", "Interrupted; nothing is left behind.")
            return INTERRUPTED
        finally:
            runtime.close()
        if report.outcome == "picked":
            _hand_over(settings.home, folder, report, Path(work), target)
    told = _told(report, target)
    if json_out:
        data_json(told)
    else:
        show_result(told, str(target / "certificate.json"))
        if report.outcome == "picked":
            hint(f"下一步：market verify {target}", f"Next: market verify {target}")
    return EXIT.get(report.outcome, FAILED)


def _watched(job: Any) -> "Report":
    from deployer.optimizer.search import optimize
    from marketplace.cli.jobs import viewed

    with viewed() as view:
        return optimize(job, lambda report: view(_told(report, Path())))


def _told(report: "Report", target: Path) -> dict[str, Any]:
    """A report in the form in which the shop's API tells of a job."""
    import msgspec

    from deployer.optimizer.report import to_plain
    from marketplace.figures import figures_of

    plain = to_plain(report)
    if plain["pick"]:
        plain["pick"]["folder"] = str(target)
    figures = figures_of(report.certificate)
    return {
        "state": "done" if report.outcome else "running",
        "outcome": report.outcome,
        "why": say(report.why.why_zh, report.why.why_en) if report.why else "",
        "why_code": report.why.code if report.why else "",
        "figures": msgspec.to_builtins(asdict(figures)) if figures else None,
        "phase": report.phase,
        **{name: plain[name] for name in ("done", "total", "seconds", "seconds_left", "note")},
        "out": str(target) if report.outcome == "picked" else None,
        "report": plain,
    }


def _hand_over(home: Path, base: Path, report: "Report", work: Path, target: Path) -> None:
    """Lay the whole variant out in `target`, with certificate, signature and the public key."""
    from catalog import signing
    from deployer.optimizer import certificate, folders

    assert report.pick is not None
    picked = Path(report.pick.folder)
    graphs = {role: picked / name for role, name in report.pick.graphs.items()}
    whole = folders.lay_out(base, work / "whole", graphs, report.pick.options)
    shutil.copyfile(picked / certificate.FILE_NAME, whole / certificate.FILE_NAME)
    _describe(whole, certificate.ROLE, certificate.FILE_NAME)
    certificate.check(whole)
    shutil.copytree(whole, target, dirs_exist_ok=True)
    signing.sign_folder(home, target, work / SIGNATURE, target.name)
    shutil.copyfile(work / SIGNATURE, target / SIGNATURE)
    shutil.copyfile(signing.public_key(home), target / KEY)


def _describe(folder: Path, role: str, name: str) -> None:
    """Write the manifest anew: one more role, and the files that are there now."""
    from catalog.storage import sha256_of
    from deployer.optimizer.folders import MANIFEST, read_manifest

    manifest = read_manifest(folder)
    manifest["files"] = {**manifest["files"], role: name}
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    manifest["artifacts"] = [
        {"path": str(p.relative_to(folder)), "sha256": sha256_of(p), "size": p.stat().st_size} for p in paths
    ]
    (folder / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False), encoding="utf-8")


def _look(folder: Path, json_out: bool) -> int:
    from marketplace.cli.looks import look_at, show_look

    look = look_at(folder)
    data_json(look) if json_out else show_look(look)
    return 0
