"""`python -m deployer.server MODEL_DIR (--uds PATH | --host H --port P) --name DEPLOYMENT`.

Loads the model first and listens after, so that a caller who reaches the address reaches a server that
can answer. SIGTERM: readiness off, requests in flight are answered, exit 0.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.server import providers

if TYPE_CHECKING:
    import logging

    from deployer.server.predictor import Predictor

# Without these numpy's BLAS starts a thread per core that nothing here uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

STOPPED, BAD_MODEL, BAD_ADDRESS, NO_KEY, NO_DEVICE = 0, 3, 4, 5, 6  # exit codes
DEVICE, ENGINES = "MARKET_DEVICE", "MARKET_ENGINES"  # set by images that are made for a device


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deployer.server", description="Serve one model folder.")
    parser.add_argument("model_dir")
    parser.add_argument("--name", help="the deployment, and the model's name in the protocols")
    parser.add_argument("--uds", help="unix socket to listen on")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, help="TCP port to listen on; 0 takes a free one and logs it")
    parser.add_argument("--threads", type=int, default=1, help="threads for inference")
    parser.add_argument(
        "--device",
        default=os.environ.get(DEVICE) or "cpu",
        help=f"what the graphs run on: {', '.join(providers.KINDS)} (default: ${DEVICE}, else cpu)",
    )
    parser.add_argument(
        "--engines",
        metavar="DIR",
        default=os.environ.get(ENGINES),
        help=f"where graphs compiled for the device are kept, if it can be written (default: ${ENGINES})",
    )
    parser.add_argument("--prepared", metavar="DIR", help="where graphs prepared for machines lie")
    parser.add_argument("--prepare", metavar="DIR", help="prepare the graphs for this machine there, and end")
    parser.add_argument("--deadline", type=float, default=900.0, help="seconds for one answer")
    parser.add_argument("--key-env", help="environment variable that holds the key asked for on TCP")
    parser.add_argument("--lifeline", type=int, metavar="FD", help="exit at once when this pipe closes")
    given = parser.parse_args(argv)
    if given.prepare is None and given.name is None:
        parser.error("give --name")
    if given.prepare is None and (given.uds is None) == (given.port is None):
        parser.error("give either --uds PATH or --port PORT")
    if given.device not in providers.KINDS:
        parser.error(f"the device is {given.device!r}, none of {', '.join(providers.KINDS)}")
    if given.threads < 1:
        parser.error("--threads must be at least 1")
    return given


def _prepare(given: argparse.Namespace, device: providers.Device, log: "logging.Logger") -> int:
    from deployer.server.errors import BadModel
    from deployer.server.model import Model
    from deployer.server.prepare import prepare

    try:
        report = prepare(Model.open(Path(given.model_dir), device=device), Path(given.prepare))
    except (BadModel, OSError) as error:
        log.error("model cannot be prepared", extra={"cause": str(error)})
        return BAD_MODEL
    log.info("prepared", extra={"graphs": report})
    return STOPPED


def _load(given: argparse.Namespace, device: providers.Device, log: "logging.Logger") -> "Predictor | int":
    """The model on its device, or the exit code when it cannot be had."""
    from deployer.server import predictor
    from deployer.server.errors import BadModel

    prepared = Path(given.prepared) if given.prepared else None
    try:
        device.start()
        loaded = predictor.load(Path(given.model_dir), given.threads, prepared, device)
        device.check()
    except providers.DeviceUnavailable as error:
        log.error("device cannot be used", extra={"cause": str(error), "device": device.id})
        return NO_DEVICE
    except BadModel as error:
        log.error("model cannot be served", extra={"cause": str(error)})
        return BAD_MODEL
    except Exception:
        log.exception("model cannot be loaded")
        return BAD_MODEL
    return loaded


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop: 0 after that.

    3 for a bad model, 4 for an address in use, 5 without a key, 6 for a device that cannot be used.
    """
    started = time.perf_counter()
    given = arguments(argv)
    from deployer.server import lifecycle

    log = lifecycle.start_logging()
    if given.lifeline is not None:
        lifecycle.hold_lifeline(given.lifeline, given.uds)
    kept = Path(given.engines) if given.engines and os.access(given.engines, os.W_OK) else None
    device = providers.Device(given.device, kept)
    if given.prepare is not None:
        return _prepare(given, device, log)
    # Until the server takes signals over, a stop is a clean one too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))
    loading = time.perf_counter()
    loaded = _load(given, device, log)
    if isinstance(loaded, int):
        return loaded
    try:
        listener = lifecycle.listen(given.uds, given.host, given.port)
    except OSError as error:
        log.error("address cannot be used", extra={"cause": str(error)})
        return BAD_ADDRESS
    key = os.environ.get(given.key_env or "", "") if given.uds is None else ""
    if given.key_env and given.uds is None and not key:
        cause = f"{given.key_env} is not set, and the port is open"
        log.error(
            "no key", extra={"cause": cause, "next": f"start it with -e {given.key_env}=<a key of yours>"}
        )
        return NO_KEY
    load_seconds = round(time.perf_counter() - loading, 6)
    from deployer.server.app import App

    app = App(
        loaded,
        given.name,
        threads=given.threads,
        key=key,
        load_seconds=load_seconds,
        deadline=given.deadline,
        device=device,
    )
    facts = {
        "address": given.uds or "{}:{}".format(*listener.getsockname()[:2]),
        "task": loaded.task,
        "device": device.id,
        "provider": device.provider,
        "seconds": round(time.perf_counter() - started, 3),
    }
    log.info("listening", extra=facts | ({"nodes": dict(device.nodes)} if device.nodes else {}))
    lifecycle.serve(app, listener)
    if given.uds:
        Path(given.uds).unlink(missing_ok=True)
    log.info("stopped")
    return STOPPED


if __name__ == "__main__":
    sys.exit(main())
