"""The command line without a shop, before a gateway, and before servers that break off."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from marketplace import terminal
from marketplace.cli import deployments, main
from marketplace.client import Refused, Shop
from tests.marketplace.peers import KEY, House, Raw, house, read_head

COMMANDS = [
    "accounts",
    "audit",
    "bundle",
    "call",
    "compare",
    "deploy",
    "deprecate",
    "doctor",
    "import",
    "imports",
    "keys",
    "login-link",
    "logs",
    "mirrors",
    "optimize",
    "package",
    "passport",
    "ps",
    "publish",
    "relist",
    "review",
    "search",
    "serve",
    "show",
    "stop",
    "tokens",
    "vendors",
    "verify",
    "versions",
    "withdraw",
    "yank",
]


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MARKET_URL", "MARKET_KEY", "MARKET_LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("cli")) as built:
        yield built


def market(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin)


def test_these_commands_exist_and_no_others() -> None:
    assert sorted(main.commands) == COMMANDS


@pytest.mark.parametrize("language", ["zh_CN.UTF-8", "C"])
def test_help_of_every_command_in_both_languages(language: str) -> None:
    environment = os.environ | {"LANG": language}
    for command in [[], *([c] for c in COMMANDS), ["keys", "new"]]:
        shown = subprocess.run(
            [sys.executable, "-m", "marketplace.cli", *command, "--help"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        own = shown.stdout.split("--help")[0]
        assert any(ord(c) > 0x2E80 for c in own) == language.startswith("zh")
        assert shown.stderr == ""


def test_help_comes_at_once() -> None:
    program = (
        "import sys, time\n"
        "from marketplace.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(time.process_time(), sorted({'httpx', 'rich', 'litestar', 'sqlmodel'} & set(sys.modules)))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(3)
    ]
    seconds, heavy = zip(*(run.splitlines()[-1].split(" ", 1) for run in runs), strict=True)
    assert set(heavy) == {"[]"}
    assert min(map(float, seconds)) < 0.25


def test_version() -> None:
    assert market("--version").output.startswith("market, version 0.")


@pytest.mark.parametrize(
    "command",
    [
        ["ps"],
        ["search", "x"],
        ["compare", "opc-market/x"],
        ["show", "opc-market/x"],
        ["deploy", "opc-market/x"],
        ["call", "x", "--text", "t"],
        ["logs", "x"],
        ["stop", "x"],
        ["keys", "new", "x"],
        ["login-link"],
        ["optimize", "opc-market/x"],
        ["optimize", "--list"],
        ["optimize", "--cancel", "x"],
        ["verify", "x"],
    ],
)
def test_no_shop_is_exit_status_3_and_says_how_to_start_one(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = market(*command)  # no server.json
    assert (result.exit_code, result.stdout) == (3, "")
    assert "market serve" in result.stderr
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    home = tmp_path / "home"
    home.mkdir()
    (home / "server.json").write_text(json.dumps({"url": f"http://127.0.0.1:{port}", "key": KEY, "pid": 1}))
    result = market(*command)  # a shop that is gone
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"127.0.0.1:{port}" in result.stderr
    assert KEY not in result.stderr
    (home / "server.json").write_text("{")
    assert market(*command).exit_code == 3
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert "商店" in market(*command).stderr


@pytest.mark.parametrize(
    "command",
    [
        ["nonsense"],
        ["show"],
        ["show", "a/b/c"],
        ["deploy", "a/"],
        ["deploy", "@1.0.0"],
        ["deploy"],
        ["call", "x"],
        ["call", "x", "--text", "a", "--image", __file__],
        ["call", "x", "--image", "/nowhere.png"],
        ["call", "x", "--body", __file__],
        ["logs", "x", "-n", "0"],
        ["keys", "new"],
        ["search", "--limit", "0"],
        ["doctor", "--timeout", "soon"],
    ],
)
def test_wrong_usage_is_exit_status_2(command: list[str]) -> None:
    result = market(*command)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Error" in result.stderr


def test_a_setting_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_PORT", "many")
    for command in (["ps"], ["serve"]):
        result = market(*command)
        assert result.exit_code == 1
        assert "MARKET_PORT" in result.stderr


def test_remove_asks_first() -> None:
    result = market("stop", "x", "--remove", stdin=b"n\n")
    assert result.exit_code == 1
    assert "forget x" in result.stderr
    assert market("stop", "x", "--remove", "-y").exit_code == 3  # asks nothing; there is no shop here


def test_call_sends_what_a_person_has(place: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MARKET_URL", f"http://127.0.0.1:{place.port}")
    monkeypatch.setenv("MARKET_KEY", KEY)
    file = tmp_path / "a.bin"
    file.write_bytes(b"\x00\xff")
    encoded = {"base64": base64.b64encode(b"\x00\xff").decode()}
    sent: list[tuple[list[str], object]] = [
        (["--text", "你好"], {"text": "你好"}),
        (["--image", str(file)], {"image": encoded}),
        (["--audio", str(file)], {"audio": encoded}),
        (["--file", str(file)], {"file": encoded, "name": "a.bin"}),
        (["--body", "-"], {"rows": [1, 2]}),
    ]
    for option, body in sent:
        result = market("call", "echo", *option, "--json", stdin=b'{"rows": [1, 2]}')
        assert result.exit_code == 0, result.stderr
        answer = json.loads(result.stdout)
        assert (answer["method"], answer["path"]) == ("POST", "/predict")
        assert json.loads(answer["body"].encode("latin-1")) == body


def test_call_keeps_the_sound_of_an_answer(tmp_path: Path) -> None:
    answer = {"audio": {"base64": base64.b64encode(b"RIFF").decode()}, "duration": 1.0}
    deployments._keep_sound(answer, tmp_path / "said.wav")
    assert (tmp_path / "said.wav").read_bytes() == b"RIFF"
    assert answer == {"audio": {"file": str(tmp_path / "said.wav")}, "duration": 1.0}
    with pytest.raises(click.ClickException):
        deployments._keep_sound({"text": "x"}, tmp_path / "none.wav")
    assert not (tmp_path / "none.wav").exists()


def test_refusals_are_shown_with_cause_next_step_and_code(
    place: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKET_URL", f"http://127.0.0.1:{place.port}")
    monkeypatch.setenv("MARKET_KEY", KEY)
    result = market("call", "none", "--text", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Unknown deployment: No deployment is called none." in result.stderr
    assert "[unknown-deployment]" in result.stderr
    assert "Next: See all deployments with: market ps." in result.stderr
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert "没有这个部署" in market("call", "none", "--text", "x").stderr
    monkeypatch.setenv("MARKET_KEY", "mk_wrong")
    result = market("call", "echo", "--text", "x")
    assert (result.exit_code, "[key-invalid]" in result.stderr) == (1, True)
    assert "mk_wrong" not in result.stderr


def test_an_answer_that_is_no_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(
            b"HTTP/1.1 %b\r\nContent-Length: 5\r\nConnection: close\r\n\r\n<html"
            % [b"200 OK", b"500 Oops"][number % 2]
        )

    server = Raw(script)
    try:
        monkeypatch.setenv("MARKET_URL", server.address.replace("tcp:", "http://"))
        assert "HTTP 500: <html" in market("ps").stderr
        result = market("ps")
        assert (result.exit_code, "JSON" in result.stderr) == (1, True)
    finally:
        server.close()


def test_events_go_on_where_the_stream_broke() -> None:
    asked: list[bytes] = []
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

    def script(connection: socket.socket, number: int) -> None:
        asked.append(read_head(connection))
        connection.sendall(head)
        if number == 1:
            connection.sendall(
                b'id: 7\r\nevent: step\r\ndata: {"name": "fetch",\r\ndata: "state": "done"}\r\n\r\n'
            )
            connection.sendall(b": comment\r\n\r\nid: 8\r\nevent: step\r\ndata: {half")
        else:
            connection.sendall(
                b'id: 8\r\nevent: step\r\ndata: {"name": "start"}\r\n\r\nevent: end\r\ndata: {}\r\n\r\n'
            )

    server = Raw(script)
    shop = Shop(server.address.replace("tcp:", "http://"), "")
    try:
        events = list(shop.events("/api/deployments/x/events"))
    finally:
        shop.close()
        server.close()
    assert [e.kind for e in events] == ["step", "step", "end"]
    assert events[0].data == {"name": "fetch", "state": "done"}
    assert b"last-event-id" not in asked[0].lower()
    assert b"last-event-id: 7" in asked[1].lower()


def test_waiting_for_events_ends_in_time() -> None:
    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\r\n")

    server = Raw(script)
    shop = Shop(server.address.replace("tcp:", "http://"), "")
    try:
        began = time.monotonic()
        with pytest.raises(Refused) as waited:
            list(shop.events("/api/deployments/x/events", 0.3))
        assert waited.value.problem["code"] == "wait-timeout"
        assert time.monotonic() - began < 5
    finally:
        shop.close()
        server.close()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANG": "zh_CN", "MARKET_LANG": "en"}, "en"),
        ({"LC_ALL": "de_DE", "MARKET_LANG": "zh"}, "zh"),
    ],
)
def test_language_of_the_terminal(environment: dict[str, str], expected: str) -> None:
    assert terminal.language(environment) == expected


def test_plain_tables_line_up_in_two_scripts() -> None:
    @click.command()
    def show() -> None:
        terminal.table(["名称", "N"], [["中文", 1], ["abc\x1b[31m", None]])

    lines = CliRunner().invoke(show).output.splitlines()
    assert [terminal.width(line[: line.rindex(" ") + 1]) for line in lines[:2]] == [10, 10]
    assert "\x1b" not in "".join(lines)
    assert terminal.size(999) == "999 B"
    assert terminal.size(25_300_000) == "25 MB"
    assert terminal.size(4_200_000_000) == "4.2 GB"


def test_commands_in_hints_can_be_typed_where_the_reader_is(tmp_path: Path) -> None:
    """In a fresh checkout the program lies in .venv/bin, which is on nobody's path."""
    program = Path(sys.executable).with_name("market")
    env = {k: v for k, v in os.environ.items() if not k.startswith("MARKET_")}
    env |= {"MARKET_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run([program, "ps"], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert f"{program} serve" in done.stderr
