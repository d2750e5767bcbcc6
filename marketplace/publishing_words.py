"""The words of refusals about publishing, uploads and vendors."""

from marketplace.i18n import mark as _
from marketplace.problem_words import Words

WORDS: dict[str, Words] = {
    "version-state-refused": Words(
        409,
        _("The version cannot come to this state"),
        _("{number} is {state}; from there it cannot become {wanted}."),
        _("Look at its history; a version that was submitted is not changed, publish a new number instead."),
    ),
    "version-not-ready": Words(
        409,
        _("The version cannot be used yet"),
        _("{name}@{version} is {state}: only what passed its checks, and was not rejected, may run."),
        _("See what the checks say with market versions {name}, mend it and publish it again."),
    ),
    "version-withheld": Words(
        403,
        _("An operator took the version away"),
        _("{name}@{version} was taken off the shelf by an operator, so nobody new is given it: {why}"),
        _("Use another version; market versions {name} shows which there are. What runs already goes on."),
    ),
    "changed-meanwhile": Words(
        409,
        _("It is not what you have read any more"),
        _("The vendor took {name}@{version} back and submitted it again with other words, terms or files."),
        _("Read it again, then decide."),
    ),
    "checked-by-older-rules": Words(
        409,
        _("Today's rules have not checked it yet"),
        _("{name}@{version} was let through by older rules, and is looked at again before it can be listed."),
        _("Try again once its checks have ended; market review rescan {name}@{version} begins them anew."),
    ),
    "version-busy": Words(
        409,
        _("The version is being checked"),
        _("{name}@{version} cannot be replaced while its checks run."),
        _("Wait until they end, or publish another number."),
    ),
    "publication-incomplete": Words(
        409,
        _("Files are missing"),
        _("{count} files of {name}@{version} have not come yet: {missing}."),
        _("Run market publish on the folder again; it sends what is missing and goes on where it stopped."),
    ),
    "reason-needed": Words(
        422,
        _("A reason is needed"),
        _("To make {name}@{version} {state}, say why: people who use it will read it."),
        _("Give the reason, on the command line with --why."),
    ),
    "taken-off-by-operator": Words(
        403,
        _("An operator took it off the shelf"),
        _("{name}@{version} was taken off by an operator, so only an operator can list it again."),
        _("Read the reason in its history; publish a new number once it is mended."),
    ),
    "unknown-finding": Words(
        422,
        _("No such kind of finding"),
        _("{kind} is not a kind of finding."),
        _("Use one of {known}."),
    ),
    "sandbox-needed": Words(
        409,
        _("Nobody has reviewed this version"),
        _("{version} may run in a full sandbox only; {runtime} has {sandbox} on this machine."),
        _("Deploy it with --runtime docker, see market doctor for what is missing, or wait for the review."),
    ),
    "unknown-upload": Words(
        404,
        _("No such upload"),
        _("There is no upload {id} of this account; one that is idle for a day is removed."),
        _("Announce the file again."),
    ),
    "upload-offset-wrong": Words(
        409,
        _("The piece does not fit here"),
        _("It begins at byte {offset}, but {received} bytes are here."),
        _("Go on from there; nothing that came is lost."),
    ),
    "upload-too-long": Words(
        413,
        _("The piece is too long"),
        _("It comes to {size} bytes; at most {limit} are taken."),
        _("Send no more than was announced, in pieces that are not larger than the upload says."),
    ),
    "upload-corrupted": Words(
        422,
        _("The file is not what was announced"),
        _("Its digest is {got}, {expected} was announced."),
        _("The file has changed, or was damaged on its way: announce and send it again."),
    ),
    "upload-limit": Words(
        409,
        _("Too many bytes are under way"),
        _("{used} bytes of this account are under way; with {size} more they would exceed {limit}."),
        _("Publish or remove what is under way, or ask the operator to raise MARKET_UPLOAD_LIMIT."),
    ),
    "unknown-vendor": Words(
        404,
        _("No such vendor"),
        _("Nobody publishes as {vendor}."),
        _("Make the vendor with market vendors create {vendor}, or correct the name in market.yaml."),
    ),
    "vendor-taken": Words(
        409,
        _("The vendor is already there"),
        _("Somebody publishes as {vendor}."),
        _("Choose another name, or ask its owner to take you in as a member."),
    ),
    "vendor-refused": Words(
        422,
        _("The vendor cannot be called so"),
        _("{vendor}: {why}."),
        _("Choose another name; it cannot be changed later."),
    ),
    "not-a-member": Words(
        403,
        _("You do not act for this vendor"),
        _("For this one must be {role} of {vendor}."),
        _("Ask an owner of {vendor} to take you in with market vendors members {vendor} --add NAME."),
    ),
    "last-owner": Words(
        409,
        _("A vendor needs an owner"),
        _("This is the last owner of {vendor}."),
        _("Make somebody else an owner first."),
    ),
    "unknown-member": Words(
        404,
        _("No such member"),
        _("{account} does not act for {vendor}."),
        _("See who does with market vendors members {vendor}."),
    ),
    "vendor-unproved": Words(
        409,
        _("The vendor's name is not proved"),
        _("Nobody has proved yet that {vendor} is who it says, so nothing of it is listed."),
        _("Prove it with market vendors prove {vendor}, or have an operator vouch; --draft goes on without."),
    ),
    "proof-withdrawn": Words(
        403,
        _("An operator took the proof of this name back"),
        _("{vendor} cannot prove its name by itself any more."),
        _("Ask an operator to vouch for it, or to allow another proof."),
    ),
    "unknown-proof": Words(
        422,
        _("No such way to prove a name"),
        _("{way} is not a way to prove a name."),
        _("Use dns or file."),
    ),
    "domain-refused": Words(
        422,
        _("That is not a domain"),
        _("{domain} is not the name of a domain on the Internet."),
        _("Write a name such as example.com, without https:// and without a path."),
    ),
    "proof-missing": Words(
        409,
        _("The proof is not there"),
        _("{place} does not say {expected}; found: {found}."),
        _("Put it there and try again; a new DNS record may take some minutes to be seen."),
    ),
    "dns-unreachable": Words(
        502,
        _("No name server answered"),
        _("{domain} could not be looked up: {why}."),
        _("Try again, use the file on your site, or set MARKET_DNS_SERVERS."),
    ),
}
