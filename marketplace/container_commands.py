"""Commands that people type to run a packaged image and to call what runs in it."""

import shlex

from deployer.packager.wheels_devices import run_options

PORT = 8001  # on the host; the shop itself is at 8000


def run_command(image: str, device: str) -> str:
    """How a sealed image is run on its device; the key is shown first, since callers send it."""
    key = 'KEY=$(openssl rand -hex 16); echo "$KEY"'
    options = shlex.join(["--rm", *run_options(device), "-p", f"{PORT}:8000"])
    return f'{key}; docker run {options} -e MARKET_SERVER_KEY="$KEY" {image}'


def call_command() -> str:
    """How its routes are asked for, with the key as bearer token."""
    return f'curl http://127.0.0.1:{PORT}/openapi.json -H "Authorization: Bearer KEY"'
