"""What a package really holds, read without trust: an image in a layout, a folder, or an archive of one.

Every digest here was computed from the bytes. Nothing is unpacked to be looked at; names, sizes and kinds
of an archive's members are bounded before anything is read.
"""

import contextlib
import functools
import hashlib
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from deployer.errors import PackagingFailed, VerificationFailed
from deployer.packager import attestation, bom, provenance, referrers
from deployer.packager.attestation import PAYLOAD, refusal
from deployer.packager.image import CONFIG, Platform
from deployer.packager.layout import INDEX, PART, Descriptor, Layout, roomy
from deployer.packager.release import MANIFEST

MODEL = "model/"
MANIFEST_TYPE = "application/vnd.opc-market.manifest+json"
MOST_MEMBERS = 20_000
MOST_MANIFESTS = 64
MOST_DOCUMENTS = 64
LARGEST_DOCUMENT = 64 << 20  # bytes of what is read whole
MOST_GROWTH = 200  # bytes out of one byte of an archive: weights and words stay far below
PLAIN = re.compile(r"[^\x00-\x1f\x7f\\:]{1,1024}")
LOCAL = struct.Struct("<26xHH")  # a .zip's header before each file; at its end the lengths of name and fields
FIELD = struct.Struct("<HH")
HARMLESS_FIELDS = {0x0001, 0x000A, 0x5455, 0x5855, 0x7875, 0xCAFE}
LONGEST_DESCRIPTOR = 24  # bytes between a file that was streamed and the next header
MODEL_LAYER = re.compile(r"\.tar$")  # ours are not packed
# What zipfile raises on archives that are spoiled, packed in ways of which it knows nothing, or encrypted.
UNSOUND = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OSError,
)

Unpack = Callable[[Mapping[str, str], Path], None]


@dataclass(frozen=True)
class Evidence:
    """What lies in a package, whatever it says of itself."""

    subject: str
    """Its name, for people."""
    kind: str
    """image or folder"""
    found: Mapping[str, str]
    """sha256 by name of what a statement has to speak of: manifests, or all files of a folder."""
    passports: tuple[bytes, ...]
    documents: Mapping[str, bytes]
    """What goes along with it, by sha256."""
    model: Callable[[], tuple[Mapping[str, str], bytes]]
    """sha256 by path of the model's files, and its manifest.json. To be called once the signature was seen to
    hold. Nothing for a folder, which may have them in another form."""
    unpack: Unpack
    """Writes files wanted by path and sha256 into a folder, those that are here."""
    images: tuple[Mapping[str, Any], ...] = ()
    digest: str = ""
    """Of an image's manifest or index."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What a document of this sha256 is called."""
    keys: tuple[bytes, ...] = ()
    """Public keys (PEM) that lie in it: never believed, unless somebody knows their fingerprint."""


# Images


def of_image(layout: Layout, root: Descriptor, subject: str) -> Evidence:
    """What an image, index or artifact of a layout holds; raises VerificationFailed, step content."""
    try:
        return _of_image(layout, root, subject)
    except PackagingFailed as error:  # a manifest that is none, a blob that is missing or another
        facts = error.facts
        what = str(facts.get("what") or facts.get("image", ""))
        got = facts.get("got") or facts.get("why", "")
        expected = f", {facts['expected']}" if "expected" in facts else ""
        raise refusal(
            subject, "content", f"{what}{expected}: {got}", f"{what}{expected}：{got}（内容与摘要不符）"
        ) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise refusal(
            subject, "content", f"its manifest cannot be read: {error!r}", f"清单无法读取：{error!r}"
        ) from error


def _of_image(layout: Layout, root: Descriptor, subject: str) -> Evidence:
    told = layout.document(root)
    manifests = [root]
    if root.media_type == INDEX:
        manifests = [Descriptor.of(entry) for entry in told["manifests"]]
    if not manifests or len(manifests) > MOST_MANIFESTS:
        raise PackagingFailed(image=root.digest, why=f"{len(manifests)} manifests")
    images, layers = [], dict[str, Descriptor]()
    for manifest in manifests:
        facts, above = _image(layout, manifest)
        images.append(facts)
        layers |= {layer.digest: layer for layer in above}
    for layer in layers.values():
        _hash(layout, layer)
    passports, documents, names = _attached(layout, root)

    def unpack(wanted: Mapping[str, str], folder: Path) -> None:
        for layer in layers.values():
            for path, member in _model_files(layout, layer):
                if path in wanted:
                    _write(folder / path, member)

    digests = [root.digest, *(one.digest for one in manifests)]
    return Evidence(
        subject=subject,
        kind="image",
        found={digest: digest.removeprefix("sha256:") for digest in digests},
        passports=passports,
        documents=documents,
        keys=tuple(documents[sha256] for sha256, name in names.items() if name == provenance.KEY_TYPE),
        names=names,
        model=functools.cache(lambda: _model(layout, layers.values())),
        unpack=unpack,
        images=tuple(images),
        digest=root.digest,
    )


