"""What forms and links say: where they lead next, and which of several is meant."""

from urllib.parse import quote, unquote

from litestar.response import Redirect


def inside(target: str) -> str:
    """`target` when it is a path of this shop, else the home page; nobody is led to another site."""
    if not (_plain(target) and _plain(unquote(target))):
        return "/"
    # What was escaped stays so: R%26D in a search is one word, R&D would be two parameters.
    return quote(target, safe="/?&=%:,-_.~+", errors="replace")


def _plain(path: str) -> bool:
    """Whether every browser takes this for a path of the site that it is on."""
    return path.startswith("/") and not path.startswith(("//", "/\\")) and not any(ord(c) < 32 for c in path)


def index_of(text: str, count: int) -> int | None:
    """The place in a list of `count` that a number in a form or address means, if there is one."""
    if not text.isdecimal() or len(text) > 9:  # Python refuses to read numbers of thousands of digits
        return None
    return number if (number := int(text)) < count else None


def see_other(path: str) -> Redirect:
    """After a change, look at the result."""
    return Redirect(path, status_code=303)


def sign_in_first(then: str) -> Redirect:
    """To the sign-in page, and from there on to `then`."""
    return see_other(f"/login?next={quote(then, safe='')}")


def free_name(name: str, taken: set[str]) -> str:
    """A deployment name that is not in use: the listing's own, else with a number."""
    base = name.rpartition("/")[2].replace("_", "-").replace(".", "-")[:44].strip("-") or "model"
    numbered = (f"{base}-{n}" for n in range(2, len(taken) + 3))
    return base if base not in taken else next(n for n in numbered if n not in taken)
