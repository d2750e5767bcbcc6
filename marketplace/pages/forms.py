"""Where forms and links lead next."""

from urllib.parse import quote, unquote, urlsplit

from litestar.response import Redirect


def inside(target: str) -> str:
    """`target` when it is a path of this shop, else the home page; nobody is led to another site."""
    path = unquote(target)
    parts = urlsplit(path)
    plain = path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.scheme
    if not plain or parts.netloc or any(ord(c) < 32 for c in path):
        return "/"
    return quote(path, safe="/?&=%:,-_.~")


def see_other(path: str) -> Redirect:
    """After a change, look at the result."""
    return Redirect(path, status_code=303)


def sign_in_first(then: str) -> Redirect:
    """To the sign-in page, and from there on to `then`."""
    return see_other(f"/login?next={quote(then, safe='')}")
