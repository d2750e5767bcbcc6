"""The packager on a model folder of this machine, with no shop: the package lies in the home."""

from pathlib import Path
from typing import Any

from marketplace.cli.handing import hand_over, hint_next, refused_in_words
from marketplace.cli.optimize_here import folder_of_model
from marketplace.cli.package import platforms_of, tell
from marketplace.cli.steps import viewed
from marketplace.cli.verify import KEY, SIGNATURE

MANIFEST = "manifest.json"


def package_here(
    model: Path,
    json_out: bool,
    *,
    terminal: str,
    device: str,
    platform: str,
    variant: str,
    load: bool,
    push: str | None,
    insecure: bool,
    output: Path | None,
) -> int:
    """Package here, in this home's layout, and hand over what was asked for; the exit status."""
    import click

    from marketplace.settings import load as load_settings
    from marketplace.terminal import say

    if variant:
        raise click.UsageError(
            say("--variant 用于商品；目录本身就是变体。", "--variant is for listings; a folder is itself.")
        )
    if model.is_dir() and not (model / MANIFEST).is_file():
        raise click.BadParameter(say(f"{model} 中没有 {MANIFEST}", f"{model} holds no {MANIFEST}"))
    settings = load_settings()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with refused_in_words():
        platforms = platforms_of(platform, terminal=terminal, device=device, load=load, push=push)
        made = _make(settings, model, terminal, device, platforms)
    made |= hand_over(made, Path(made["path"]), load=load, push=push, insecure=insecure, output=output)
    tell(made, json_out)
    hint_next(made, command=f"market package {model} --format {terminal}")
    return 0


def _make(settings: Any, model: Path, terminal: str, device: str, platforms: list[str]) -> dict[str, Any]:
    """The package as the shop's API would tell of it, with the path of its file."""
    from deployer import packages, terminals
    from marketplace import releases

    wanted = terminals.order(terminal, platforms=platforms, device=device)
    steps: dict[str, dict[str, Any]] = {}

    def enter(step: str) -> None:
        for each in steps.values():
            each["state"] = "done"
        steps[step] = {"name": step, "state": "running"}
        view({"steps": list(steps.values())})

    def report(done: int, total: int, note: str = "") -> None:
        if steps:
            running = list(steps.values())[-1]
            running["progress"] = {"done": done, "total": total, "note": note}
            view({"steps": list(steps.values())})

    with viewed() as view, folder_of_model(model) as folder:
        enter(packages.STEPS[1])
        release = releases.release_of_folder(settings.home, folder, (SIGNATURE, KEY))
        made = terminals.package(
            releases.workshop_of(settings),
            release,
            terminal,
            platforms=platforms,
            device=device,
            progress=report,
            entering=enter,
        )
        for each in steps.values():
            each["state"] = "done"
        view({"steps": list(steps.values())})
    return {
        "name": release.name,
        "version": release.version,
        "terminal": terminal,
        "device": wanted.device,
        "platforms": list(wanted.platforms),
        "grade": wanted.terminal.grade(wanted.device, wanted.platforms),
        "state": "ready",
        "file": made.file_name,
        "path": str(made.path),
        "media_type": made.media_type,
        "size": made.size,
        "digest": made.digest,
        "facts": made.facts,
    }
