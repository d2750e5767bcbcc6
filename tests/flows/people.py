"""Other people than the home's owner, each with a key of their own."""

from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

import httpx

from tests.shop import Shop


@dataclass(frozen=True)
class Person:
    """An account of a running shop, on the command line and over the API."""

    shop: Shop
    name: str
    key: str

    def market(self, *arguments: str, **options: Any) -> "CompletedProcess[str]":
        """Run the CLI with this person's key."""
        return self.shop.market(*arguments, MARKET_URL=self.shop.url, MARKET_KEY=self.key, **options)

    @property
    def api(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}", "Accept-Language": "en"}
        return httpx.Client(base_url=self.shop.url, headers=headers, timeout=60)


def person(shop: Shop, name: str, *roles: str, scopes: tuple[str, ...] = ()) -> Person:
    """An account with these roles, made by the owner, signed in by its link, and its new token."""
    with shop.api as api:
        api.post("/api/accounts", json={"name": name, "roles": list(roles)}).raise_for_status()
        link = api.post(f"/api/accounts/{name}/login-link").raise_for_status().json()["url"]
    with httpx.Client(base_url=shop.url, headers={"Sec-Fetch-Site": "same-origin"}, timeout=30) as browser:
        browser.get(link)
        wish = {"name": "flow", "scopes": list(scopes), "days": 1}
        made = browser.post("/api/tokens", json=wish)
        assert made.status_code == 201, made.text
    return Person(shop, name, made.json()["token"])
