"""What the gateway must know: which deployment is where, and which keys open what."""

import threading
from collections.abc import Callable
from typing import Any

from sqlmodel import Session, select

from deployer.deployments import replica_id
from deployer.models import Deployment
from marketplace.accounts import HOME_SCOPE, live_keys
from marketplace.events import Hub
from marketplace.models import Account, ApiKey
from marketplace.permissions import Permission, permissions_of

TOPIC = "routes"


class RouteTable:
    """Numbers the states of the routing table and knows which one the gateway has in force."""

    def __init__(self, hub: Hub, *, gateway: bool = False) -> None:
        self._hub = hub
        self._in_force = 0
        self._gateway = gateway  # whether there is one to wait for
        self._changed = threading.Condition()

    def publish(self) -> int:
        """Tell the gateway that routes or keys changed; call after the commit."""
        return self._hub.notify(TOPIC)

    def confirm(self, version: int) -> None:
        """The gateway says that it has `version` in force."""
        with self._changed:
            self._gateway = True
            self._in_force = version
            self._changed.notify_all()

    def wait_in_force(self, version: int, timeout: float) -> bool:
        """Wait until the gateway routes by `version` or a later one; at once when there is no gateway."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._gateway or self._in_force >= version, timeout)


def snapshot(db: Session, replica_key: Callable[[str], str]) -> dict[str, Any]:
    """Routes by deployment name, and what each key (by digest) opens."""
    deployments = db.exec(select(Deployment)).all()
    return {
        "routes": {
            d.name: {
                "address": d.address,
                "state": d.state,
                "key": replica_key(replica_id(d)) if d.transport == "tcp" else "",
            }
            for d in deployments
        },
        "keys": {
            key.digest: {
                "id": str(key.id),
                "deployments": _opens(key, account),
                "expires": key.expires.timestamp() if key.expires else None,
            }
            for key, account in live_keys(db)
        },
    }


def _opens(key: ApiKey, account: Account) -> list[str]:
    """A deployment's key opens that one; an account's all, where account and scopes say so."""
    if key.deployment not in ("", HOME_SCOPE):
        return [key.deployment]
    needed = Permission.manage_deployments
    may = needed in permissions_of(account.roles) and (not key.scopes or needed in key.scopes)
    return ["*"] if may else []
