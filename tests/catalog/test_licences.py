"""Licences: what is an expression, what it asks, what does not go together, and whose text a file is."""

from pathlib import Path
from typing import Any

import pytest

from catalog import licences
from catalog.licences import Term, UnknownLicence, read


def codes(
    package: str, weights: str, base: str = "", folder: str = "", paths: tuple[str, ...] = ()
) -> dict[str, str]:
    given = {"package": package, "weights": weights, "base": base}
    rows = licences.check(folder, list(paths), given)
    return {row["code"]: str(row["verdict"]) for row in rows}


def row_of(code: str, **given: str) -> dict[str, Any]:
    rows = licences.check("", [], given)
    return next(row for row in rows if row["code"] == code)


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("mit and (bsd-3-clause or Apache-2.0)", "MIT AND (BSD-3-Clause OR Apache-2.0)"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "GPL-2.0-only WITH Classpath-exception-2.0"),
        ("LicenseRef-our-own.1", "LicenseRef-our-own.1"),
    ],
)
def test_an_expression_comes_in_spdx_spelling(given: str, spelled: str) -> None:
    assert read(given).expression == spelled


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("Apache", "Apache-2.0"),
        ("Apache-2", "Apache-2.0"),
        ("cc-by-nc", "CC-BY-NC-4.0"),
        ("my licence", ""),
        ("apache 2.0", "Apache-2.0"),
        ("Apahce-2.0", "Apache-2.0"),
        ("Apache License 2.0", "Apache-2.0"),
        ("MIT License", "MIT"),
        ("Foo-License", ""),
        ("Acme-License-1.0", ""),
        ("our-licence", ""),
        ("BSD3", "BSD-3-Clause"),
        ("GPL3", "GPL-3.0-only"),
        ("Proprietary", ""),
        ("commercial", ""),
    ],
)
def test_an_unknown_licence_comes_with_the_nearest(given: str, near: str) -> None:
    with pytest.raises(UnknownLicence) as refused:
        read(given)
    assert refused.value.near == near


@pytest.mark.parametrize("given", ["", "   ", "((((", "MIT AND", "x" * 400, "(" * 30, "MIT; rm -rf /"])
def test_what_is_no_expression_is_refused(given: str) -> None:
    with pytest.raises(UnknownLicence):
        read(given)


@pytest.mark.parametrize(
    ("expression", "terms"),
    [
        ("MIT", set()),
        ("CC-BY-NC-4.0", {Term.non_commercial}),
        ("CC-BY-NC-SA-4.0", {Term.non_commercial, Term.share_alike}),
        ("CC-BY-ND-4.0", {Term.no_derivatives}),
        ("AGPL-3.0-only", {Term.copyleft}),
        ("MIT OR GPL-3.0-only", set()),
        ("MIT AND GPL-3.0-only", {Term.copyleft}),
        ("LicenseRef-Llama-3.1", {Term.conditions}),
        ("LicenseRef-Gemma", {Term.conditions}),
        ("LicenseRef-research-only", {Term.research_only}),
        ("LicenseRef-acme-noncommercial", {Term.non_commercial}),
        ("LicenseRef-not-stated", {Term.not_stated}),
    ],
)
def test_terms(expression: str, terms: set[Term]) -> None:
    assert read(expression).terms == terms


def test_terms_of_a_version_stand_in_one_order() -> None:
    licenses = {"package": "MIT", "weights": "CC-BY-NC-SA-4.0", "base": "LicenseRef-Gemma"}
    assert licences.terms_of(licenses) == [Term.non_commercial, Term.share_alike, Term.conditions]


def test_good_licences_pass() -> None:
    assert codes("Apache-2.0", "MIT") == {"": "pass"}


@pytest.mark.parametrize(
    ("package", "weights", "base", "expected"),
    [
        ("", "MIT", "", {"licence-missing": "fail"}),
        ("Apache", "MIT", "", {"licence-unknown": "fail"}),
        ("(((", "MIT", "", {"licence-unreadable": "fail"}),
        ("MIT", "CC-BY-NC-4.0", "", {"licence-non-commercial": "warn"}),
        ("MIT", "LicenseRef-research-only", "", {"licence-research-only": "warn"}),
        ("MIT", "LicenseRef-Llama-3.1", "", {"licence-conditions": "warn"}),
        ("MIT", "LicenseRef-not-stated", "", {"licence-not-stated": "warn"}),
        ("MIT", "GPL-3.0-only", "", {"licence-copyleft-inside": "warn"}),
        ("MIT", "MIT", "CC-BY-NC-4.0", {"licence-non-commercial": "warn", "licence-base-conflict": "fail"}),
        ("MIT", "Apache-2.0", "CC-BY-SA-4.0", {"licence-base-conflict": "fail"}),
        ("MIT", "Apache-2.0", "AGPL-3.0-only", {"licence-base-conflict": "fail"}),
        (
            "MIT",
            "MIT",
            "LicenseRef-Llama-3.1",
            {"licence-conditions": "warn", "licence-base-conflict": "fail"},
        ),
        (
            "MIT",
            "CC-BY-NC-4.0",
            "CC-BY-NC-SA-4.0",
            {"licence-non-commercial": "warn", "licence-base-differs": "warn"},
        ),
        (
            "MIT",
            "MIT",
            "CC-BY-ND-4.0",
            {"licence-no-derivatives": "warn", "licence-base-no-derivatives": "fail"},
        ),
        ("MIT", "Apache-2.0", "MIT", {"": "pass"}),
    ],
)
def test_what_the_check_says(package: str, weights: str, base: str, expected: dict[str, str]) -> None:
    assert codes(package, weights, base) == expected


def test_a_conflict_names_what_the_base_asks_in_both_languages() -> None:
    facts = row_of("licence-base-conflict", package="MIT", weights="MIT", base="CC-BY-NC-SA-4.0")["facts"]
    assert facts["terms"] == ["non-commercial", "share-alike"]
    assert "不得商用" in facts["terms_zh"]
    assert "no business use" in facts["terms_en"]


APACHE = (
    "                                 Apache License\n                           Version 2.0, January 2004\n"
)
MIT = "MIT License\n\nPermission is hereby granted, free of charge, to any person obtaining a copy\nof this"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("LICENSE", APACHE, {"": "pass"}),
        ("docs/LICENSE.txt", MIT, {"licence-text-differs": "fail"}),
        ("COPYING", "GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3, 19", {"licence-text-differs": "fail"}),
        ("LICENSE", "All of it is yours.", {"": "pass"}),
        ("NOTICE", MIT, {"": "pass"}),
        ("notes.txt", MIT, {"": "pass"}),
        ("LICENSE", "\xff\xfe\x00" * 50, {"": "pass"}),
    ],
)
def test_a_licence_file_is_held_against_the_claim(
    tmp_path: Path, name: str, text: str, expected: dict[str, str]
) -> None:
    place = tmp_path / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, "utf-8")
    assert codes("Apache-2.0", "Apache-2.0", folder=str(tmp_path), paths=(name,)) == expected


def test_the_file_of_another_licence_is_named_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text(MIT)
    given = {"package": "Apache-2.0", "weights": "Apache-2.0"}
    (row,) = licences.check(str(tmp_path), ["LICENSE"], given)
    assert row["path"] == row["facts"]["path"] == "LICENSE"
