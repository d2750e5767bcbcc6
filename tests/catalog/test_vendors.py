import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlmodel import Session

from catalog import vendor_proof, vendors
from catalog.errors import FetchError, SourceMissing
from catalog.importers.errors import AddressRefused
from catalog.importers.reach import Reach
from catalog.vendor_proof import ProofMissing
from catalog.vendors import NewVendor

ME, OTHER, THIRD = uuid4(), uuid4(), uuid4()
TOKEN = "0123456789abcdef"
RECORD = f"opc-market-vendor={TOKEN}"


def make(db: Session, name: str = "acme") -> vendors.Vendor:
    made = vendors.create_vendor(db, NewVendor(name, "某商家", "Acme"), ME)
    db.commit()
    return made


# Names


@pytest.mark.parametrize("name", ["acme", "a1", "zhang-san-studio", "x" * 40, "2026-ai"])
def test_names_that_a_vendor_may_have(db: Session, name: str) -> None:
    assert make(db, name).verified is False


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "Acme",
        "-acme",
        "acme-",
        "ac--me",
        "ac_me",
        "ac.me",
        "ac me",
        "阿珂",
        "асme",
        "x" * 41,
        "a/b",
        "a\n",
    ],
)
def test_names_that_are_no_names(db: Session, name: str) -> None:
    with pytest.raises(vendors.VendorRefused, match="small letters"):
        make(db, name)


@pytest.mark.parametrize("name", ["opc-market", "api", "hf", "admin", "v2", "www", "well-known"])
def test_reserved_names(db: Session, name: str) -> None:
    with pytest.raises(vendors.VendorRefused, match="reserved"):
        make(db, name)


@pytest.mark.parametrize(
    ("first", "second"),
    [("acme", "acrne"), ("kimi", "klml"), ("bool", "b001"), ("zhang-san", "zhangsan"), ("five", "flve")],
)
def test_names_that_are_taken_for_another_are_refused(db: Session, first: str, second: str) -> None:
    make(db, first)
    with pytest.raises(vendors.VendorRefused, match=f"looks like {first}"):
        make(db, second)


def test_nobody_looks_like_the_market_itself(db: Session) -> None:
    for name in ("opcmarket", "0pc-market", "opc-rnarket"):
        with pytest.raises(vendors.VendorRefused, match="looks like opc-market"):
            make(db, name)


def test_a_name_is_given_once(db: Session) -> None:
    make(db)
    with pytest.raises(vendors.VendorTaken):
        make(db)


@pytest.mark.parametrize("title", ["", "  ", "x" * 61, "a\nb", "a\u202eb"])
def test_titles_are_one_short_line(db: Session, title: str) -> None:
    with pytest.raises(vendors.VendorRefused, match="title"):
        vendors.create_vendor(db, NewVendor("acme", title, "Acme"), ME)
    vendor = make(db)
    with pytest.raises(vendors.VendorRefused, match="title"):
        vendors.describe(db, vendor, title_zh="好", title_en=title)


# Members


def test_owners_and_publishers(db: Session) -> None:
    vendor = make(db)
    vendors.set_member(db, vendor, OTHER, "publisher")
    vendors.require_member(db, vendor, OTHER)
    with pytest.raises(vendors.NotMember) as refused:
        vendors.require_member(db, vendor, OTHER, owner=True)
    assert refused.value.facts == {"vendor": "acme", "role": "owner"}
    with pytest.raises(vendors.NotMember):
        vendors.require_member(db, vendor, THIRD)
    vendors.set_member(db, vendor, OTHER, "owner")
    vendors.require_member(db, vendor, OTHER, owner=True)
    assert [(v.name, role) for v, role in vendors.vendors_of(db, OTHER)] == [("acme", "owner")]
    with pytest.raises(vendors.VendorRefused):
        vendors.set_member(db, vendor, OTHER, "emperor")


def test_the_last_owner_stays(db: Session) -> None:
    vendor = make(db)
    vendors.set_member(db, vendor, OTHER, "publisher")
    with pytest.raises(vendors.LastOwner):
        vendors.remove_member(db, vendor, ME, "me")
    with pytest.raises(vendors.LastOwner):
        vendors.set_member(db, vendor, ME, "publisher")
    vendors.set_member(db, vendor, OTHER, "owner")
    vendors.remove_member(db, vendor, ME, "me")
    with pytest.raises(vendors.UnknownMember):
        vendors.remove_member(db, vendor, ME, "me")
    assert [m.account_id for m in vendors.members_of(db, vendor)] == [OTHER]


