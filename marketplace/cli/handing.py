"""A package out of its file: written, unpacked, loaded into an engine or pushed; and what to do next."""

import errno
import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any

import click

from marketplace.terminal import hint, say

if TYPE_CHECKING:
    from deployer.spec import Progress
    from marketplace.client import Shop

Made = Mapping[str, Any]

ARCHIVES = (".zip", ".tar")


def require_free(output: Path, *, unpacked: bool) -> None:
    """Refuse a folder that holds something where a package is to be unpacked."""
    if unpacked and output.suffix not in ARCHIVES and output.exists():
        if not output.is_dir():
            raise click.BadParameter(say(f"{output} 不是目录", f"{output} is no folder"), param_hint="-o")
        if any(output.iterdir()):
            raise click.BadParameter(say(f"{output} 不是空目录", f"{output} is not empty"), param_hint="-o")


def require_reference(text: str) -> None:
    """Refuse what is no registry/repository:tag."""
    from deployer.packager.registry import Reference

    with refused_in_words():
        Reference.parse(text)


@contextmanager
def refused_in_words() -> Iterator[None]:
    """End with the words of a named refusal."""
    from catalog.errors import CatalogError
    from deployer.errors import DeployerError
    from marketplace.client import Refused
    from marketplace.problems import problem_of
    from marketplace.terminal import language

    try:
        yield
    except (CatalogError, DeployerError) as error:
        problem = problem_of(error, language())
        raise Refused(problem.status, problem.to_dict()) from None


def engine_platform() -> str:
    """linux/amd64 or what the local engine runs on."""
    from deployer.packager import engine

    with refused_in_words(), _engine() as client:
        return str(engine.platform(client))


@contextmanager
def _engine() -> Iterator[Any]:
    import docker
    from docker.errors import DockerException

    from deployer.errors import RuntimeUnavailable
    from deployer.runtimes.engines import brief

    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        where = os.environ.get("DOCKER_HOST", "")
        why = f"{where}: {brief(error)}" if where else brief(error)
        raise RuntimeUnavailable(runtime="docker", why=why) from error
    try:
        yield client
    finally:
        client.close()


@contextmanager
def downloaded(shop: "Shop", made: Made, output: Path | None) -> Iterator[Path]:
    """The package's file, fetched beside where it is to go, and gone again if nobody took it."""
    beside = _target(made, output).parent if output else Path(gettempdir())
    with ExitStack() as stack:
        with refused_in_words(), _writing(beside, made["size"]):
            beside.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(TemporaryDirectory(prefix=".market-", dir=beside))
            file = Path(folder) / made["file"]
            with _step("download") as progress:
                shop.download(f"/api/packages/{made['id']}/file", file, progress)
        _require_digest(file, made["digest"])
        yield file


@contextmanager
def _writing(at: Path, size: int) -> Iterator[None]:
    """End with words where nothing can be written; a full disk has its own."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            from deployer.errors import DiskFull

            raise DiskFull(path=str(at), needed=size, free=0) from error
        why = error.strerror or str(error)
        raise click.ClickException(
            say(f"{at} 无法写入：{why}", f"Nothing can be written to {at}: {why}")
        ) from error


def _require_digest(file: Path, digest: str) -> None:
    from deployer.errors import ContentCorrupted

    with file.open("rb") as opened:
        got = f"sha256:{hashlib.file_digest(opened, 'sha256').hexdigest()}"
    if got != digest:
        with refused_in_words():
            raise ContentCorrupted(what=file.name, expected=digest, got=got)


def _target(made: Made, output: Path) -> Path:
    """The file or folder that is to be there afterwards."""
    into_folder = made["media_type"] == "application/x-tar" and output.is_dir()
    return (output / made["file"] if into_folder else output).absolute()


def hand_over(
    made: Made, file: Path, *, load: bool, push: str | None, insecure: bool, output: Path | None
) -> dict[str, Any]:
    """Do with the file what was asked; what there is to say of it: output, loaded, pushed."""
    told: dict[str, Any] = {}
    with refused_in_words():
        if load or push:
            told |= _send(made, file, load=load, push=push, insecure=insecure)
        if output:
            target = _target(made, output)
            with _writing(target, made["size"]):
                told["output"] = str(_write(made, file, target))
    return told


def _send(made: Made, file: Path, *, load: bool, push: str | None, insecure: bool) -> dict[str, Any]:
    """Into the engine under the image's own name, to the registry under the one that was given."""
    from deployer.packager import engine, modelpack, output, registry
    from deployer.packager.layout import Layout
    from marketplace.settings import load as load_settings

    told: dict[str, Any] = {}
    with output.opened(file) as layout:
        _, root = next(iter(layout.names()))
        if load:
            name = str(made["facts"]["reference"])
            with _step("load"), _engine() as client:
                engine.load_for(client, layout, root, name)
            told["loaded"] = name
        if push:
            # Which repository has which blob is known to the home, not to the file.
            memory = Layout(load_settings().home / "images")
            with _step("push") as progress:
                pushed = registry.push(
                    layout, root, push, progress=progress, memory=memory, insecure=insecure
                )
                sent, skipped = pushed.sent_bytes, pushed.skipped_bytes
                if made["terminal"] == "modelpack" and "@" not in push:
                    # The same blob as an image of one layer, for `docker pull` and Kubernetes' image volumes.
                    beside = f"{registry.Reference.parse(push)}-weights"
                    weights = modelpack.weights_of(layout, root)
                    also = registry.push(layout, weights, beside, memory=memory, insecure=insecure)
                    sent, skipped = sent + also.sent_bytes, skipped + also.skipped_bytes
                    told["weights"] = beside
            told |= {"pushed": push, "pushed_digest": pushed.digest}
            told |= {"sent_bytes": sent, "skipped_bytes": skipped}
    return told


