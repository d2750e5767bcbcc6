"""A new key is shown on its deployment's page, and only in the browser that asked for it.

It travels in a cookie that scripts cannot read, that is sent to this one page only, and that ends
after ten minutes or when the person says that the key is kept; the database never has it.
"""

import re

from litestar.datastructures import Cookie
from litestar.response import Redirect

from marketplace.auth import AnyRequest

COOKIE = "fresh_key"
SHOWN_FOR = 600  # seconds
KEY = re.compile(r"mk_[A-Za-z0-9_-]{20,80}")


def redirect_with_key(name: str, key: str, url: str) -> Redirect:
    """To the deployment's page with the key to show there."""
    response = Redirect(f"/deployments/{name}", status_code=303)
    response.set_cookie(
        Cookie(
            COOKIE,
            path=f"/deployments/{name}",
            value=key,
            max_age=SHOWN_FOR,
            httponly=True,
            samesite="strict",
            secure=url.startswith("https:"),
        )
    )
    return response


def fresh_key(request: AnyRequest) -> str:
    """The key to show with this request, if any."""
    value = request.cookies.get(COOKIE, "")
    return value if KEY.fullmatch(value) else ""


def forget_key(name: str) -> Redirect:
    """Back to the page, without the key."""
    response = Redirect(f"/deployments/{name}", status_code=303)
    response.delete_cookie(COOKIE, path=f"/deployments/{name}")
    return response
