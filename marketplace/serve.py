"""`market serve`: the supervisor of the two processes that make a running market.

It takes the public port itself and hands it down, so that the port is never free while the market
runs, and starts the gateway and the shop with a pipe each as lifeline: when the supervisor dies, they
end. A child that ends is started again, ever more slowly. It stays in the foreground until told to stop.
"""

import contextlib
import errno
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import IO, Any

from deployer.runtimes.folders import private_folder
from marketplace.settings import SettingError, Settings, load
from marketplace.terminal import data, hint, problem_text, say

_FIRST_PAUSE, _LAST_PAUSE = 0.1, 5.0
_STEADY_SECONDS = 10.0
_HOPELESS = 5
_LOG_BYTES = 10_000_000


class CannotServe(Exception):
    """The market cannot start here; the text says why and what to do."""


class Child:
    """One process of the market: started, watched, started again, stopped."""

    def __init__(
        self, module: str, settings: Settings, extra: dict[str, str], fds: tuple[int, ...] = ()
    ) -> None:
        self.name = module.rpartition(".")[2]
        self._command = [sys.executable, "-m", module]
        self._environment = environment(settings) | extra
        self._fds = fds
        self.log = settings.home / "logs" / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self.failures = 0

    def start(self) -> None:
        """Start the process; its log goes to a file of its own."""
        with _open_log(self.log) as log:
            # A session of its own: Ctrl-C reaches the supervisor alone, which stops things in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own modules, no shell
                self._command,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=self._fds,
                start_new_session=True,
            )
        self._started = time.monotonic()

    def watch(self, now: float) -> int | None:
        """Start the process again when it is time; the exit status, once, if it has just ended."""
        if self._process is None:
            if now >= self._retry_at:
                self.start()
            return None
        status = self._process.poll()
        if status is None:
            return None
        self._let_go()
        steady = now - self._started > _STEADY_SECONDS
        self._pause = _FIRST_PAUSE if steady else min(self._pause * 2, _LAST_PAUSE)
        self.failures = 1 if steady else self.failures + 1
        self._retry_at = now + self._pause
        return status

    def stop(self, seconds: float, hurry: threading.Event) -> None:
        """Ask the process to end; kill it when the time is up or `hurry` is set."""
        if self._process is None:
            return
        end = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        while self._process.poll() is None and time.monotonic() < end and not hurry.is_set():
            time.sleep(0.02)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._let_go()

    def last_lines(self, count: int = 12) -> str:
        """The end of the log."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-count:])
        return ""

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None


def serve() -> int:
    """Run the market until a signal; the exit status."""
    try:
        settings = load()
        prepare_home(settings)
        with only_one(settings), listening(settings) as listener:
            port = int(listener.getsockname()[1])
            return _Supervisor(replace(settings, port=port), listener).run()
    except (CannotServe, SettingError) as refusal:
        hint(str(refusal), str(refusal))
        return 1


def environment(settings: Settings) -> dict[str, str]:
    """The environment of the market's processes."""
    # onnxruntime's wheels report home unless this is set before they are imported.
    return os.environ | {
        "MARKET_HOME": str(settings.home),
        "MARKET_HOST": settings.host,
        "MARKET_PORT": str(settings.port),
        "MARKET_LIFELINE": "stdin",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }


