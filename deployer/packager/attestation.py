"""Signed statements: DSSE envelopes (version 1) around in-toto statements, ECDSA P-256 with SHA-256.

What is parsed here comes from strangers: bounded in size, one meaning for each key, nothing believed before
a signature by a trusted key was seen over the very bytes that are then read.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from deployer.errors import VerificationFailed
from deployer.packager.layout import canonical
from deployer.packager.release import Sign

PAYLOAD = "application/vnd.in-toto+json"
LARGEST = 16 << 20  # bytes of an envelope
MOST_SIGNATURES = 16
STEPS_ZH = {
    "content": "内容",
    "signature": "签名",
    "source": "来源",
    "conversion": "转换",
    "quantisation": "量化",
    "evaluation": "评估",
    "checks": "检查",
    "measurement": "实测",
    "package": "打包",
    "bill": "物料清单",
}


@dataclass(frozen=True)
class Attested:
    """A statement that a trusted key signed."""

    statement: dict[str, Any]
    fingerprint: str
    """sha256 of the key that signed, DER, in hex."""


def refusal(subject: str, step: str, why: str, why_zh: str) -> VerificationFailed:
    """VerificationFailed, with the step named in both languages; strangers' names may steer no terminal."""
    step_zh = STEPS_ZH.get(step, step)
    subject, why, why_zh = map(_shown, (subject, why, why_zh))
    return VerificationFailed(subject=subject, step=step, step_zh=step_zh, why=why, why_zh=why_zh)


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)


def strict_json(data: bytes) -> Any:
    """JSON with one meaning: UTF-8, no key twice, no NaN; raises ValueError on anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key occurs twice")
        return found

    def never(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(data.decode(), object_pairs_hook=once, parse_constant=never)
    except RecursionError:
        raise ValueError("nested too deep") from None


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def fingerprint(public_key: bytes) -> str:
    """sha256 of a public key (PEM) in DER, in hex, which is its key id here; raises ValueError."""
    from cryptography.hazmat.primitives import serialization

    der = _load(public_key).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def sign(statement: bytes, signer: Sign | None, public_key: bytes) -> bytes:
    """The envelope of a statement; without a signer it has no signature, and holds for nobody."""
    signatures = []
    if signer is not None:
        signature = base64.b64encode(signer(pae(PAYLOAD, statement))).decode()
        signatures = [{"keyid": fingerprint(public_key), "sig": signature}]
    payload = base64.b64encode(statement).decode()
    return canonical({"payload": payload, "payloadType": PAYLOAD, "signatures": signatures})


def check(envelope: bytes, public_keys: Sequence[bytes], subject: str = "") -> Attested:
    """The statement, if one of the keys (PEM) signed it; raises VerificationFailed with the cause."""
    payload, signatures = _parse(envelope, subject)
    if not signatures:
        raise refusal(subject, "signature", "it is not signed", "没有签名")
    if not public_keys:
        raise refusal(
            subject,
            "signature",
            "there is no key to check it with; give the signer's with --key, or its --fingerprint",
            "没有可用来核对的公钥；请用 --key 指定签署者的公钥，或用 --fingerprint 指定其指纹",
        )
    signed = pae(PAYLOAD, payload)
    for public_key in public_keys:
        try:
            loaded, key_id = _load(public_key), fingerprint(public_key)
        except ValueError as error:
            raise refusal(subject, "signature", f"no usable key: {error}", f"公钥不可用：{error}") from None
        if any(_fits(loaded, signed, signature) for _, signature in signatures):
            return Attested(_statement(payload, subject), key_id)
    raise _not_theirs(subject, [claimed for claimed, _ in signatures])


def require_own_form(envelope: bytes, key_id: str, subject: str = "") -> None:
    """Refuse an envelope that is not byte for byte as `sign` writes it for this key."""
    payload, signatures = _parse(envelope, subject)
    told = [{"keyid": claimed, "sig": base64.b64encode(sig).decode()} for claimed, sig in signatures]
    plain = {"payload": base64.b64encode(payload).decode(), "payloadType": PAYLOAD, "signatures": told}
    if canonical(plain) != envelope or [claimed for claimed, _ in signatures] != [key_id]:
        raise refusal(subject, "signature", "its envelope was changed", "信封被改动过")


def unsigned(envelope: bytes, subject: str = "") -> dict[str, Any]:
    """What the statement says, whoever signed it or did not: to be shown as a claim, never as a fact."""
    return _statement(_parse(envelope, subject)[0], subject)


def _not_theirs(subject: str, claimed: list[str]) -> VerificationFailed:
    who = ", ".join(f"{key_id[:16]}…" if key_id else "?" for key_id in claimed)
    return refusal(
        subject,
        "signature",
        f"it was changed, or not signed with the key at hand; it names the key {who}"
        " (if you trust that signer, give the key with --key, or its --fingerprint)",
        f"内容被改动过，或者不是用手头的密钥签的；它写明的密钥是 {who}"
        "（如果信任该签署者，请用 --key 指定其公钥，或用 --fingerprint 指定指纹）",
    )


def _load(public_key: bytes) -> Any:
    """A P-256 public key out of PEM; raises ValueError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_public_key(public_key)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a P-256 key")
    return key


def _fits(key: Any, signed: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _parse(envelope: bytes, subject: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Payload, and key id and signature of each signer."""
    try:
        if len(envelope) > LARGEST:
            raise ValueError(f"{len(envelope)} bytes are too many")
        found = strict_json(envelope)
        if not isinstance(found, dict) or found.get("payloadType") != PAYLOAD:
            raise ValueError("not an envelope of an in-toto statement")
        payload, signatures = found.get("payload"), found.get("signatures")
        if not isinstance(payload, str) or not isinstance(signatures, list):
            raise ValueError("payload or signatures are missing")
        if len(signatures) > MOST_SIGNATURES:
            raise ValueError("too many signatures")
        return _bytes(payload), [_signature(each) for each in signatures]
    except ValueError as error:
        raise refusal(
            subject, "signature", f"the envelope cannot be read: {error}", f"信封无法读取：{error}"
        ) from None


def _signature(told: object) -> tuple[str, bytes]:
    if not isinstance(told, dict) or not isinstance(told.get("sig"), str):
        raise ValueError("a signature is not one")
    key_id = told.get("keyid", "")
    if not isinstance(key_id, str):
        raise ValueError("a key id is no text")
    return "".join(c for c in key_id if c.isalnum() or c in ":-_")[:64], _bytes(told["sig"])


def _bytes(text: str) -> bytes:
    """Standard or URL-safe base64, both of which DSSE allows."""
    try:
        return base64.b64decode(text.translate(str.maketrans("-_", "+/")).encode(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"no base64: {error}") from error


def _statement(payload: bytes, subject: str) -> dict[str, Any]:
    try:
        found = strict_json(payload)
    except ValueError as error:
        raise refusal(
            subject, "signature", f"the statement cannot be read: {error}", f"声明无法读取：{error}"
        ) from None
    if not isinstance(found, dict):
        raise refusal(subject, "signature", "the statement is no object", "声明的格式不对")
    return found
