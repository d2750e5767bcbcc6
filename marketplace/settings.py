"""Every setting of the shop, once: name, default and help feed the environment, `market doctor` and the docs.

Kept free of heavy imports: the gateway, the supervisor and the CLI read it too.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Setting(NamedTuple):
    """One row of the table; the environment variable is MARKET_<NAME>."""

    name: str
    default: str
    help_en: str
    help_zh: str


SETTINGS = (
    Setting("home", "~/.opc-market", "Folder that holds all state.", "存放全部状态的目录。"),
    Setting("host", "127.0.0.1", "Address that the gateway listens on.", "网关监听的地址。"),
    Setting(
        "port",
        "8000",
        "Port that the gateway listens on; 0 takes a free one.",
        "网关监听的端口；0 表示任取空闲端口。",
    ),
    Setting(
        "public_url",
        "",
        "Address that people use, when a proxy stands in front; empty means http://host:port.",
        "前面另有代理时，用户访问的地址；留空即 http://host:port。",
    ),
    Setting(
        "database_url",
        "",
        "Database of the shop as an SQLAlchemy URL; empty means market.db in the home.",
        "商店的数据库（SQLAlchemy URL）；留空即主目录下的 market.db。",
    ),
    Setting(
        "workflow_database_url",
        "",
        "Database of the durable workflows; empty means workflows.db in the home.",
        "持久工作流的数据库；留空即主目录下的 workflows.db。",
    ),
    Setting(
        "shelf",
        "core",
        "Starter shelf to fill: core, voice (speech), both with a comma between, or none.",
        "要上架的起步货架：core、voice（语音），两者以逗号并列，或 none。",
    ),
    Setting(
        "shelf_only",
        "",
        "Ids of the shelf entries to fill, separated by commas; empty means all.",
        "只上架这些条目（逗号分隔的 id）；留空即全部。",
    ),
    Setting(
        "download_cache",
        "",
        "Folder that keeps fetched archives; empty means a folder in the home that is emptied after use.",
        "保留下载包的目录；留空则用主目录下的临时目录，用后清空。",
    ),
    Setting("runtime", "process", "Runtime of a deployment that names none.", "部署未指定时使用的运行方式。"),
    Setting(
        "runtime_base",
        "auto",
        "Base of images: auto (Debian packages where apt-get is, else python-slim), debian, or an image.",
        "镜像的基础：auto（有 apt-get 时用 Debian 软件包，否则用 python-slim）、debian 或某个镜像名。",
    ),
    Setting(
        "replica_memory",
        "2147483648",
        "Memory that one replica may use, in bytes.",
        "每个副本可用的内存（字节）。",
    ),
    Setting("replica_threads", "1", "Threads of one replica.", "每个副本的线程数。"),
    Setting(
        "start_timeout",
        "120",
        "Seconds within which a started server must be ready.",
        "服务启动后必须就绪的秒数。",
    ),
    Setting("max_body", "33554432", "Largest request body, in bytes.", "请求体的上限（字节）。"),
    Setting("log_level", "info", "Least level of the log: debug, info, warning, error.", "日志的最低级别。"),
    Setting(
        "lang", "zh", "Language where the visitor states none: zh or en.", "访客未表明语言时使用：zh 或 en。"
    ),
)


class SettingError(ValueError):
    """A setting has a value that cannot be used; says which variable and what is expected."""


@dataclass(frozen=True)
class Settings:
    """The settings in force, parsed; see SETTINGS for what each means."""

    home: Path
    host: str
    port: int
    public_url: str
    database_url: str
    workflow_database_url: str
    shelf: tuple[str, ...]
    shelf_only: tuple[str, ...]
    download_cache: Path
    keep_downloads: bool
    runtime: str
    runtime_base: str
    replica_memory: int
    replica_threads: int
    start_timeout: float
    max_body: int
    log_level: str
    lang: str

    @property
    def url(self) -> str:
        """Where people reach the shop."""
        # 0.0.0.0 is for listening, not for going to.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return self.public_url or f"http://{_bracketed(host)}:{self.port}"

    @property
    def run_dir(self) -> Path:
        """Folder of sockets and pid files, short enough for a socket path of under 100 bytes."""
        inside = self.home / "run"
        if len(os.fsencode(inside)) <= 48:
            return inside
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return base / f"opc-market-{os.getuid()}-{digest}"

    @property
    def shop_socket(self) -> Path:
        """Unix socket on which the shop answers the gateway."""
        return self.run_dir / "shop.sock"


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment; raises SettingError for a value that cannot be used."""
    env = os.environ if environ is None else environ
    raw = {s.name: env.get(variable(s.name), "").strip() or s.default for s in SETTINGS}
    home = Path(raw["home"]).expanduser().absolute()
    return Settings(
        home=home,
        host=raw["host"],
        port=_integer(raw, "port", 0, 65535),
        public_url=raw["public_url"].rstrip("/"),
        database_url=raw["database_url"] or f"sqlite:///{home / 'market.db'}",
        workflow_database_url=raw["workflow_database_url"] or f"sqlite:///{home / 'workflows.db'}",
        shelf=_tiers(raw),
        shelf_only=_parts(raw["shelf_only"]),
        download_cache=Path(raw["download_cache"] or home / "cache" / "downloads").expanduser().absolute(),
        keep_downloads=bool(raw["download_cache"]),
        runtime=raw["runtime"],
        runtime_base=raw["runtime_base"],
        replica_memory=_integer(raw, "replica_memory", 64 << 20, 1 << 50),
        replica_threads=_integer(raw, "replica_threads", 1, 1024),
        start_timeout=_integer(raw, "start_timeout", 1, 86400),
        max_body=_integer(raw, "max_body", 1024, 1 << 40),
        log_level=_choice(raw, "log_level", ("debug", "info", "warning", "error")),
        lang=_choice(raw, "lang", ("zh", "en")),
    )


def variable(name: str) -> str:
    """Name of the environment variable of a setting."""
    return f"MARKET_{name.upper()}"


def _integer(raw: Mapping[str, str], name: str, least: int, most: int) -> int:
    try:
        value = int(raw[name])
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise SettingError(
            f"{variable(name)}={raw[name]!r}: a whole number from {least} to {most} is expected"
        )
    return value


def _tiers(raw: Mapping[str, str]) -> tuple[str, ...]:
    """The tiers of the shelf; none of them for `none`, which stands alone."""
    tiers = _parts(raw["shelf"])
    if tiers == ("none",):
        return ()
    if not tiers or not set(tiers) <= {"core", "voice"}:
        expected = "core, voice, core,voice or none"
        raise SettingError(f"{variable('shelf')}={raw['shelf']!r}: one of {expected} is expected")
    return tiers


def _parts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _choice(raw: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    if raw[name] not in choices:
        raise SettingError(f"{variable(name)}={raw[name]!r}: one of {', '.join(choices)} is expected")
    return raw[name]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