@contextmanager
def _step(name: str) -> Iterator["Progress"]:
    """Show a step while it runs; what comes out of it is told how far it is."""
    from marketplace.cli.steps import viewed

    step: dict[str, Any] = {"name": name, "state": "running"}
    with viewed() as view:

        def report(done: int, total: int, note: str = "") -> None:
            view({"steps": [step | {"progress": {"done": done, "total": total, "note": note}}]})

        report(0, 0)
        yield report
        view({"steps": [step | {"state": "done"}]})


def _write(made: Made, file: Path, target: Path) -> Path:
    """The file at its place, or unpacked there when what is wanted is a folder."""
    if made["media_type"] == "application/zip" and target.suffix not in ARCHIVES:
        from deployer.terminals.archive import unpack

        unpack(file, target)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        try:
            os.link(file, half)
        except OSError:  # another disk, or one without hard links
            shutil.copyfile(file, half)
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)
    return target


# What to do next


def hint_next(made: Made, *, command: str) -> None:
    """Name the next commands, on stderr."""
    for zh, en, line in _next(made, command):
        hint(f"{zh}：{line}", f"{en}: {line}")


def _next(made: Made, command: str) -> Iterator[tuple[str, str, str]]:
    at = made.get("output") or made.get("path")
    terminal = made["terminal"]
    if not (at or "loaded" in made or "pushed" in made):
        into = made["file"] if made["media_type"] == "application/x-tar" else Path(made["file"]).stem
        yield "取走", "Take it", f"{command} -o {into}"
        return
    if terminal == "image":
        yield from _run_image(made, at)
    elif terminal == "modelpack" and at:
        yield "推送", "Push it", f"{command} --push 127.0.0.1:5000/{made['name']}:{made['version']}"
    elif at and not at.endswith(ARCHIVES):
        yield from _use_folder(terminal, shlex.quote(at))
    if at:
        yield "核对", "Check it", f"market verify {shlex.quote(at)}"
    elif "pushed" in made:
        yield "核对", "Check it", f"market verify {made['pushed']}"


def _run_image(made: Made, at: str | None) -> Iterator[tuple[str, str, str]]:
    from marketplace.container_commands import call_command, run_command

    if "loaded" not in made and "pushed" not in made:
        yield "装入", "Load it", f"docker load -i {shlex.quote(str(at))}"
    name = str((made.get("pushed") if "loaded" not in made else made["loaded"]) or made["facts"]["reference"])
    yield "运行（先显示密钥）", "Run it (shows the key first)", run_command(name, made["device"])
    yield "查看调用方法", "See how to call it", call_command()


def _use_folder(terminal: str, at: str) -> Iterator[tuple[str, str, str]]:
    if terminal == "browser":
        yield "打开", "Open it", f"python3 -m http.server --directory {at} 8080"
    elif terminal == "box":
        yield "安装", "Install it", f"cd {at} && sudo ./install.sh"
    elif terminal == "android":
        yield "打开", "Open it", f"Android Studio → {at}"
    elif terminal == "ios":
        yield "打开", "Open it", f"Xcode → {at}/Sample.xcodeproj"