# Proof by DNS


class NameServer:
    """A name server on the loopback with TXT records, over UDP and TCP."""

    def __init__(self, records: dict[str, list[str]], *, silent: bool = False) -> None:
        self.records, self.silent = records, silent
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.port = self.udp.getsockname()[1]
        self.tcp = socket.create_server(("127.0.0.1", self.port))
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self._udp, self._tcp)]

    def __enter__(self) -> "NameServer":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        closing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        closing.sendto(b"", ("127.0.0.1", self.port))
        closing.close()
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        for thread in self.threads:
            thread.join()
        self.udp.close()
        self.tcp.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _answer(self, wire: bytes, *, most: int) -> bytes:
        query = dns.message.from_wire(wire)
        response = dns.message.make_response(query)
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        if name not in self.records:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif texts := self.records[name]:
            quoted = [" ".join(f'"{t[n : n + 200]}"' for n in range(0, len(t), 200)) for t in texts]
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "TXT", *quoted))
        wire = response.to_wire(max_size=65535)
        if len(wire) > most:
            response.answer.clear()
            response.flags |= dns.flags.TC
            wire = response.to_wire()
        return wire

    def _udp(self) -> None:
        while True:
            wire, sender = self.udp.recvfrom(65535)
            if not wire:
                return
            if not self.silent:
                self.udp.sendto(self._answer(wire, most=512), sender)

    def _tcp(self) -> None:
        while True:
            connection, _ = self.tcp.accept()
            with connection:
                head = connection.recv(2)
                if not head:
                    return
                wire = connection.recv(struct.unpack("!H", head)[0])
                answer = self._answer(wire, most=65535)
                connection.sendall(struct.pack("!H", len(answer)) + answer)


def test_a_record_proves_a_name() -> None:
    records = {"acme.example": ["v=spf1 -all", RECORD]}
    with NameServer(records) as server:
        vendor_proof.look_in_dns("acme", "acme.example", TOKEN, [server.address])


def test_a_record_among_many_is_found_over_tcp() -> None:
    with NameServer({"acme.example": [*[f"{n}" * 100 for n in range(10)], RECORD]}) as server:
        vendor_proof.look_in_dns("acme", "acme.example", TOKEN, [server.address])


@pytest.mark.parametrize(
    "texts", [[], ["v=spf1"], ["opc-market-vendor=other"], [RECORD + "0"], ["x" + RECORD]]
)
def test_other_records_do_not(texts: list[str]) -> None:
    with NameServer({"acme.example": texts}) as server, pytest.raises(ProofMissing) as refused:
        vendor_proof.look_in_dns("acme", "acme.example", TOKEN, [server.address])
    facts = refused.value.facts
    assert facts["expected"] == RECORD and facts["place"] == "TXT acme.example"


def test_a_domain_that_there_is_not_has_no_proof() -> None:
    with NameServer({}) as server, pytest.raises(ProofMissing):
        vendor_proof.look_in_dns("acme", "acme.example", TOKEN, [server.address])


def test_a_silent_name_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_proof, "SECONDS", 0.5)
    with NameServer({}, silent=True) as server, pytest.raises(vendor_proof.DnsUnreachable):
        vendor_proof.look_in_dns("acme", "acme.example", TOKEN, [server.address])


@pytest.mark.parametrize(
    ("given", "domain"),
    [
        ("Example.COM", "example.com"),
        (" example.com. ", "example.com"),
        ("例子.中国", "xn--fsqu00a.xn--fiqs8s"),
    ],
)
def test_domains_are_brought_into_one_form(given: str, domain: str) -> None:
    assert vendor_proof.domain_of(given) == domain


@pytest.mark.parametrize(
    "given",
    [
        "",
        "localhost",
        "127.0.0.1",
        "::1",
        "https://example.com",
        "example.com/x",
        "a..b",
        "-a.com",
        "a.1",
        "x" * 300,
        "example.com:443",
        "user@example.com",
        "a b.com",
        "\u2024\u2024",
    ],
)
def test_what_is_no_domain_is_refused(given: str) -> None:
    with pytest.raises(vendor_proof.DomainRefused):
        vendor_proof.domain_of(given)


