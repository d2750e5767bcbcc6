"""The words of refusals about imports and mirrors."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    # addresses
    "url-refused": Words(
        422,
        _("The address cannot be fetched"),
        _("{source}: {why}."),
        _("Write a plain http or https address of the file itself, without name or password."),
    ),
    "address-refused": Words(
        403,
        _("The address leads into a private network"),
        _("{host} stands for {address}, which imports may not go to."),
        _("An operator adds an own mirror to MARKET_IMPORT_PRIVATE; otherwise use a public one."),
    ),
    "redirects-endless": Words(
        502,
        _("The source leads from one address to the next"),
        _("{source} redirected more than {count} times."),
        _("Name the address that it leads to in the end."),
    ),
    "source-too-large": Words(
        413,
        _("The source sends too much"),
        _("{source} sends more than {limit} bytes."),
        _("Check the address; take a smaller file, or a part of it."),
    ),
    # sources
    "source-unknown": Words(
        422,
        _("The source is not written in a known form"),
        _("{source}: {why}."),
        _("Write it like one of the examples, such as hf://org/repo@main."),
    ),
    "source-denied": Words(
        403,
        _("The source wants a token"),
        _("{source} is not given to everybody."),
        _(
            "Accept its conditions there. The shop's key ({variable}, set before it starts) is used for "
            "operators' imports only: ask one of them, or fetch the files yourself and import those."
        ),
    ),
    "inner-path-missing": Words(
        422,
        _("The package has no such file"),
        _("{source} has no {file}. It has, among others: {near}."),
        _("Write one of these paths behind the source, or a folder or a pattern such as *.onnx."),
    ),
    "import-not-inferred": Words(
        422,
        _("The files do not say enough"),
        _("{source}: {why}."),
        _("Name what is missing in the import, or put a market.yaml beside the files."),
    ),
    "import-too-large": Words(
        507,
        _("The import does not fit on the disk"),
        _("{source} needs up to {needed} bytes, {free} are free. Nothing was fetched."),
        _("Make room on the disk of the shop's home, then retry."),
    ),
    # imports
    "vendor-needed": Words(
        409,
        _("Whose listing will it be?"),
        _("The account acts for no vendor, or for several: {known}."),
        _("Write the name as vendor/name; a first vendor is made on the vendor page."),
    ),
    "unknown-import": Words(
        404,
        _("No such import"),
        _("There is no import {id} of yours."),
        _("See your imports on the page of imports, or with market imports."),
    ),
    "import-busy": Words(
        409,
        _("This does not go now"),
        _("The import is {state}."),
        _("Cancel it first if it still runs; one that is done is not begun again."),
    ),
    "import-cancelled": Words(
        409,
        _("The import was cancelled"),
        _("Somebody stopped it before it was done."),
        _("Begin it again; what was fetched is kept until then."),
    ),
    # mirrors
    "unknown-mirror": Words(
        404,
        _("No such mirror"),
        _("You keep no mirror called {name}."),
        _("See your mirrors with market mirrors list."),
    ),
    "mirror-taken": Words(
        409,
        _("The listing is kept in step already"),
        _("{name} follows {source}."),
        _("Remove that mirror first, or import under another name."),
    ),
    "mirror-version-refused": Words(
        409,
        _("What the source has now did not pass the checks"),
        _("{name} {version} was imported, and stays a draft."),
        _("See its checks in the list of your versions; try once more with market mirrors run {name}."),
    ),
    "mirror-period-wrong": Words(
        422,
        _("Not so often, and not so seldom"),
        _("Between two looks lie {least} to {most} seconds."),
        _("Choose a time such as 6h or 1d."),
    ),
}
