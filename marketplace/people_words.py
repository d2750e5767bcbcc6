"""The words of refusals about accounts, sign-in and tokens."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "account-disabled": Words(
        409,
        _("The account is disabled"),
        _("{name} cannot sign in at present."),
        _("Enable it first: market accounts enable {name}"),
    ),
    "account-exists": Words(
        409,
        _("The name is in use"),
        _("There is an account called {name} already."),
        _("Choose another name."),
    ),
    "invalid-account-name": Words(
        422,
        _("This name cannot be used"),
        _("{name} is not a name of letters, digits, dots, hyphens and underscores, 64 at most."),
        _("Choose a name such as li-hua."),
    ),
    "invalid-password": Words(
        422,
        _("This password is not taken"),
        _("A password has {least} to {most} characters and is more than the account's name."),
        _("Take a few words that go together only for you."),
    ),
    "invalid-token": Words(
        422,
        _("A token cannot be made like this"),
        _("{why}."),
        _("Correct it and try again."),
    ),
    "key-refused": Words(
        401,
        _("This key opens nothing"),
        _("It is unknown, expired or revoked, or its account is disabled."),
        _("Make a new one on the settings page, or with: market tokens create"),
    ),
    "last-operator": Words(
        409,
        _("Somebody must run the shop"),
        _("{name} is the last operator who can sign in."),
        _("Give the role to another account first."),
    ),
    "scope-too-wide": Words(
        403,
        _("A token cannot do more than its maker"),
        _("You may not hand on: {scopes}."),
        _("Leave these out, or ask an operator for the role."),
    ),
    "session-needed": Words(
        403,
        _("Not with a token"),
        _("Passwords and links that sign in are changed by a person in a browser."),
        _("Sign in and open the settings page."),
    ),
    "token-too-narrow": Words(
        403,
        _("This token may not do that"),
        _("The account may, but the token was made without {permission} (role {role})."),
        _("Make a token with this scope: market tokens create NAME --scope {permission}"),
    ),
    "too-many-attempts": Words(
        429,
        _("Too many wrong attempts"),
        _("The next one is looked at in {seconds} seconds."),
        _("Wait so long, or sign in by a link: market login-link"),
    ),
    "unknown-account": Words(
        404,
        _("No such account"),
        _("Nobody here is called {name}."),
        _("See who is: market accounts list"),
    ),
    "unknown-role": Words(
        422, _("No such role"), _("{role} is not one of: {known}."), _("Choose one of these.")
    ),
    "unknown-scope": Words(
        422, _("No such scope"), _("{scope} is not one of: {known}."), _("Choose one of these.")
    ),
    "unknown-session": Words(
        404,
        _("No such browser"),
        _("It has signed out already, or was never signed in here."),
        _("Open the settings page again."),
    ),
    "unknown-token": Words(
        404,
        _("No such token"),
        _("You have no token {id} that still opens something."),
        _("See yours with: market tokens list"),
    ),
    "wrong-password": Words(
        403,
        _("The present password is not right"),
        _("It is asked for before it is changed."),
        _("Try again; who has forgotten it signs in by a link and asks an operator to take it away."),
    ),
    "wrong-sign-in": Words(
        401,
        _("Name or password is not right"),
        _("Which of the two is not said."),
        _("Try again, or sign in by a link: market login-link"),
    ),
}

PERMISSIONS: dict[str, str] = {
    "accounts:manage": _("Make accounts, change roles, disable"),
    "audit:read": _("Read the audit log"),
    "catalogue:browse": _("Search and read the catalogue"),
    "deployments:manage": _("Deploy, call, stop and remove"),
    "imports:manage": _("Import models"),
    "optimizations:manage": _("Optimise models"),
    "packages:manage": _("Package models"),
    "publications:manage": _("Publish versions"),
    "ratings:write": _("Rate what was deployed"),
    "reviews:decide": _("Decide reviews"),
    "self:manage": _("Own tokens and browsers"),
    "settings:read": _("Read the shop's settings"),
    "shop:inside": _("What the shop's own processes ask"),
    "sign-in-links:create": _("Make sign-in links"),
    "vendors:manage": _("Found vendors and prove their names"),
    "vendors:vouch": _("Vouch for vendors"),
    "versions:change": _("Deprecate, yank and relist versions"),
}
"""What each permission lets one do, in a few words."""

ACTIONS: dict[str, str] = {
    "account:create": _("account made"),
    "account:disable": _("account disabled"),
    "account:enable": _("account enabled"),
    "account:roles": _("roles changed"),
    "deployment:begin": _("deployment begun"),
    "deployment:remove": _("deployment removed"),
    "deployment:stop": _("deployment stopped"),
    "import:begin": _("import begun"),
    "import:cancel": _("import cancelled"),
    "import:remove": _("import forgotten"),
    "import:retry": _("import begun again"),
    "key:create": _("key made"),
    "login-link:create": _("sign-in link made"),
    "mirror:create": _("mirror made"),
    "mirror:remove": _("mirror removed"),
    "mirror:run": _("mirror looked at its source"),
    "optimization:begin": _("optimisation begun"),
    "package:begin": _("package begun"),
    "password:change": _("password changed"),
    "password:reset": _("password taken away"),
    "rating:hide": _("rating hidden"),
    "rating:remove": _("rating removed"),
    "rating:show": _("rating shown again"),
    "rating:write": _("rating written"),
    "session:end": _("browsers signed out"),
    "session:refused": _("sign-in refused"),
    "session:sign-in": _("signed in"),
    "token:create": _("token made"),
    "token:revoke": _("token revoked"),
    "vendor:prove": _("vendor's name proved"),
    "vendor:vouch": _("vendor vouched for"),
    "version:approve": _("version approved"),
    "version:change": _("version's state changed"),
    "version:recheck": _("version checked again"),
    "version:reject": _("version rejected"),
    "vendor-member:remove": _("member of a vendor removed"),
    "vendor-member:set": _("member of a vendor taken in"),
    "vendor:allow-proof": _("vendor may prove its name again"),
    "vendor:change": _("vendor described anew"),
    "vendor:create": _("vendor made"),
    "vendor:unprove": _("proof of a vendor taken back"),
    "version:begin": _("draft begun"),
    "version:check": _("checks begun"),
    "version:discard": _("draft removed"),
}
"""What was done, for the audit log; actions of other parts have their words here too."""
