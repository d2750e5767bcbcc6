"""What may be done, by whom: one list of permissions, and which of them each role has.

A route names its permission where it is declared (`permission=Permission.publish`); `auth.authorize`
looks there for sessions and tokens alike, and a shop with a route that names none does not start. A token
may be narrowed to some of its account's permissions.
"""

from collections.abc import Iterable
from enum import StrEnum

from marketplace.people_errors import UnknownScope


class Permission(StrEnum):
    """subject:action, in the order of the alphabet."""

    manage_accounts = "accounts:manage"
    read_audit = "audit:read"
    browse = "catalogue:browse"
    manage_deployments = "deployments:manage"
    manage_imports = "imports:manage"
    manage_optimizations = "optimizations:manage"
    manage_packages = "packages:manage"
    publish = "publications:manage"
    write_ratings = "ratings:write"
    decide_reviews = "reviews:decide"
    manage_self = "self:manage"
    read_settings = "settings:read"
    use_socket = "shop:inside"
    create_sign_in_links = "sign-in-links:create"
    manage_vendors = "vendors:manage"
    vouch_vendors = "vendors:vouch"
    change_versions = "versions:change"


ANYONE = frozenset({Permission.browse, Permission.use_socket})
"""What needs no account. /internal refuses by itself whatever came through the gateway."""

EVERY_ACCOUNT = ANYONE | {Permission.manage_self}

ROLES: dict[str, frozenset[Permission]] = {
    "opc": EVERY_ACCOUNT
    | {
        Permission.manage_deployments,
        Permission.manage_imports,
        Permission.manage_optimizations,
        Permission.manage_packages,
        Permission.write_ratings,
    },
    "operator": EVERY_ACCOUNT
    | {
        Permission.create_sign_in_links,
        Permission.decide_reviews,
        Permission.manage_accounts,
        Permission.manage_deployments,
        Permission.manage_imports,
        Permission.read_audit,
        Permission.read_settings,
        Permission.vouch_vendors,
        Permission.change_versions,
    },
    "vendor": EVERY_ACCOUNT
    | {
        Permission.manage_imports,
        Permission.manage_vendors,
        Permission.publish,
        Permission.change_versions,
    },
}

PRESETS: dict[str, frozenset[Permission]] = {
    "publish": frozenset({Permission.browse, Permission.publish}),
    "read": frozenset({Permission.browse}),
}
"""Short names for what tokens are usually narrowed to; publish is the one for a build pipeline."""


GRANTABLE = frozenset(Permission) - {Permission.use_socket}
"""What a token can be narrowed to."""


def expand_scopes(names: Iterable[str]) -> frozenset[Permission]:
    """The permissions that scopes (permissions and presets) stand for; raises UnknownScope."""
    found: set[Permission] = set()
    for name in names:
        if name in PRESETS:
            found |= PRESETS[name]
        elif name in GRANTABLE:
            found.add(Permission(name))
        else:
            raise UnknownScope(scope=name, known=[*sorted(PRESETS), *sorted(GRANTABLE)])
    return frozenset(found)


def permissions_of(roles: frozenset[str] | list[str]) -> frozenset[Permission]:
    """Everything that an account with these roles may do."""
    return EVERY_ACCOUNT.union(*(ROLES.get(role, frozenset()) for role in roles))


def role_for(permission: Permission) -> str:
    """The role that brings a permission, to name in a refusal."""
    return next((role for role, has in ROLES.items() if permission in has), "")
