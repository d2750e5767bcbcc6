"""The shop's real application without processes around it, asked as its gateway asks it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from litestar import Litestar
from sqlalchemy import Engine

from marketplace import accounts, tokens
from marketplace.accounts import Client
from marketplace.app import create_app, open_services
from marketplace.auth import COOKIE
from marketplace.db import transaction
from marketplace.models import Account
from marketplace.permissions import permissions_of
from marketplace.services import Services
from marketplace.settings import load

ADDRESS = "203.0.113.7"
GOOD = "plum rain on tin roofs"


@dataclass
class Inside:
    """A shop to ask; requests come through the gateway unless `address` is empty."""

    services: Services
    app: Litestar
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    @property
    def engine(self) -> Engine:
        return self.services.engine

    def ask(
        self,
        method: str,
        path: str,
        *,
        cookie: str = "",
        token: str = "",
        address: str = ADDRESS,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> httpx.Response:
        sent = {"Accept-Language": "en"} | (headers or {})
        if address:
            sent["X-Forwarded-For"] = address
        if token:
            sent["Authorization"] = f"Bearer {token}"
        if cookie:
            sent["Cookie"] = f"{COOKIE}={cookie}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                return await client.request(method, path, headers=sent, **options)

        return self._loop.run_until_complete(send())

    def page(self, method: str, path: str, cookie: str = "", **options: Any) -> httpx.Response:
        """As a browser asks for a page."""
        headers = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"} | options.pop("headers", {})
        return self.ask(method, path, cookie=cookie, headers=headers, **options)

    def account(self, name: str, *roles: str) -> Account:
        """An account; `owner` is the first one, with every role."""
        with transaction(self.engine) as db:
            first = accounts.first_account(db)
            if name == "owner":
                return first
            account = Account(name=name, roles=list(roles))
            db.add(account)
            return account

    def cookie(self, account: Account, agent: str = "") -> str:
        with transaction(self.engine) as db:
            return accounts.open_session(db, account, Client(agent, ADDRESS))

    def token(self, account: Account, *scopes: str, days: int = 90) -> tokens.Token:
        with transaction(self.engine) as db:
            row = db.get(Account, account.id)
            assert row is not None
            maker = tokens.Maker(_Actor(row), row, permissions_of(row.roles))
            return tokens.create_token(db, maker, "test", scopes, days)

    def close(self) -> None:
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@dataclass(frozen=True)
class _Actor:
    account: Account
    address: str = ADDRESS

    @property
    def account_id(self) -> Any:
        return self.account.id

    @property
    def name(self) -> str:
        return self.account.name


def actor(account: Account) -> _Actor:
    """An account as whoever acts."""
    return _Actor(account)


@contextmanager
def shop_inside(home: Path, engine: Engine) -> Iterator[Inside]:
    """A shop on a home and on a database of its own."""
    settings = load({"MARKET_HOME": str(home), "MARKET_SHELF": "none", "MARKET_LANG": "en"})
    opened = open_services(settings)
    opened.engine.dispose()
    services = replace(opened, engine=engine)
    shop = Inside(services, create_app(services))
    try:
        yield shop
    finally:
        shop.close()