def _image(layout: Layout, manifest: Descriptor) -> tuple[dict[str, Any], list[Descriptor]]:
    told = layout.document(manifest)
    config = Descriptor.of(told["config"])
    is_image = config.media_type == CONFIG
    settings = layout.document(config) if is_image else {}
    _hash(layout, config)
    layers = [Descriptor.of(layer) for layer in told["layers"]]
    facts = {
        "platform": str(Platform.of(settings)) if is_image else "",
        "manifest": manifest.digest,
        "config": config.digest if is_image else "",
        "layers": [layer.digest for layer in layers],
    }
    return facts, layers


def _hash(layout: Layout, blob: Descriptor) -> None:
    """Refuses a blob that is not there whole, or is another."""
    try:
        with layout.path(blob.digest).open("rb") as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
            size = file.tell()
    except OSError as error:
        raise PackagingFailed(image=blob.digest, why=str(error.strerror)) from error
    if (digest, size) != (blob.digest, blob.size):
        raise PackagingFailed(image=blob.digest, why=f"{digest} ({size} bytes)")


def _attached(layout: Layout, root: Descriptor) -> tuple[tuple[bytes, ...], dict[str, bytes], dict[str, str]]:
    passports, documents, names = [], {}, {}
    for attached in referrers.referrers(layout, root)[:MOST_DOCUMENTS]:
        content = referrers.content(layout, attached)
        if attached.artifact_type == PAYLOAD:
            passports.append(content)
        else:
            sha256 = hashlib.sha256(content).hexdigest()
            documents[sha256], names[sha256] = content, attached.artifact_type
    return tuple(passports), documents, names


def _model(layout: Layout, layers: Any) -> tuple[dict[str, str], bytes]:
    """sha256 of the model's files by path, and its manifest.json."""
    model, content = {}, b""
    for layer in layers:
        for path, member in _model_files(layout, layer):
            if path == MANIFEST:
                content = member.read(LARGEST_DOCUMENT)
                model[path] = hashlib.sha256(content).hexdigest()
            else:
                model[path] = hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]
    return model, content


def _model_files(layout: Layout, layer: Descriptor) -> Iterator[tuple[str, IO[bytes]]]:
    """The files below model/ of a layer that begins there; other layers are passed over."""
    if not MODEL_LAYER.search(layer.media_type):
        return
    try:
        with tarfile.open(layout.path(layer.digest), "r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./").removeprefix("/")
                if not f"{name}/".startswith(MODEL):
                    return
                path = name.removeprefix(MODEL)
                if member.isreg() and _is_inner(path) and (file := archive.extractfile(member)):
                    yield path, file
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PackagingFailed(image=layer.digest, why=f"no whole tar: {error}") from error


