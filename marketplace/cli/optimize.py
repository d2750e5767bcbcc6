"""optimize: the best variant of a listing, searched by the shop, or of a model file, searched here."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from marketplace.cli.options import FAILED, as_json, full_name, show_deployment, text
from marketplace.terminal import data, data_json, hint, problem_text, say, table

if TYPE_CHECKING:
    from marketplace.cli.jobs import Job
    from marketplace.client import Shop

INTERRUPTED = 130  # exit status
_UNITS = {"": 1, "b": 1, "k": 1_000, "kb": 1_000, "m": 1_000_000, "mb": 1_000_000, "g": 10**9, "gb": 10**9}
_KINDS = ("fastest", "smallest", "cheapest")


class Bytes(click.ParamType[int]):
    """A number of bytes, such as 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        plain = str(value).strip().lower().replace("ib", "b")
        number = plain.rstrip("bkmg ")
        try:
            return int(float(number) * _UNITS[plain[len(number) :].strip()])
        except (ValueError, KeyError, OverflowError):
            self.fail(say(f"{value}：应为如 500MB 的大小", f"{value}: a size such as 500MB is expected"))


data_option = click.option(
    "--data",
    type=click.Path(exists=True, readable=True, path_type=Path),
    help=text(
        "自己的数据：CSV、JSONL、.npz、.zip 或目录。", "Your own rows: CSV, JSONL, .npz, .zip or a folder."
    ),
)
drop_option = click.option(
    "--max-drop",
    type=float,
    default=None,
    help=text(
        "指标最多可降多少（默认 0.01，即一个百分点）。", "Largest loss of the metric (0.01: one point)."
    ),
)
objective_option = click.option(
    "--objective",
    type=click.Choice(_KINDS),
    default=None,
    help=text("目标：最快、最小或最省。", "What to search for."),
)


@click.command(
    help=text(
        "为设备找最好的变体：MODEL 是商品名，或本机的模型文件（.onnx；TFLite、GGUF 等会先转换）、模型目录。",
        "Find the best variant for a device: MODEL is a listing, a model file (.onnx, or TFLite, GGUF and "
        "others that are converted first) or a model folder.",
    )
)
@click.argument("model", required=False)
@click.option("--device", help=text("设备，见 market doctor。", "Device, see market doctor."))
@data_option
@drop_option
@objective_option
@click.option(
    "--max-latency",
    type=float,
    default=0.0,
    metavar="MS",
    help=text("每行最多耗时（毫秒）。", "Longest time of one row."),
)
@click.option(
    "--max-memory", type=Bytes(), default=0, help=text("服务最多占用的内存。", "Most memory of the server.")
)
@click.option(
    "--max-size", type=Bytes(), default=0, help=text("模型图的最大体积。", "Largest size of the graphs.")
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), default=0, help=text("随机种子。", "Seed of all chance.")
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help=text("变体存放的目录（仅限本机模型）。", "Folder for the variant of a model file."),
)
@click.option("--dry-run", is_flag=True, help=text("只查看，不优化。", "Look and estimate only."))
@click.option("--deploy", "then_deploy", is_flag=True, help=text("随后部署结果。", "Deploy what was found."))
@click.option("--list", "list_all", is_flag=True, help=text("列出全部优化任务。", "List all optimisations."))
@click.option("--cancel", metavar="ID", help=text("取消一个优化任务。", "Cancel an optimisation."))
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=3600.0,
    show_default=True,
    help=text("最多等待的秒数。", "Longest wait, in seconds."),
)
@as_json
def optimize(model: str | None, list_all: bool, cancel: str | None, json_out: bool, **wanted: Any) -> None:
    """Find the best variant of a model for a device."""
    if list_all or cancel:
        _list_or_cancel(cancel, json_out)
        return
    if model is None:
        raise click.UsageError(say("请给出 MODEL。", "MODEL is missing."))
    if is_path(model):
        from marketplace.cli.optimize_here import optimize_here

        sys.exit(optimize_here(Path(model), json_out, **wanted))
    if wanted["out"] is not None:
        raise click.UsageError(
            say(
                "--out 只用于本机的模型文件。",
                "--out is for model files; a listing's variant stays in the shop.",
            )
        )
    sys.exit(_in_the_shop(full_name(model), json_out, **wanted))


def is_path(model: str) -> bool:
    """Whether a file or folder is meant rather than a listing."""
    if model.endswith(".onnx") or model.startswith((".", "/", "~")):
        if not Path(model).exists():
            raise click.BadParameter(say(f"没有 {model}", f"There is no {model}"))
        return True
    return Path(model).is_file() or (Path(model) / "manifest.json").is_file()


