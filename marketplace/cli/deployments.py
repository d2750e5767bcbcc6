"""call, ps, logs, stop and keys: what is done with deployments."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from marketplace.cli.options import as_json, deployment_path, text, warn_of_version, yes_option
from marketplace.terminal import data, data_json, hint, say, table


@click.command(help=text("调用一个部署。", "Call a deployment."))
@click.argument("deployment")
@click.option("--text", help=text("一段文字。", "A text."))
@click.option("--image", type=click.File("rb"), help=text("图片文件。", "An image file."))
@click.option("--audio", type=click.File("rb"), help=text("WAV 音频文件。", "A WAV file."))
@click.option("--file", "any_file", type=click.File("rb"), help=text("任意文件。", "Any file."))
@click.option(
    "--body",
    type=click.File("rb"),
    help=text("JSON 文件，原样发给 /predict；- 为标准输入。", "JSON file for /predict as it is; - is stdin."),
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help=text("把回答里的声音存到文件。", "File for the sound of the answer."),
)
@as_json
def call(deployment: str, json_out: bool, output: Path | None, **inputs: Any) -> None:
    """Call a deployment; prints the answer as JSON, with or without --json, less the sound that is kept."""
    from marketplace.client import opened

    body = _request_body(inputs)
    with opened() as shop:
        answer = shop.call(
            "POST",
            f"/d/{quote(deployment, safe='')}/predict",
            content=body,
            headers={"Content-Type": "application/json"},
            timeout=900,
        )
    if output is not None:
        _keep_sound(answer, output)
    data_json(answer)


def _keep_sound(answer: dict[str, Any], output: Path) -> None:
    """Move the sound of an answer into a file; refuses an answer without one."""

    sound = answer.get("audio")
    if not isinstance(sound, dict) or "base64" not in sound:
        raise click.ClickException(say("回答里没有声音。", "The answer holds no sound."))
    output.write_bytes(base64.b64decode(sound["base64"]))
    answer["audio"] = {"file": str(output)}


@click.command(help=text("列出全部部署。", "List all deployments."))
@as_json
def ps(json_out: bool) -> None:
    """List all deployments."""
    from marketplace.client import opened

    with opened() as shop:
        page = shop.call("GET", "/api/deployments")
    if json_out:
        data_json(page)
        return
    if not page["items"]:
        hint("还没有部署。下一步：market search", "No deployments yet. Next: market search")
        return
    headings = say("部署 状态 商品 运行方式 请求 地址", "DEPLOYMENT STATE LISTING RUNTIME REQUESTS ENDPOINT")
    table(
        headings.split(),
        [
            (d["deployment"], d["state"], d["listing"], d["runtime"], d["usage"]["requests"], d["endpoint"])
            for d in page["items"]
        ],
    )
    for deployed in page["items"]:
        warn_of_version(deployed)


@click.command(help=text("打印一个部署的日志。", "Print a deployment's log."))
@click.argument("deployment")
@click.option("-n", "--tail", type=click.IntRange(1, 10_000), default=200, show_default=True)
@as_json
def logs(deployment: str, tail: int, json_out: bool) -> None:
    """Print a deployment's log."""
    from marketplace.client import opened

    with opened() as shop:
        told = shop.call("GET", deployment_path(deployment, "logs"), params={"tail": tail})
    if json_out:
        data_json(told)
    else:
        data(told["logs"].rstrip("\n"))


@click.command(
    help=text("停止一个部署；--remove 连同记录删除。", "Stop a deployment; --remove forgets it too.")
)
@click.argument("deployment")
@click.option("--remove", is_flag=True, help=text("同时删除。", "Forget it as well."))
@yes_option
@as_json
def stop(deployment: str, remove: bool, yes: bool, json_out: bool) -> None:
    """Stop a deployment."""
    from marketplace.client import opened

    if remove and not yes:
        question = say(
            f"停止并删除 {deployment}，其密钥随之失效？", f"Stop and forget {deployment}, with its keys?"
        )
        click.confirm(question, abort=True, err=True)
    with opened() as shop:
        if remove:
            shop.call("DELETE", deployment_path(deployment))
            told = {"deployment": deployment, "state": "removed"}
        else:
            told = shop.call("POST", deployment_path(deployment, "stop"))
    if json_out:
        data_json(told)
    else:
        data(f"{deployment}  {told['state']}")


@click.group(help=text("管理密钥。", "Manage keys."))
def keys() -> None:
    """Manage keys."""


@keys.command("new", help=text("为一个部署新建密钥。", "Make a new key for a deployment."))
@click.argument("deployment")
@as_json
def new_key(deployment: str, json_out: bool) -> None:
    """Make a new key for a deployment."""
    from marketplace.client import opened

    with opened() as shop:
        made = shop.call("POST", deployment_path(deployment, "keys"))
    if json_out:
        data_json(made)
    else:
        data(made["key"])
        hint("密钥只显示这一次，请妥善保存。", "The key is shown this once; keep it safe.")


def _request_body(inputs: dict[str, Any]) -> bytes:
    """The body of /predict from exactly one of the inputs."""
    given = {name: value for name, value in inputs.items() if value is not None}
    if len(given) != 1:
        raise click.UsageError(
            say(
                "请给出且只给出一项：--text、--image、--audio、--file 或 --body。",
                "Give exactly one of --text, --image, --audio, --file and --body.",
            )
        )
    name, value = given.popitem()
    if name == "text":
        return json.dumps({"text": value}, ensure_ascii=False).encode()
    content = value.read()
    if name == "body":
        try:
            json.loads(content)
        except ValueError as error:
            raise click.UsageError(
                say(f"--body 不是 JSON：{error}", f"--body is not JSON: {error}")
            ) from None
        return bytes(content)
    encoded = {"base64": base64.b64encode(content).decode()}
    if name == "any_file":
        return json.dumps({"file": encoded, "name": Path(value.name).name}).encode()
    return json.dumps({name: encoded}).encode()
