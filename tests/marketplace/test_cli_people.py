"""accounts, tokens, login-link and audit on a real shop, through its real gateway."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.shop import Shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Shop.start(tmp_path_factory.mktemp("people") / "home", MARKET_SHELF="none") as started:
        yield started


def told(run: "subprocess.CompletedProcess[str]") -> Any:
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@contextmanager
def enter(link: str) -> Iterator[httpx.Client]:
    """A browser that has opened a sign-in link."""
    with httpx.Client(headers={"Accept": "text/html", "Sec-Fetch-Site": "none"}) as browser:
        assert browser.get(link).status_code == 303
        yield browser


def test_an_account_is_made_let_in_and_shut_out(shop: Shop) -> None:
    made = shop.market("accounts", "add", "li-hua", "--role", "vendor")
    assert made.returncode == 0 and re.fullmatch(rf"{shop.url}/login/[\w-]{{32}}\n", made.stdout)
    assert "half an hour" in made.stderr
    with enter(made.stdout.strip()) as browser:
        assert browser.get(f"{shop.url}/settings").status_code == 200
        assert browser.get(f"{shop.url}/accounts").status_code == 403
        roles = told(shop.market("accounts", "roles", "li-hua", "operator", "vendor", "--json"))
        assert roles["roles"] == ["operator", "vendor"]
        assert browser.get(f"{shop.url}/accounts").status_code == 200
        refused = shop.market("accounts", "disable", "li-hua")  # nobody answers the question
        assert refused.returncode == 1
        assert told(shop.market("accounts", "disable", "li-hua", "-y", "--json"))["disabled"]
        assert browser.get(f"{shop.url}/settings").status_code == 303
    assert "disabled" in shop.market("accounts", "list").stdout
    assert shop.market("accounts", "login-link", "li-hua").returncode == 1
    assert shop.market("accounts", "enable", "li-hua").returncode == 0
    assert shop.market("accounts", "reset-password", "li-hua", "-y").returncode == 0
    with enter(shop.market("login-link", "li-hua").stdout.strip()) as browser:
        assert "li-hua" in browser.get(f"{shop.url}/settings").text
    listed = told(shop.market("accounts", "list", "--json"))
    assert [item["name"] for item in listed["items"]] == ["owner", "li-hua"]


def test_the_last_operator_stays(shop: Shop) -> None:
    shop.market("accounts", "roles", "li-hua", "vendor")
    refused = shop.market("accounts", "disable", "owner", "-y")
    assert refused.returncode == 1 and "last-operator" in refused.stderr
    refused = shop.market("accounts", "roles", "owner", "opc")
    assert refused.returncode == 1 and "last-operator" in refused.stderr


def test_a_token_is_made_used_narrow_and_revoked_at_the_gateway_too(shop: Shop) -> None:
    made = told(shop.market("tokens", "create", "ci", "--scope", "publish", "--expires", "30", "--json"))
    assert made["scopes"] == ["catalogue:browse", "publications:manage"]
    as_ci = {"MARKET_URL": shop.url, "MARKET_KEY": made["token"]}
    assert shop.market("search", **as_ci).returncode == 0
    refused = shop.market("ps", **as_ci)
    assert refused.returncode == 1 and "token-too-narrow" in refused.stderr
    whole = shop.market("tokens", "create", "whole")
    assert re.fullmatch(r"mk_[\w-]{43}\n", whole.stdout) and "shown this once" in whole.stderr
    key = whole.stdout.strip()
    as_whole = {"MARKET_URL": shop.url, "MARKET_KEY": key}
    assert shop.market("ps", **as_whole).returncode == 0
    models, headers = f"{shop.url}/v1/models", {"Authorization": f"Bearer {key}"}
    assert httpx.get(models, headers=headers).status_code == 200
    shown = shop.market("tokens", "list").stdout
    assert "ci" in shown and key not in shown and key[-4:] in shown
    assert shop.market("tokens", "revoke", "whole").returncode == 1  # nobody answers the question
    assert shop.market("tokens", "revoke", "whole", "-y").returncode == 0
    assert httpx.get(models, headers=headers).status_code == 401  # at once
    refused = shop.market("ps", **as_whole)
    assert refused.returncode == 1 and "key-refused" in refused.stderr
    assert shop.market("tokens", "revoke", "whole", "-y").returncode == 1
    for _ in range(2):
        shop.market("tokens", "create", "twin")
    twins = shop.market("tokens", "revoke", "twin", "-y")
    assert twins.returncode == 1 and "2 tokens are called twin" in twins.stderr
    ending = next(i["hint"] for i in told(shop.market("tokens", "list", "--json"))["items"])
    assert told(shop.market("tokens", "revoke", ending, "-y", "--json"))["state"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["tokens", "create", "x", "--scope", "everything"], "unknown-scope"),
        (["accounts", "add", "a b"], "invalid-account-name"),
        (["accounts", "add", "OWNER"], "account-exists"),
        (["accounts", "enable", "nobody"], "unknown-account"),
        (["login-link", "nobody"], "unknown-account"),
        (["audit", "--since", "yesterday"], "invalid-request"),
    ],
)
def test_refusals_have_their_code_and_the_next_step(shop: Shop, arguments: list[str], code: str) -> None:
    run = shop.market(*arguments)
    assert (run.returncode, run.stdout) == (1, "")
    assert f"[{code}]" in run.stderr and "Next: " in run.stderr
    chinese = shop.market(*arguments, LANG="zh_CN.UTF-8")
    assert "下一步：" in chinese.stderr


@pytest.mark.parametrize("days", ["0", "367", "x"])
def test_days_out_of_bounds_are_wrong_usage(shop: Shop, days: str) -> None:
    assert shop.market("tokens", "create", "x", "--expires", days).returncode == 2


def test_the_audit_log_tells_what_was_done(shop: Shop) -> None:
    page = told(shop.market("audit", "--action", "account", "--json"))
    assert page["total"] == len(page["items"]) > 3
    assert {item["account"] for item in page["items"]} == {"owner"}
    assert {item["address"] for item in page["items"]} == {"127.0.0.1"}
    two = shop.market("audit", "--limit", "2")
    assert two.stdout.count("\n") == 3 and "market audit --offset 2" in two.stderr
    assert "Nothing like that" in shop.market("audit", "--account", "nobody").stderr
