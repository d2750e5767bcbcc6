"""What is attached to an image in a layout."""

import hashlib
import json
from pathlib import Path

import pytest

from deployer.errors import ContentCorrupted, PackagingFailed
from deployer.packager.image import MANIFEST
from deployer.packager.layout import Descriptor, Layout, canonical
from deployer.packager.referrers import EMPTY, TITLE, attach, content, referrers

BILL = "application/vnd.cyclonedx+json"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def subject(layout: Layout) -> Descriptor:
    return layout.add(canonical({"schemaVersion": 2, "mediaType": MANIFEST}), MANIFEST)


def test_an_attachment_is_an_artifact_with_a_subject(layout: Layout, subject: Descriptor) -> None:
    made = attach(
        layout,
        subject,
        BILL,
        b"{}\n",
        media_type="application/json",
        title="bom.json",
        annotations={"a": "b"},
    )
    empty = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    assert layout.document(made) == {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BILL,
        "config": {"mediaType": EMPTY, "digest": empty, "size": 2},
        "layers": [
            {
                "mediaType": "application/json",
                "digest": f"sha256:{hashlib.sha256(b'{}' + bytes([10])).hexdigest()}",
                "size": 3,
                "annotations": {TITLE: "bom.json"},
            }
        ],
        "subject": {"mediaType": MANIFEST, "digest": subject.digest, "size": subject.size},
        "annotations": {"a": "b"},
    }
    listed = json.loads((layout.root / "index.json").read_bytes())["manifests"]
    assert [(one["digest"], one["artifactType"]) for one in listed] == [(made.digest, BILL)]


def test_the_same_attached_again_changes_nothing(layout: Layout, subject: Descriptor) -> None:
    made = attach(layout, subject, BILL, b"bill")
    before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()}
    named = Descriptor(subject.media_type, subject.digest, subject.size, {"some": "name"})
    assert attach(layout, named, BILL, b"bill") == made
    after = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*") if path.is_file()}
    assert after == before


def test_they_are_found_by_what_they_are_attached_to(layout: Layout, subject: Descriptor) -> None:
    layout.tag(subject, "some/image:1")
    card = attach(layout, subject, "text/markdown", b"# Card")
    bills = [attach(layout, subject, BILL, text) for text in (b"one", b"two")]
    signature = attach(layout, card, "application/signature", b"signed")
    assert referrers(layout, subject) == [*sorted(bills, key=lambda one: one.digest), card]
    assert referrers(layout, subject.digest) == referrers(layout, subject)
    assert referrers(layout, card) == [signature]
    assert referrers(layout, signature) == []
    assert content(layout, signature) == b"signed"


def test_an_attachment_of_another_maker_counts_by_its_config(layout: Layout, subject: Descriptor) -> None:
    """Before artifactType there was the type of the config."""
    config = layout.add(b"{}", "application/vnd.test.config+json")
    blob = layout.add(b"content", "text/plain")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.to_json(),
        "layers": [blob.to_json()],
        "subject": subject.to_json(),
    }
    layout.enter(layout.add(canonical(manifest), MANIFEST))
    (found,) = referrers(layout, subject)
    assert found.artifact_type == config.media_type
    assert content(layout, found) == b"content"


def test_damaged_content_is_not_given_out(layout: Layout, subject: Descriptor) -> None:
    made = attach(layout, subject, BILL, b"bill")
    path = layout.path(layout.document(made)["layers"][0]["digest"])
    path.chmod(0o644)
    path.write_bytes(b"kill")
    with pytest.raises(ContentCorrupted):
        content(layout, made)


@pytest.mark.parametrize("layers", [[], None, ["x"], [{}, {}]])
def test_what_is_no_attachment_is_refused(layout: Layout, subject: Descriptor, layers: object) -> None:
    manifest = {"schemaVersion": 2, "layers": layers, "subject": subject.to_json()}
    with pytest.raises(PackagingFailed):
        content(layout, layout.add(canonical(manifest), MANIFEST))