def prepare_home(settings: Settings) -> None:
    """Make the folders of the home and see that they can be written; raises CannotServe."""
    try:
        for folder in (settings.home, settings.home / "logs"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = settings.home / ".probe"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise CannotServe(_home_refusal(settings.home, error)) from None
    try:
        private_folder(settings.run_dir)
    except OSError as error:
        raise CannotServe(_run_dir_refusal(settings.run_dir, error)) from None


@contextlib.contextmanager
def only_one(settings: Settings) -> Iterator[None]:
    """Hold the home's lock; raises CannotServe if another market runs on it."""
    with (settings.home / "serve.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            where = lock.read().strip() or "?"
            raise CannotServe(
                say(
                    f"主目录 {settings.home} 上已有一个商店在运行（{where}）。"
                    "用它即可，或设 MARKET_HOME=<另一目录> 再开一个。",
                    f"A market runs on {settings.home} already ({where}). "
                    "Use that one, or start another with MARKET_HOME=<other folder>.",
                )
            ) from None
        lock.truncate(0)
        lock.write(f"pid {os.getpid()}")
        lock.flush()
        yield


@contextlib.contextmanager
def listening(settings: Settings) -> Iterator[socket.socket]:
    """The public port, taken; raises CannotServe."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise CannotServe(_port_refusal(settings, error)) from None
    with listener:
        yield listener


class _Supervisor:
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        handed_down = {"MARKET_LISTEN_FD": str(listener.fileno())}
        self._gateway = Child("marketplace.gateway", settings, handed_down, (listener.fileno(),))
        self._shop = Child("marketplace.app", settings, {})
        self._stop, self._hurry = threading.Event(), threading.Event()
        self._announcer = _Announcer(settings, self._stop)

    def run(self) -> int:
        """Start both, keep them running, stop both; 1 if the shop never came up."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._shop.start()
        self._gateway.start()
        telling = threading.Thread(target=self._announcer.run, name="announcer", daemon=True)
        telling.start()
        hopeless = False
        while not self._stop.wait(0.05) and not hopeless:
            given_up = [self._look_after(child) for child in (self._gateway, self._shop)]
            hopeless = any(given_up)
        self._stop.set()
        self._listener.close()
        hint("正在停止…（再按一次 Ctrl-C 强制结束）", "Stopping… (Ctrl-C again to force)")
        # The gateway first: it finishes what is under way, and hands its last counts to the shop.
        self._gateway.stop(12, self._hurry)
        self._shop.stop(20, self._hurry)
        telling.join(1)
        return 1 if hopeless or self._hurry.is_set() else 0

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _look_after(self, child: Child) -> bool:
        """True where it makes no sense to go on: the child has never worked and keeps ending."""
        status = child.watch(time.monotonic())
        if status is None:
            return False
        hint(
            f"{child.name} 进程结束（{status}），正在重启；日志：{child.log}",
            f"The {child.name} process ended ({status}); starting it again. Log: {child.log}",
        )
        if child.failures < _HOPELESS or self._announcer.answered.is_set():
            return False
        hint(
            f"{child.name} 无法启动。日志末尾：\n{child.last_lines()}",
            f"The {child.name} process does not start. The end of its log:\n{child.last_lines()}",
        )
        return True


class _Announcer:
    """Tells the person where the market is, how to sign in, and how the shelf fills."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self.answered = threading.Event()

    def run(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody reads what we tell; the market runs on
            self._tell()

    def _tell(self) -> None:
        while not self._stop.is_set() and not self._ready():
            self._stop.wait(0.05)
        if self._stop.is_set():
            return
        self.answered.set()
        data(f"OPC Market  {self._settings.url}")
        link = self._ask("POST", "/internal/login-link")
        if link:
            data(f"{say('登录链接（一次有效）', 'Sign-in link (works once)')}  {link['url']}")
        shelf = self._ask("GET", "/api/shelf")
        if shelf is not None and shelf["total"]:
            (self._draw if sys.stdout.isatty() else self._list)(shelf)
        if not self._stop.is_set():
            hint(
                "下一步：打开上面的登录链接，或另开一个终端：market search",
                "Next: open the sign-in link, or in another terminal: market search",
            )

    def _ready(self) -> bool:
        return self._ask("GET", "/readyz") is not None

    def _ask(self, method: str, path: str) -> Any:
        """The shop's answer over its socket; None where there is none."""
        try:
            return ask_shop(self._settings.shop_socket, method, path)
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def _changes(self, shelf: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The shelf's states until it is full or the market stops."""
        while True:
            yield shelf
            if shelf["ready"] + shelf["failed"] >= shelf["total"] or self._stop.wait(0.3):
                return
            shelf = self._ask("GET", "/api/shelf") or shelf

    def _list(self, shelf: dict[str, Any]) -> None:
        """One line for each listing that comes; where all were there before, one for them all."""
        if shelf["ready"] == shelf["total"]:
            data(f"{say('货架', 'On the shelf')} {shelf['ready']}/{shelf['total']}")
            return
        # What was there before is told as one number: the first line that is new says how many there are.
        told = {(item["id"], "ready") for item in shelf["items"] if item["state"] == "ready"}
        for state in self._changes(shelf):
            for item in state["items"]:
                mark = (item["id"], item["state"])
                if item["state"] in ("ready", "failed") and mark not in told:
                    told.add(mark)
                    data(_shelf_line(item, state))

    def _draw(self, shelf: dict[str, Any]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}")
        failed: set[str] = set()
        with Progress(*columns, console=Console()) as progress:
            bar = progress.add_task(say("货架", "Shelf"), total=shelf["total"], note="")
            for state in self._changes(shelf):
                filled, busy = 0.0, ""
                for item in state["items"]:
                    share = item["done"] / item["total"] if item["total"] else 0.0
                    ended = item["state"] in ("ready", "failed")
                    filled += 1 if ended else min(share, 1.0)
                    busy = busy or ("" if ended or not item["done"] else item["id"])
                    if item["state"] == "failed" and item["id"] not in failed:
                        failed.add(item["id"])
                        progress.console.print(_shelf_line(item, state), markup=False)
                note = f"{state['ready']}/{state['total']} {busy}"
                progress.update(bar, completed=filled, note=note)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("shop", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask_shop(socket_path: Path, method: str, path: str, timeout: float = 5.0) -> Any:
    """One exchange with the shop over its socket; raises OSError or HTTPException."""
    connection = _UnixConnection(socket_path, timeout)
    try:
        connection.request(method, path, headers={"Accept-Language": say("zh", "en")})
        response = connection.getresponse()
        body = response.read()
        if response.status >= 300:
            raise http.client.HTTPException(f"status {response.status}")
        return json.loads(body)
    finally:
        connection.close()


def _shelf_line(item: dict[str, Any], shelf: dict[str, Any]) -> str:
    if item["state"] == "ready":
        return f"{say('已上架', 'On the shelf')} {shelf['ready']}/{shelf['total']}: {item['name']}"
    why = problem_text(item["error"]) if item["error"] else ""
    return f"{say('上架失败', 'Could not be shelved')}: {item['name']}. {why}"


def _open_log(path: Path) -> IO[bytes]:
    """The log of a child, one older file kept; a full disk takes the log, not the market."""
    try:
        if path.exists() and path.stat().st_size > _LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")


def _home_refusal(home: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return say(
            f"磁盘已满，无法写入 {home}。请腾出空间，或设 MARKET_HOME=<另一磁盘上的目录>。",
            f"The disk is full: {home} cannot be written. "
            "Free some space, or set MARKET_HOME=<folder elsewhere>.",
        )
    return say(
        f"无法写入主目录 {home}（{error.strerror}）。请修正权限，或设 MARKET_HOME=<另一目录>。",
        f"The home {home} cannot be written ({error.strerror}). "
        "Mend its permissions, or set MARKET_HOME=<folder>.",
    )


def _run_dir_refusal(run_dir: Path, error: OSError) -> str:
    return say(
        f"运行目录 {run_dir} 不能用：它必须是只属于你自己的真实目录（{error}）。"
        "请移走它，或换一个较短的 MARKET_HOME=<目录>。",
        f"The run folder {run_dir} cannot be used: it must be a real folder of your own ({error}). "
        "Move it away, or set a shorter MARKET_HOME=<folder>.",
    )


def _port_refusal(settings: Settings, error: OSError) -> str:
    place = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return say(
            f"端口 {settings.port} 已被占用（{place}）。请换一个：MARKET_PORT={settings.port % 65535 + 1}，"
            "或 MARKET_PORT=0 任取空闲端口。",
            f"Port {settings.port} is taken ({place}). "
            f"Choose another: MARKET_PORT={settings.port % 65535 + 1}, or MARKET_PORT=0 for any free one.",
        )
    return say(
        f"无法监听 {place}（{error.strerror}）。请检查 MARKET_HOST 与 MARKET_PORT。",
        f"Cannot listen on {place} ({error.strerror}). Check MARKET_HOST and MARKET_PORT.",
    )


if __name__ == "__main__":
    sys.exit(serve())