def _list_or_cancel(cancel: str | None, json_out: bool) -> None:
    from marketplace.client import opened

    with opened() as shop:
        if cancel:
            told = shop.call("POST", job_path(cancel, "cancel"))
        else:
            told = shop.call("GET", "/api/optimizations")
    if json_out:
        data_json(told)
    elif cancel:
        data(f"{told['id']}  {told['state']}")
    else:
        headings = say("编号 状态 商品 设备 结果", "ID STATE LISTING DEVICE OUTCOME").split()
        table(
            headings, [(j["id"], j["state"], j["listing"], j["device"], j["outcome"]) for j in told["items"]]
        )


def job_path(identity: str, what: str = "") -> str:
    """An optimisation's place in the API."""
    return "/".join(filter(None, ("/api/optimizations", quote(identity, safe=""), what)))


def _in_the_shop(
    listing: str, json_out: bool, *, dry_run: bool, then_deploy: bool, timeout: float, **wanted: Any
) -> int:
    from marketplace.cli.jobs import show_result
    from marketplace.client import opened

    with opened() as shop:
        if dry_run:
            from marketplace.cli.looks import show_look

            path = f"/api/listings/{quote(listing.partition('@')[0])}/architecture"
            look = shop.call("GET", path, timeout=300)
            data_json(look) if json_out else show_look(look)
            return 0
        if then_deploy:
            from marketplace.cli.deploy import require_served

            require_served(wanted.get("device") or "cpu")
        job = run_job(shop, listing, timeout=timeout, **wanted)
        if then_deploy and job["state"] == "done" and job["outcome"] != "refused":
            job |= {"deployment": deploy_pick(shop, job)}
        if json_out:
            data_json(job)
        elif job["state"] == "done":
            show_result(job, f"{shop.url}/optimizations/{job['id']}")
            if "deployment" in job:
                show_deployment(job["deployment"])
        return tell(job)


def run_job(
    shop: "Shop", listing: str, *, timeout: float, data: Path | None, **wanted: Any
) -> dict[str, Any]:
    """Begin an optimisation in the shop and follow it to its end; Ctrl-C leaves it running."""
    from marketplace.cli.jobs import viewed

    asked = {"listing": listing, "device": wanted.get("device"), "sample": _upload(shop, data)}
    asked |= {"objective": wanted.get("objective"), "max_drop": wanted.get("max_drop")}
    asked |= {"max_latency_ms": wanted.get("max_latency"), "seed": wanted.get("seed")}
    asked |= {name: wanted.get(name) for name in ("max_memory", "max_size")}
    job: dict[str, Any] = shop.call(
        "POST", "/api/optimizations", json={k: v for k, v in asked.items() if v is not None}
    )
    try:
        with viewed() as view:
            view(job)
            for event in shop.events(job_path(job["id"], "events"), timeout):
                if event.kind == "optimization":
                    job = event.data
                    view(job)
    except KeyboardInterrupt:
        command = f"market optimize --cancel {job['id']}"
        hint(f"优化仍在进行。取消：{command}", f"The optimisation goes on. To cancel it: {command}")
        sys.exit(INTERRUPTED)
    return job


def _upload(shop: "Shop", data: Path | None) -> str:
    """The id of the data in the shop, "" without data."""
    if data is None:
        return ""
    from marketplace.cli.packing import packed

    with packed(data) as file, file.open("rb") as content:
        sample = shop.call("POST", "/api/samples", params={"name": file.name}, content=content, timeout=900)
    return str(sample["id"])


def tell(job: "Job") -> int:
    """Say what there is to say of a job that ended, on stderr; the exit status."""
    if job.get("error"):
        hint(problem_text(job["error"]), problem_text(job["error"]))
    elif job["state"] != "done":
        hint("优化已取消。", "The optimisation was cancelled.")
    elif job["outcome"] == "picked" and not job.get("deployment") and job.get("variant"):
        command = f"market optimize {job['listing']} … --deploy"
        hint(f"在页面上部署它，或：{command}", f"Deploy it on its page, or with: {command}")
    return 0 if job["state"] == "done" and job["outcome"] in ("picked", "kept") else FAILED


def deploy_pick(shop: "Shop", job: "Job", **more: Any) -> dict[str, Any]:
    """Deploy what an optimisation found: its variant, or the version as it came."""
    reference = f"{job['listing']}@{job['version']}"
    asked = {"listing": reference, "device": job["device"], "variant": job.get("variant"), **more}
    made: dict[str, Any] = shop.call("POST", "/api/deployments", json={k: v for k, v in asked.items() if v})
    return made
