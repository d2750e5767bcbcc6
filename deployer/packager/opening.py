"""What people name to be verified, opened: a folder, a file, an image of a Docker engine."""

import contextlib
import gzip
import hashlib
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from deployer.errors import PackagingFailed, VerificationFailed
from deployer.packager import attestation, evidence, output, provenance, referrers
from deployer.packager.archive import CONTAINERD_NAME, blob_path
from deployer.packager.attestation import refusal, strict_json
from deployer.packager.evidence import Evidence
from deployer.packager.layout import LARGEST, NAME, PART, Descriptor, Layout, roomy

if TYPE_CHECKING:
    import docker

DOCKER_INDEX = "manifest.json"
MEMBERS = ("oci-layout", "index.json", DOCKER_INDEX)
MOST_LISTED = 1000  # manifests in an index.json
PLAIN_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE)
SIZE = re.compile(rb" *[0-7]+[ \0]*|\x80.{11}", re.DOTALL)  # octal, or binary from 8 GiB on


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Evidence]:
    """An OCI layout (folder, .tar or .tar.gz), a package's folder or its .zip; raises VerificationFailed."""
    if path.is_dir() and not (path / "oci-layout").exists():
        yield evidence.of_folder(path)
    elif path.is_file() and path.suffix == ".zip":
        with evidence.zipped(path) as found:
            yield found
    else:
        with _layout(path) as layout:
            found = evidence.of_image(layout, _only_root(layout, path.name), path.name)
            _check_docker_index(path, found)
            yield found


@contextlib.contextmanager
def _layout(path: Path) -> Iterator[Layout]:
    with contextlib.ExitStack() as stack:
        try:
            layout = stack.enter_context(output.opened(path))
        except VerificationFailed as error:
            why, why_zh = str(error.facts["why"]), str(error.facts["why_zh"])
            raise refusal(path.name, "content", why, why_zh) from error
        except PackagingFailed as error:
            if error.code != "content-corrupted":
                raise
            what = error.facts["what"]
            raise refusal(
                path.name, "content", f"{what} is not what its digest says", f"{what} 与其摘要不符"
            ) from error
        yield layout


def _only_root(layout: Layout, subject: str) -> Descriptor:
    """The one image of a layout; what is attached to it is none, and must not be named as if it were."""
    roots: dict[str, Descriptor] = {}
    try:
        _one_meaning((layout.root / "index.json").read_bytes())
        entries = layout.entries()
        if len(entries) > MOST_LISTED:
            raise ValueError(f"{len(entries)} manifests")
        for entry in entries:
            named = any(entry.annotations.get(key) for key in (NAME, CONTAINERD_NAME))
            if named or "subject" not in layout.document(entry):
                roots[entry.digest] = entry
    except (PackagingFailed, ValueError) as error:
        why = f"index.json cannot be read: {error}"
        raise refusal(subject, "content", why, f"index.json 无法读取：{error}") from error
    if len(roots) != 1:
        names = ", ".join(sorted(root.name or root.digest[:19] for root in roots.values())) or "-"
        raise refusal(
            subject, "content", f"it holds {len(roots)} images, not one: {names}", f"应只含一个镜像：{names}"
        )
    return next(iter(roots.values()))


def _check_docker_index(path: Path, found: Evidence) -> None:
    """What `docker load` takes out of the same archive must be the image that is verified, and no other."""
    images = [
        {"Config": blob_path(one["config"]), "Layers": [blob_path(layer) for layer in one["layers"]]}
        for one in found.images
        if one["config"]
    ]
    for content in _docker_indexes(path):
        try:
            told = _one_meaning(content)
            named = [{key: entry[key] for key in ("Config", "Layers")} for entry in told]
        except (ValueError, KeyError, TypeError) as error:
            raise refusal(
                path.name, "content", f"{DOCKER_INDEX} cannot be read: {error}", f"{DOCKER_INDEX} 无法读取"
            ) from error
        if any(entry not in images for entry in named):
            raise refusal(
                path.name,
                "content",
                f"{DOCKER_INDEX} leads `docker load` to another image",
                f"{DOCKER_INDEX} 会让 docker load 装入另一个镜像",
            )


def _one_meaning(content: bytes) -> Any:
    """JSON that nobody signed, if all readers take it alike; raises ValueError.

    Those written in Go take a key in any case for the one that they know, and the last one counts.
    """
    told = strict_json(content)
    waiting = [told]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if len({key.casefold() for key in one}) < len(one):
                raise ValueError("keys differ in their case alone")
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return told


