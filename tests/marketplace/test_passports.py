"""Passports: signed, the same from the same facts, verified offline, and refused once a byte is another."""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine

from catalog import blobs, signing
from catalog.models import Check, CheckState, Listing, Verdict, Version, utcnow
from deployer.packager import attestation, evidence, verify
from marketplace import checks, passports
from marketplace.cli import main, proved
from marketplace.db import read_session, transaction
from marketplace.passports import NoPassport, Passport
from marketplace.settings import Settings, load
from tests.marketplace import shelves

WEIGHTS = b"not a graph, but of a digest"
STEPS = ["content", "signature", "source", "conversion", "quantisation", "evaluation"]
FULL = [*STEPS, "checks", "measurement", "package", "bill"]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a home, which the command line finds too."""
    for name in ("MARKET_URL", "MARKET_KEY", "MARKET_LANG", "LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_GB.UTF-8")
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "home"))
    return load()


@pytest.fixture
def made(engine: Engine, settings: Settings, tmp_path: Path) -> Passport:
    """The passport of a version that was checked and measured."""
    with transaction(engine) as db:
        listing, version = published(db, settings.home, tmp_path)
        return passports.make(settings, db, listing, version)


def published(db: Any, home: Path, tmp_path: Path) -> tuple[Listing, Version]:
    source = tmp_path / "model.onnx"
    source.write_bytes(WEIGHTS)
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    blobs.put(home, source, sha256)
    listing, version = shelves.listed(
        db, artifacts=[{"path": "model.onnx", "sha256": sha256, "size": len(WEIGHTS)}]
    )
    version.claims, version.measured = (
        {"latency_ms": 4},
        {"latency_ms": {"p50": 3.1, "p95": 4.0, "n": 200}, "device": "cpu"},
    )
    version.rules, version.checked, version.source = "1", utcnow(), "weights of our own"
    for position, (check, path, verdict) in enumerate(
        [("manifest", "", "pass"), ("format", "model.onnx", "pass"), ("card", "", "warn")]
    ):
        db.add(
            Check(
                version_id=version.id,
                position=position,
                check=check,
                path=path,
                verdict=verdict,
                code="card-short" if verdict == "warn" else "",
                scanner="opc-market",
                scanner_version="1",
            )
        )
    db.flush()
    folder = blobs.materialize(home, version.manifest, version.digest)
    signing.sign(home, folder, version.digest)
    return listing, version


def written(made: Passport, folder: Path) -> Path:
    folder.mkdir()
    for name, content in made.files.items():
        (folder / name).write_bytes(content)
    return folder


def told(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["verify", *map(str, arguments), "--json"])
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (0 if found["holds"] else 1), done.stderr
    return found


def test_the_same_facts_give_the_same_bytes(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    with transaction(engine) as db:
        listing, version = published(db, settings.home, tmp_path)
        first = passports.make(settings, db, listing, version)
        again = passports.make(settings, db, listing, version)
    assert first.files == again.files
    assert passports.archive(first) == passports.archive(again)


def test_it_holds_everything_from_the_source_to_the_bill(made: Passport) -> None:
    assert list(made.files) == [
        "passport.intoto.json",
        "manifest.json",
        "bom.cdx.json",
        "card.md",
        "model.sig",
        "signing.pub.pem",
    ]
    bill = json.loads(made.files["bom.cdx.json"])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.7")
    assert bill["metadata"]["component"]["type"] == "machine-learning-model"
    statement = attestation.unsigned(made.files["passport.intoto.json"])
    assert {one["name"] for one in statement["subject"]} == set(made.files) - {"passport.intoto.json"}
    assert [row["verdict"] for row in made.step("checks")["rows"]] == ["pass", "pass", "warn"]
    assert made.step("measurement")["measured"]["latency_ms"]["p50"] == 3.1
    assert made.step("package")["facts"]["vendor"]["name"] == "acme"
    assert made.step("package")["in"][0]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_no_person_is_named_in_it(engine: Engine, settings: Settings, tmp_path: Path) -> None:
    with transaction(engine) as db:
        listing, version = published(db, settings.home, tmp_path)
        person = shelves.account(db, "somebody-with-a-name", "vendor")
        shelves.join(db, listing, person)
        version.created_by = person.id
        found = passports.make(settings, db, listing, version)
    everything = b"".join(found.files.values()) + json.dumps(found.chain).encode()
    assert b"somebody" not in everything and str(person.id).encode() not in everything


def test_the_model_s_signature_holds_over_the_model_s_own_folder(
    made: Passport, settings: Settings, tmp_path: Path
) -> None:
    folder = written(made, tmp_path / "passport")
    signing.verify_folder(
        made.release.folder, folder / "model.sig", folder / "signing.pub.pem", subject="model"
    )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.onnx").write_bytes(b"another")
    with pytest.raises(signing.SignatureInvalid):
        signing.verify_folder(
            tmp_path / "other", folder / "model.sig", folder / "signing.pub.pem", subject="model"
        )


def test_the_command_line_counts_as_the_page_does(made: Passport) -> None:
    told = dict(proved.passport_rows(made.chain))
    assert told["Checks"] == "2 passed, 1 with a warning (opc-market 1)"
    assert told["Source"] == "unknown; the vendor states weights of our own"
    rows = [{"verdict": verdict, "scanner": "x", "scanner_version": "1"} for verdict in ("pass", "unknown")]
    unsure = {"steps": [{"step": "checks", "rows": rows}]}
    assert dict(proved.passport_rows(unsure)) == {"Checks": "1 passed, 1 without a verdict (x 1)"}


@pytest.mark.parametrize("form", ["folder", "statement", "archive"])
def test_it_verifies_offline_in_every_form(made: Passport, tmp_path: Path, form: str) -> None:
    subject = written(made, tmp_path / "passport")
    if form == "statement":
        subject = subject / "passport.intoto.json"
    elif form == "archive":
        subject = tmp_path / "passport.zip"
        subject.write_bytes(passports.archive(made))
    found = told(subject)
    assert found["holds"] and found["own"]
    assert [step["step"] for step in found["steps"]] == FULL
    verdicts = {step["step"]: step["verdict"] for step in found["steps"]}
    assert verdicts["checks"] == verdicts["measurement"] == verdicts["bill"] == "holds"
    assert verdicts["source"] == "unknown"  # a vendor's upload: nobody wrote down where it came from
    done = CliRunner().invoke(main, ["verify", str(subject)])
    for words in (
        "2 passed, 1 with a warning (opc-market 1)",
        "3.1 ms measured, claimed 4 ms",
        "acme/reader",
    ):
        assert words in done.stdout


def test_only_a_signer_who_is_trusted_counts(
    made: Passport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(made, tmp_path / "passport")
    monkeypatch.setenv("MARKET_HOME", str(tmp_path / "elsewhere"))
    assert told(folder)["error"]["code"] == "verification-failed"
    assert told(folder, "--key", folder / "signing.pub.pem")["holds"]
    assert told(folder, "--fingerprint", made.fingerprint)["holds"]
    assert "指纹不符" in told(folder, "--fingerprint", "0" * 64)["error"]["facts"]["why_zh"]
    (folder / "signing.pub.pem").unlink()
    without = told(folder, "--fingerprint", made.fingerprint)["error"]["facts"]
    assert "give the key itself with --key" in without["why"] and "--fingerprint" not in without["why"]


def test_a_statement_without_its_documents_is_refused(made: Passport, tmp_path: Path) -> None:
    (tmp_path / "passport.intoto.json").write_bytes(made.files["passport.intoto.json"])
    found = told(tmp_path / "passport.intoto.json")
    assert not found["holds"] and "missing" in found["error"]["detail"]


def flipped(content: bytes, places: int) -> Iterator[tuple[int, bytes]]:
    """The content with one byte changed, at places all over it."""
    for at in sorted({*range(0, len(content), max(1, len(content) // places)), len(content) - 1}):
        yield at, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_any_byte_that_is_another_is_refused(made: Passport, tmp_path: Path) -> None:
    folder = written(made, tmp_path / "passport")
    key = made.files["signing.pub.pem"]
    assert verify.look(evidence.of_folder(folder), [key]).holds
    for name, content in made.files.items():
        for at, changed in flipped(content, 60):
            (folder / name).write_bytes(changed)
            try:
                holds = verify.look(evidence.of_folder(folder), [key]).holds
            except verify.VerificationFailed:
                holds = False
            assert not holds, (name, at)
        for grown in (content + b"\n", content + b" ", b" " + content, content[:-1]):
            (folder / name).write_bytes(grown)
            assert not verify.look(evidence.of_folder(folder), [key]).holds, name
        (folder / name).write_bytes(content)
    (folder / "more.txt").write_text("x")
    assert not verify.look(evidence.of_folder(folder), [key]).holds


def test_every_byte_of_the_signed_envelope_counts(made: Passport, tmp_path: Path) -> None:
    folder = written(made, tmp_path / "passport")
    key, content = made.files["signing.pub.pem"], made.files["passport.intoto.json"]
    tail = content.index(b'"payloadType"')  # the type, the key's id and the signature
    for at in range(tail, len(content)):
        changed = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        (folder / "passport.intoto.json").write_bytes(changed)
        assert not verify.look(evidence.of_folder(folder), [key]).holds, at


@pytest.mark.parametrize("what", ["fail", "unknown"])
def test_a_check_that_is_not_good_is_never_shown_as_good(
    engine: Engine, settings: Settings, tmp_path: Path, what: str
) -> None:
    with transaction(engine) as db:
        listing, version = published(db, settings.home, tmp_path)
        db.add(Check(version_id=version.id, position=9, check="format", path="x", verdict=Verdict(what)))
        db.flush()
        found = passports.make(settings, db, listing, version)
    result = told(written(found, tmp_path / "passport"))
    verdicts = {step["step"]: step["verdict"] for step in result["steps"]}
    assert verdicts["checks"] == {"fail": "fails", "unknown": "unknown"}[what]
    assert result["holds"] == (what == "unknown")


def test_a_version_whose_checks_have_not_passed_has_none(engine: Engine, settings: Settings) -> None:
    with transaction(engine) as db:
        listing, version = shelves.listed(db)
        version.check_state = CheckState.running
        with pytest.raises(NoPassport):
            passports.make(settings, db, listing, version)


def test_the_market_s_own_version_says_that_it_was_not_checked(engine: Engine, settings: Settings) -> None:
    with transaction(engine) as db:
        listing, version = shelves.listed(db)
        version.check_state = CheckState.passed
        found = passports.make(settings, db, listing, version)
    assert found.step("checks") == {} and found.step("measurement") == {}
    with read_session(engine) as db:
        assert checks.rows_of(db, db.get_one(Version, version.id)) == []


def test_the_words_of_a_passport_are_plain(made: Passport, tmp_path: Path) -> None:
    folder = written(made, tmp_path / "passport")
    os.environ["MARKET_LANG"] = "zh"
    try:
        done = CliRunner().invoke(main, ["verify", str(folder)])
    finally:
        del os.environ["MARKET_LANG"]
    assert re.search(r"● +检查", done.stdout) and "实测 3.1 毫秒" in done.stdout


def test_the_archive_holds_the_very_files(made: Passport, tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    path.write_bytes(passports.archive(made))
    with zipfile.ZipFile(path) as archive:
        inside = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        assert {name.partition("/")[0] for name in archive.namelist()} == {made.slug}
    assert inside == dict(made.files)


def test_files_beside_their_passport_are_compared_with_it(made: Passport, tmp_path: Path) -> None:
    folder = tmp_path / "download"
    folder.mkdir()
    written(made, folder / "passport")
    model = folder / "model.onnx"
    model.write_bytes(WEIGHTS)
    (folder / "README.md").write_text("# not named in it")
    found = told(folder)
    assert found["holds"] and found["compared"] == 1 and found["subject"] == str(folder)
    assert "1 files are those" in CliRunner().invoke(main, ["verify", str(folder)]).stdout
    model.write_bytes(b"another")
    found = told(folder)
    assert (found["holds"], found["error"]["code"]) == (False, "verification-failed")
    assert "model.onnx was changed" in found["error"]["detail"]
    content = next(step for step in found["steps"] if step["step"] == "content")
    assert (content["verdict"], content["why"]) == ("fails", "model.onnx was changed")
    assert CliRunner().invoke(main, ["verify", str(folder)]).exit_code == 1
    model.unlink()
    assert "model.onnx is missing" in told(folder)["error"]["detail"]
    (folder / "passport" / "card.md").write_text("other words")
    assert told(folder)["error"]["code"] == "verification-failed"