# Proof by a file


@contextmanager
def site(folder: Path, pages: dict[str, tuple[int, dict[str, str], str]]) -> Iterator[tuple[int, Reach]]:
    """An https site for every name, and a reach that finds them all on it and trusts its certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = pages.get(self.path, (404, {}, "nothing"))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("acme.example"), x509.DNSName("www.acme.example"), x509.DNSName("evil.example")]
            ),
            False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        reach = Reach(
            hosts=frozenset({"acme.example", "www.acme.example", "evil.example"}),
            resolver=lambda host, port: ["127.0.0.1"],
            certificates=str(folder / "cert.pem"),
        )
        yield server.server_address[1], reach
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_file_on_the_site_proves_a_name(tmp_path: Path) -> None:
    with site(tmp_path, {vendor_proof.FILE: (200, {}, f"# ours\n{RECORD}\n")}) as (port, reach):
        vendor_proof.look_in_file("acme", "acme.example", TOKEN, reach, port)


def test_a_site_that_does_not_have_it(tmp_path: Path) -> None:
    with site(tmp_path, {}) as (port, reach), pytest.raises(SourceMissing):
        vendor_proof.look_in_file("acme", "acme.example", TOKEN, reach, port)


def test_a_file_that_says_something_else(tmp_path: Path) -> None:
    pages = {vendor_proof.FILE: (200, {}, "opc-market-vendor=other")}
    with site(tmp_path, pages) as (port, reach), pytest.raises(ProofMissing) as refused:
        vendor_proof.look_in_file("acme", "acme.example", TOKEN, reach, port)
    assert refused.value.facts["found"] == ["opc-market-vendor=other"]


@pytest.mark.parametrize(("host", "proved"), [("www.acme.example", True), ("evil.example", False)])
def test_a_redirect_counts_within_the_domain_only(tmp_path: Path, host: str, proved: bool) -> None:
    pages: dict[str, tuple[int, dict[str, str], str]] = {"/elsewhere": (200, {}, RECORD)}
    with site(tmp_path, pages) as (port, reach):
        pages[vendor_proof.FILE] = (302, {"Location": f"https://{host}:{port}/elsewhere"}, "")
        if proved:
            vendor_proof.look_in_file("acme", "acme.example", TOKEN, reach, port)
        else:
            with pytest.raises(ProofMissing):
                vendor_proof.look_in_file("acme", "acme.example", TOKEN, reach, port)


def test_a_domain_that_leads_inside_is_not_asked(tmp_path: Path) -> None:
    with site(tmp_path, {vendor_proof.FILE: (200, {}, RECORD)}) as (port, _):
        reach = Reach(resolver=lambda host, port: ["127.0.0.1"], certificates=str(tmp_path / "cert.pem"))
        with pytest.raises(AddressRefused):
            vendor_proof.look_in_file("acme", "acme.example", TOKEN, reach, port)


def test_a_page_without_end_is_not_read(tmp_path: Path) -> None:
    with (
        site(tmp_path, {vendor_proof.FILE: (200, {}, "x" * 100_000)}) as (port, reach),
        pytest.raises(FetchError),
    ):
        vendor_proof.look_in_file("acme", "acme.example", TOKEN, reach, port)


def test_proved_and_taken_back(db: Session) -> None:
    vendor = make(db)
    with pytest.raises(vendors.VendorUnproved):
        vendors.require_proved(vendor)
    vendors.mark_proved(db, vendor, "dns", "acme.example")
    vendors.require_proved(vendor)
    assert (vendor.proof, vendor.domain) == ("dns", "acme.example") and vendor.proved
    vendors.mark_unproved(db, vendor)
    assert (vendor.verified, vendor.domain) == (False, "")


def test_what_an_operator_took_back_is_proved_again_with_an_operator_only(db: Session) -> None:
    vendor = make(db)
    vendors.require_provable(vendor)
    for open_again in (vendors.allow_proof, lambda db, vendor: vendors.mark_proved(db, vendor, "operator")):
        vendors.mark_unproved(db, vendor)
        with pytest.raises(vendors.ProofWithdrawn):
            vendors.require_provable(vendor)
        open_again(db, vendor)
        vendors.require_provable(vendor)
