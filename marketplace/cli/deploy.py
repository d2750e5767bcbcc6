"""deploy: bring a listing up, and follow its steps."""

import sys
from typing import TYPE_CHECKING, Any

import click

from marketplace.cli.bars import bars
from marketplace.cli.optimize import data_option, drop_option, objective_option, run_job, tell
from marketplace.cli.options import FAILED, as_json, deployment_path, full_name, show_deployment, text
from marketplace.terminal import data_json, hint, problem_text, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from marketplace.client import Event, Shop


@click.command(help=text("一键部署：NAME 是 vendor/name[@version]。", "Deploy NAME: vendor/name[@version]."))
@click.argument("listing")
@click.option("--name", help=text("部署的名字。", "Name of the deployment."))
@click.option("--runtime", help=text("运行方式：process 或 docker。", "Runtime: process or docker."))
@click.option("--device", help=text("设备，见 market doctor。", "Device, see market doctor."))
@click.option("--variant", help=text("部署这个变体（sha256:…）。", "Deploy this variant (sha256:…)."))
@data_option
@drop_option
@objective_option
@click.option("--wait/--no-wait", default=False, help=text("等到可用为止。", "Wait until it is live."))
@click.option("--timeout", type=click.FloatRange(min=0), default=1800.0, show_default=True)
@as_json
def deploy(listing: str, wait: bool, timeout: float, json_out: bool, **asked: Any) -> None:
    """Deploy a listing; with data or a bound of its own, the best variant that holds it."""
    from marketplace.cli.shelving import once_listed
    from marketplace.client import opened

    listing = full_name(listing)
    search = {name: asked.pop(name) for name in ("data", "max_drop", "objective")}
    with opened() as shop:

        def begin() -> dict[str, Any]:
            name, chosen = listing, asked
            if any(value is not None for value in search.values()):
                name, chosen = _optimised(shop, listing, timeout, asked, search)
            begun: dict[str, Any] = shop.call("POST", "/api/deployments", json={"listing": name, **chosen})
            return begun

        made = once_listed(shop, listing, wait, timeout, begin)
        key, deployment = made.get("key"), made["deployment"]
        if wait:
            _follow(shop, deployment, made["revision"], timeout)
            made = shop.call("GET", deployment_path(deployment)) | {"key": key}
        failed = made["state"] in ("failed", "stopped")
        if json_out:
            data_json(made)
        elif not failed:
            show_deployment(made)
        if failed:
            _tell_failure(shop, made)
            sys.exit(FAILED)
    if wait:
        hint(f"下一步：market call {deployment} --help", f"Next: market call {deployment} --help")
    else:
        hint(f"正在部署。进度：market ps；日志：market logs {deployment}",
             f"On its way. Progress: market ps; log: market logs {deployment}")  # fmt: skip


def _optimised(
    shop: "Shop", listing: str, timeout: float, asked: dict[str, Any], search: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Version and variant to deploy, found by an optimisation; ends here when nothing holds the bound."""
    if asked["variant"]:
        raise click.UsageError(
            say(
                "--variant 与 --data、--max-drop、--objective 不可同用。",
                "--variant goes with none of --data, --max-drop and --objective.",
            )
        )
    require_served(asked["device"] or "cpu")
    job = run_job(shop, listing, timeout=timeout, device=asked["device"], **search)
    if job["error"] or job["state"] != "done":
        sys.exit(tell(job))
    if job["outcome"] == "refused":
        hint(f"没有部署：{job['why']}", f"Nothing was deployed: {job['why']}")
        sys.exit(FAILED)
    if job["outcome"] == "kept":
        hint(f"按原样部署：{job['why']}", f"Deploying the model as it is: {job['why']}")
    return f"{job['listing']}@{job['version']}", asked | {"variant": job["variant"], "device": job["device"]}


def require_served(device: str) -> None:
    """End here, before minutes of work, for a device that nothing can be deployed to."""
    from deployer.devices import require_serving
    from deployer.errors import DeployerError
    from marketplace.problems import problem_of
    from marketplace.terminal import language

    try:
        require_serving(device)
    except DeployerError as error:
        said = problem_text(problem_of(error, language()).to_dict())
        hint(said, said)
        sys.exit(FAILED)


def _tell_failure(shop: "Shop", made: dict[str, Any]) -> None:
    from marketplace.client import Refused

    name = made["deployment"]
    said = problem_text(made["error"]) if made["error"] else made["state"]
    hint(f"部署 {name} 没有成功。{said}", f"The deployment {name} did not come up. {said}")
    try:
        lines = shop.call("GET", deployment_path(name, "logs"), params={"tail": 12})["logs"].strip()
    except Refused:
        lines = ""
    if lines:
        hint(f"日志末尾：\n{lines}", f"The end of its log:\n{lines}")


def _steps(shop: "Shop", deployment: str, revision: int, timeout: float) -> "Iterator[Event]":
    """What happens to this revision of a deployment; the stream begins with those before it."""
    for event in shop.events(deployment_path(deployment, "events"), timeout):
        if event.data.get("revision", revision) >= revision:
            yield event


def _follow(shop: "Shop", deployment: str, revision: int, timeout: float) -> None:
    """Show the steps of a deployment as they happen, until it is live or failed."""
    news = _steps(shop, deployment, revision, timeout)
    with bars() as progress:
        if progress is None:
            _tell_steps(news)
        else:
            _draw_steps(news, progress)


def _tell_steps(news: "Iterator[Event]") -> None:
    from marketplace.cli.words import step_state

    for event in news:
        if event.kind == "step":
            name, state = str(event.data["name"]), str(event.data["state"])
            hint(f"{_step_words(name)}：{step_state(state)}", f"{name}: {state}")


def _draw_steps(news: "Iterator[Event]", progress: "Progress") -> None:
    drawn: dict[str, TaskID] = {}
    for event in news:
        name, state = str(event.data.get("name", "")), event.data.get("state")
        if event.kind not in ("step", "progress"):
            continue
        if name not in drawn:
            drawn[name] = progress.add_task(_step_words(name), total=1, note="")
        if event.kind == "progress":
            progress.update(drawn[name], note=_amount(event.data.get("progress") or {}))
        elif state in ("done", "failed"):
            mark = "" if state == "done" else say("失败", "failed")
            progress.update(drawn[name], completed=1 if state == "done" else 0, note=mark)
            progress.stop_task(drawn[name])


def _step_words(step: str) -> str:
    words = {
        "fetch": ("取模型", "Fetch"),
        "prepare": ("准备", "Prepare"),
        "package": ("打包", "Package"),
        "start": ("启动", "Start"),
        "health": ("健康检查", "Health"),
        "warm-up": ("预热", "Warm up"),
    }
    return say(*words.get(step, (step, step)))


def _amount(progress: dict[str, Any]) -> str:
    total = progress.get("total") or 0
    share = f"{100 * progress.get('done', 0) / total:.0f} %" if total else ""
    return f"{share} {progress.get('note', '')}".strip()
