"""Whose signature is believed: what commands ask of who checks a package or a bundle."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marketplace.cli.options import text
from marketplace.terminal import hint, say

if TYPE_CHECKING:
    from deployer.errors import VerificationFailed

key_option = click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=text("签署者的公钥（PEM）。", "Public key of who signed it (PEM)."),
)
fingerprint_option = click.option(
    "--fingerprint",
    help=text(
        "签署者公钥的指纹，由签署者当面告知。", "Fingerprint of the signer's key, as the signer told you."
    ),
)


class Signer:
    """Whether who signed is trusted: by a key that is given or known, by a fingerprint, or by asking."""

    def __init__(self, file: Path, key: Path | None, fingerprint: str | None) -> None:
        from marketplace.settings import load
        from marketplace.trust import known_keys

        self._file, self._home = file, load().home
        self._given = (fingerprint or "").replace(":", "").strip().lower()
        self._known = [key.read_bytes()] if key else known_keys(self._home)
        self.fingerprint, self.key = "", b""

    def __call__(self, content: bytes, envelope: bytes, key: bytes) -> None:
        """Raise unless a bundle's signature holds."""
        from deployer.packager import attestation
        from marketplace.bundles.signature import holds

        file = self._file.name
        signer = holds(content, envelope, key, known=self._known, file=file, ask=self._believes)
        if self._given not in ("", signer):
            raise _of_another(file, signer)
        self.fingerprint = signer
        self.key = next(each for each in [*self._known, key] if attestation.fingerprint(each) == signer)

    def _believes(self, fingerprint: str) -> bool:
        if self._given:
            return self._given == fingerprint
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        hint(
            f"还不认识 {self._file.name} 的签署者，公钥指纹是\n  {fingerprint}",
            f"{self._file.name} is signed by a key that is not known here; its fingerprint:\n  {fingerprint}",
        )
        return click.confirm(say("与制作者告知的一致吗？", "Is it what its maker told you?"), err=True)

    def remember(self) -> None:
        """Believe the key from now on."""
        from marketplace.trust import trust

        trust(self._home, self.key)

    def keys(self, brought: "Sequence[bytes]") -> list[bytes]:
        """The keys (PEM) to check a package with; of those that it brings, the one of the fingerprint.

        Raises VerificationFailed when none of those that it brings is that one.
        """
        from deployer.packager import attestation

        if not self._given:
            return self._known
        others = []
        for key in [*self._known, *brought]:
            with suppress(ValueError):
                fingerprint = attestation.fingerprint(key)
                if fingerprint == self._given:
                    return [key]
                if key in brought:
                    others.append(fingerprint)
        if others:
            raise _of_another(self._file.name, others[0])
        raise attestation.refusal(
            self._file.name,
            "signature",
            "no key of this fingerprint is known here, and none lies in it; give the key itself with --key",
            "这里没有该指纹的公钥，其中也没有附带；请用 --key 指定公钥本身",
        )


def _of_another(file: str, signer: str) -> "VerificationFailed":
    from deployer.packager import attestation

    return attestation.refusal(
        file,
        "signature",
        f"it is signed with the key {signer}, which is not the one that --fingerprint names",
        f"指纹不符：签署它的密钥是 {signer}，不是 --fingerprint 指明的那一把",
    )