class _Plain(tarfile.TarInfo):
    """A header that all readers take alike: an extended one, or a size in other digits, misleads some."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Plain":
        found = super().frombuf(buf, encoding, errors)
        size, prefix = buf[124:136], buf[345:500]
        if found.type not in PLAIN_TYPES or not SIZE.fullmatch(size) or any(prefix):
            raise tarfile.ReadError("a header that not all readers take alike")
        return found


def _docker_indexes(path: Path) -> Iterator[bytes]:
    """Docker's own index in a layout; refuses members under which engines would look for other images."""
    if path.is_dir():
        yield from _docker_index_of_folder(path)
        return
    with path.open("rb") as raw:
        mode = "r:gz" if raw.read(2) == output.GZIP else "r:"
    seen: set[str] = set()
    try:
        with tarfile.open(path, mode, tarinfo=_Plain) as archive:  # type: ignore[call-overload]
            for member in archive:
                # As whoever unpacks it names it: `./x` and `x` are one file.
                name = PurePosixPath(member.name).as_posix()
                if member.isdir():
                    continue
                if name in seen or not (name in MEMBERS or output.BLOB.fullmatch(name)):
                    raise _misplaced(path, name)
                seen.add(name)
                if name == DOCKER_INDEX and (file := archive.extractfile(member)):
                    yield file.read(LARGEST)
            _check_end(archive)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise refusal(
            path.name, "content", f"it is no sound archive: {error}", f"它不是完好的归档文件：{error}"
        ) from error


def _check_end(archive: tarfile.TarFile) -> None:
    """Behind what was read there must be nothing: other readers may find more there. Raises ReadError."""
    file: Any = archive.fileobj
    file.seek(archive.offset)
    while part := file.read(PART):
        if any(part):
            raise tarfile.ReadError("there is more behind its end")


def _docker_index_of_folder(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.iterdir()):
        if path.name not in (*MEMBERS, "blobs") or path.is_symlink():
            raise _misplaced(folder, path.name)
        if path.name == DOCKER_INDEX:
            with path.open("rb") as file:
                yield file.read(LARGEST)
    for path in sorted((folder / "blobs").iterdir()):
        if path.name != "sha256":
            raise _misplaced(folder, f"blobs/{path.name}")


def _misplaced(path: Path, name: str) -> VerificationFailed:
    return refusal(path.name, "content", f"{name[:80]} has no place in it", f"其中不应有 {name[:80]}")


def is_package(path: Path) -> bool:
    """Whether a folder looks like something that is verified here: an OCI layout, or a signed package."""
    return (path / "oci-layout").exists() or (path / provenance.PASSPORT).exists()


@contextlib.contextmanager
def in_engine(client: "docker.DockerClient", reference: str, images: Path) -> Iterator[Evidence]:
    """An image of a Docker engine: its layers as the engine gives them, with what this home knows of it.

    Engines keep no attachments, so the statement is looked up in the home's layout by the image's config.
    Raises VerificationFailed, step signature, where this home knows nothing of it.
    """
    facts = client.api.inspect_image(reference)
    wanted = str(facts["Id"])
    root = _root_with(Layout(images), wanted) if (images / "oci-layout").exists() else None
    if root is None:
        raise refusal(
            reference,
            "signature",
            "engines keep no signatures, and this home did not make the image;"
            " verify the file or the registry's reference that it came from",
            "引擎不保存签名，而这个镜像也不是本机制作的；请核对它来自的文件或仓库引用",
        )
    found = evidence.of_image(Layout(images), root, reference)
    if wanted not in {str(one["config"]) for one in found.images}:
        why = "what is attached speaks of another image"
        raise refusal(reference, "content", why, "附带的声明说的是另一个镜像")
    _check_layers(client, reference, wanted, [str(layer) for layer in facts["RootFS"]["Layers"]])
    yield found


def _root_with(layout: Layout, config: str) -> Descriptor | None:
    """The manifest or index whose statement names an image with this config; who signed it is seen later."""
    for digest, attached in referrers.subjects(layout).items():
        for one in attached:
            if one.artifact_type != attestation.PAYLOAD:
                continue
            try:
                told = attestation.unsigned(referrers.content(layout, one))
                steps = told["predicate"][provenance.CHAIN]["steps"]
                configs = {image["config"] for image in steps[-1].get("images", ())}
                subject = layout.document(one)["subject"]
            except (PackagingFailed, VerificationFailed, KeyError, TypeError, IndexError, AttributeError):
                continue
            if config in configs and digest == subject["digest"]:
                return Descriptor.of(subject)
    return None


def _check_layers(client: Any, reference: str, image: str, diff_ids: list[str]) -> None:
    """Hash the image as the engine gives it out: its config and each layer."""
    seen: set[str] = set()
    with tempfile.TemporaryFile() as spool:
        with roomy(Path(tempfile.gettempdir())):
            for part in client.api.get_image(reference):
                spool.write(part)
        spool.seek(0)
        with tarfile.open(fileobj=spool) as archive:
            for member in archive:
                if member.isreg() and (file := archive.extractfile(member)):
                    seen.add(f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")  # type: ignore[arg-type]
    missing = [digest for digest in (image, *diff_ids) if digest not in seen]
    if missing:
        raise refusal(
            reference,
            "content",
            f"the engine does not give out {missing[0]} as it was loaded",
            f"引擎给出的内容与 {missing[0]} 不符",
        )