def _write(path: Path, content: IO[bytes]) -> None:
    with roomy(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            while part := content.read(PART):
                out.write(part)


# Folders, and archives of them


def of_folder(folder: Path) -> Evidence:
    """What a package's folder holds; raises VerificationFailed for links, devices and strange names."""
    paths: dict[str, Path] = {}
    for count, path in enumerate(sorted(folder.rglob("*"))):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise _no_plain_file(folder.name, name)
        if count >= MOST_MEMBERS or not _is_inner(name):
            raise _strange(folder.name, name)
        if stat.S_ISREG(mode):
            paths[name] = path
    return _of_files(folder.name, {name: path.stat().st_size for name, path in paths.items()}, _opener(paths))


def of_statement(path: Path) -> Evidence:
    """A statement in a file of its own, with those files of its subject that lie beside it."""
    told = attestation.unsigned(_bounded(path), path.name)
    try:
        names = [str(one["name"]) for one in told["subject"]][:MOST_DOCUMENTS]
    except (KeyError, TypeError) as error:
        raise refusal(path.name, "signature", "it is no statement", "不是来源声明") from error
    paths = {provenance.PASSPORT: path}
    for name in names:
        beside = path.with_name(name) if _is_inner(name) and "/" not in name else None
        if beside is not None and beside.is_file() and not beside.is_symlink():
            paths[name] = beside
    return _of_files(path.name, {name: each.stat().st_size for name, each in paths.items()}, _opener(paths))


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(attestation.LARGEST + 1)


def _opener(paths: Mapping[str, Path]) -> Callable[[str], Any]:
    return lambda name: paths[name].open("rb")


@contextlib.contextmanager
def zipped(path: Path) -> Iterator[Evidence]:
    """What a .zip of a package's folder holds; raises VerificationFailed for anything hostile."""
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = _members(path, archive)
            prefix = _prefix(members)
            inside = {name.removeprefix(prefix): info for name, info in members.items()}
            sizes = {name: info.file_size for name, info in inside.items()}
            found = _of_files(path.name, sizes, lambda name: archive.open(inside[name]))
        except UNSOUND as error:
            raise refusal(
                path.name, "content", f"it is no sound archive: {error}", f"不是完好的压缩包：{error}"
            ) from error
        yield found


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files of an archive by name, once their names, kinds and sizes are found to be harmless."""
    found: dict[str, zipfile.ZipInfo] = {}
    infos = archive.infolist()
    room = path.stat().st_size * MOST_GROWTH
    if len(infos) > MOST_MEMBERS or sum(info.file_size for info in infos) > room:
        raise refusal(path.name, "content", "it would unpack to too much", "解压后的内容过多")
    for info in infos:
        name = info.filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir() and _is_inner(name.rstrip("/")):
            continue
        if kind not in {0, stat.S_IFREG} or info.flag_bits & 0x1:
            raise _no_plain_file(path.name, name)
        if not _is_inner(name) or name in found or name != info.orig_filename:
            raise _strange(path.name, name)
        found[name] = info
    _check_local_headers(path, infos, archive.start_dir)
    return found


def _check_local_headers(path: Path, infos: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Refuse what others would unpack otherwise: names in extra fields, files that the table leaves out."""
    with path.open("rb") as file:
        at, slack = 0, 0
        for info in sorted(infos, key=lambda one: one.header_offset):
            file.seek(info.header_offset)
            header = file.read(LOCAL.size).ljust(LOCAL.size, b"\0")
            lengths = LOCAL.unpack(header)[-2:]
            extra = file.read(sum(lengths))[lengths[0] :]
            if not at <= info.header_offset <= at + slack or not (
                _is_harmless(info.extra) and _is_harmless(extra)
            ):
                raise refusal(
                    path.name, "content", "others unpack it otherwise", "其他软件会解压出不同的内容"
                )
            at = info.header_offset + LOCAL.size + sum(lengths) + info.compress_size
            slack = LONGEST_DESCRIPTOR if info.flag_bits & 0x8 else 0
        if not at <= end <= at + slack:
            raise refusal(path.name, "content", "others unpack it otherwise", "其他软件会解压出不同的内容")


def _is_harmless(extra: bytes) -> bool:
    """Whether extra fields are whole and say nothing but times, owners and large sizes."""
    while len(extra) >= FIELD.size:
        kind, size = FIELD.unpack_from(extra)
        if kind not in HARMLESS_FIELDS:
            return False
        extra = extra[FIELD.size + size :]
    return not extra


def _prefix(names: Mapping[str, object]) -> str:
    """The one folder in which everything lies, if there is one."""
    tops = {name.partition("/")[0] for name in names}
    if provenance.PASSPORT in names or len(tops) != 1:
        return ""
    return f"{tops.pop()}/"


def _of_files(subject: str, sizes: Mapping[str, int], open_: Callable[[str], Any]) -> Evidence:
    found, passports, documents, names = {}, list[bytes](), dict[str, bytes](), dict[str, str]()
    keys: tuple[bytes, ...] = ()
    named = {
        provenance.BILL: bom.MEDIA_TYPE,
        provenance.MODEL_BILL: bom.MEDIA_TYPE,
        provenance.CERTIFICATE: provenance.CERTIFICATE_TYPE,
        "card.md": provenance.CARD_TYPE,
        "signature.json": provenance.SIGNATURE_TYPE,
        provenance.MODEL_SIGNATURE: provenance.SIGNATURE_TYPE,
        MANIFEST: MANIFEST_TYPE,
    }
    for name, size in sizes.items():
        if name == provenance.PASSPORT or name in named:
            if size > LARGEST_DOCUMENT:
                raise refusal(subject, "content", f"{name} is too large", f"{name} 过大")
            with open_(name) as file:
                content = file.read()
            found[name] = hashlib.sha256(content).hexdigest()
            if name == provenance.PASSPORT:
                passports.append(content)
            else:
                documents[found[name]], names[found[name]] = content, name
            continue
        with open_(name) as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        if name == provenance.KEY and size <= LARGEST_DOCUMENT:
            with open_(name) as file:
                keys = (file.read(),)
    found.pop(provenance.PASSPORT, None)
    return Evidence(
        subject=subject,
        kind="folder",
        found=found,
        passports=tuple(passports),
        documents=documents,
        keys=keys,
        names={sha256: named[name] for sha256, name in names.items()},
        model=lambda: ({}, b""),
        unpack=_unpacker(found, open_),
    )


def _unpacker(found: Mapping[str, str], open_: Callable[[str], Any]) -> Unpack:
    """By content alone: a package for a terminal has its own places for the model's files."""
    places = {sha256: name for name, sha256 in found.items()}

    def unpack(wanted: Mapping[str, str], folder: Path) -> None:
        for path, sha256 in wanted.items():
            if sha256 in places and _is_inner(path):
                with open_(places[sha256]) as file:
                    _write(folder / path, file)

    return unpack


def _is_inner(name: str) -> bool:
    pure = PurePosixPath(name)
    plain = str(pure) == name and not pure.is_absolute() and ".." not in pure.parts and name != "."
    return plain and PLAIN.fullmatch(name) is not None


def _strange(subject: str, name: str) -> VerificationFailed:
    shown = name.encode("unicode_escape").decode()[:100]
    return refusal(
        subject,
        "content",
        f"{shown} is no name for a file, is there twice, or too much is",
        f"{shown} 不是合规的文件名，或重复，或文件过多",
    )


def _no_plain_file(subject: str, name: str) -> VerificationFailed:
    shown = name.encode("unicode_escape").decode()[:100]
    return refusal(subject, "content", f"{shown} is no plain file", f"{shown} 不是普通文件")
