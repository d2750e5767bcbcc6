"""Every setting of the shop, once: name, default and help feed the environment, `market doctor` and the docs.

Kept free of heavy imports: the gateway, the supervisor and the CLI read it too.
"""

import hashlib
import ipaddress
import os
import re
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
        "trusted_proxies",
        "",
        "Networks of proxies in front, with commas between: what X-Forwarded-For and X-Forwarded-Proto of "
        "theirs say is believed; empty: nobody's.",
        "前置代理所在网段（CIDR，逗号分隔）：只采信其 X-Forwarded-For 与 X-Forwarded-Proto；留空即都不采信。",
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
        "shelf_check",
        "yes",
        "Check and measure the starter shelf here, beside everything else, once it is full: yes or no.",
        "货架上架完成后，在空闲时于本机检查并实测：yes 或 no。",
    ),
    Setting(
        "download_cache",
        "",
        "Folder that keeps fetched archives; empty means a folder in the home that is emptied after use.",
        "保留下载包的目录；留空则用主目录下的临时目录，用后清空。",
    ),
    Setting(
        "import_private",
        "no",
        "Private addresses that imports may fetch from: no, yes, or hosts and networks separated by commas.",
        "导入时可访问的内网地址：no、yes，或以逗号分隔的主机与网段。",
    ),
    Setting(
        "hf_endpoint",
        "",
        "Hub that hf:// imports from; empty means HF_ENDPOINT, else the client's own. HF_TOKEN is its token.",
        "hf:// 的来源站；留空即 HF_ENDPOINT，否则为客户端默认。令牌取自 HF_TOKEN。",
    ),
    Setting(
        "modelscope_endpoint",
        "https://modelscope.cn",
        "Hub that modelscope:// imports from. MODELSCOPE_API_TOKEN is its token.",
        "modelscope:// 的来源站。令牌取自 MODELSCOPE_API_TOKEN。",
    ),
    Setting(
        "scanner",
        "none",
        "Second scanner of what vendors send, beside our own: none or modelaudit (fetched when first used).",
        "自带检查之外的第二个扫描器：none 或 modelaudit（首次使用时安装）。",
    ),
    Setting(
        "check_memory",
        "4294967296",
        "Memory that the dry run of a version may use at most, in bytes.",
        "试运行一个版本最多可用的内存（字节）。",
    ),
    Setting(
        "upload_limit",
        "68719476736",
        "Bytes that one account may have under way, announced for versions that are not checked yet.",
        "每个账户可同时在途的上传字节数（尚未送检的版本）。",
    ),
    Setting(
        "dns_servers",
        "",
        "Name servers to look vendors' domains up at: addresses, with :port if need be; empty: the system's.",
        "验证商家域名时查询的 DNS 服务器（地址或 地址:端口，逗号分隔）；留空即系统所设。",
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
    trusted_proxies: tuple[str, ...]
    database_url: str
    workflow_database_url: str
    shelf: tuple[str, ...]
    shelf_only: tuple[str, ...]
    shelf_check: bool
    download_cache: Path
    keep_downloads: bool
    import_private: str
    hf_endpoint: str
    modelscope_endpoint: str
    scanner: str
    check_memory: int
    upload_limit: int
    dns_servers: tuple[str, ...]
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
        trusted_proxies=_networks(raw),
        database_url=raw["database_url"] or f"sqlite:///{home / 'market.db'}",
        workflow_database_url=raw["workflow_database_url"] or f"sqlite:///{home / 'workflows.db'}",
        shelf=_tiers(raw),
        shelf_only=_parts(raw["shelf_only"]),
        shelf_check=_choice(raw, "shelf_check", ("yes", "no")) == "yes",
        download_cache=Path(raw["download_cache"] or home / "cache" / "downloads").expanduser().absolute(),
        keep_downloads=bool(raw["download_cache"]),
        import_private=_reach(raw),
        hf_endpoint=(raw["hf_endpoint"] or env.get("HF_ENDPOINT", "")).rstrip("/"),
        modelscope_endpoint=raw["modelscope_endpoint"].rstrip("/"),
        scanner=_choice(raw, "scanner", ("none", "modelaudit")),
        check_memory=_integer(raw, "check_memory", 1 << 28, 1 << 50),
        upload_limit=_integer(raw, "upload_limit", 1, 1 << 60),
        dns_servers=_servers(raw),
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


def _reach(raw: Mapping[str, str]) -> str:
    """Checked for its form here; `catalog.importers.reach`, which the gateway does not load, reads it."""
    text = raw["import_private"]
    if not re.fullmatch(r"[\w.:/-]+(\s*,\s*[\w.:/-]+)*", text, re.ASCII):
        expected = "no, yes, or hosts and networks with commas between"
        raise SettingError(f"{variable('import_private')}={text!r}: {expected} are expected")
    return text


def _networks(raw: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(text)) for text in _parts(raw["trusted_proxies"]))
    except ValueError as error:
        expected = "networks such as 10.0.0.0/8 with commas between"
        raise SettingError(f"{variable('trusted_proxies')}: {error}; {expected} are expected") from None


def _servers(raw: Mapping[str, str]) -> tuple[str, ...]:
    """Name servers, each an address with or without a port."""
    servers = _parts(raw["dns_servers"])
    for text in servers:
        host, colon, port = text.rpartition(":")
        alone = not colon or (":" in host and not text.startswith("["))  # an IPv6 address has colons itself
        try:
            ipaddress.ip_address(text if alone else host.strip("[]"))
            if not alone and not 0 < int(port) <= 65535:
                raise ValueError
        except ValueError:
            raise SettingError(
                f"{variable('dns_servers')}={text!r}: an address such as 1.2.3.4 or 1.2.3.4:53 is expected"
            ) from None
    return servers


def _parts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _choice(raw: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    if raw[name] not in choices:
        raise SettingError(f"{variable(name)}={raw[name]!r}: one of {', '.join(choices)} is expected")
    return raw[name]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
