"""Whether a package is what it says, found out offline: bytes, signature, chain and bill.

Nothing that lies in a package is believed because it lies there: only a signature by a key that the caller
trusts counts, over digests that were computed here. What nobody wrote down is shown as not known.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from deployer.errors import PackagingFailed, VerificationFailed
from deployer.packager import attestation, evidence, provenance
from deployer.packager.attestation import Attested, refusal, strict_json
from deployer.packager.bom import MEDIA_TYPE as BILL_TYPE
from deployer.packager.evidence import Evidence
from deployer.packager.layout import Descriptor, Layout

ROWS = ("content", "signature", "source", "conversion", "quantisation", "evaluation", "package", "bill")
SHOWN_WHERE_KNOWN = ("checks", "measurement")
"""Rows that only passports of versions have; they stand before the package."""
STEP_OF = {BILL_TYPE: "bill", provenance.CERTIFICATE_TYPE: "evaluation"}

Verdict = Literal["holds", "none", "unknown", "fails"]
"""`none` is known not to have been done, `unknown` is written down by nobody."""


@dataclass(frozen=True)
class Step:
    """One row of the result; `facts` are those of the chain's step."""

    step: str
    verdict: Verdict
    why: str = ""
    why_zh: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verified:
    """What was found out about a package; it holds if there is no error."""

    subject: str
    kind: str
    digest: str
    steps: tuple[Step, ...]
    fingerprint: str = ""
    release: Mapping[str, Any] = field(default_factory=dict)
    error: VerificationFailed | None = None

    @property
    def holds(self) -> bool:
        """Whether everything that could be checked was found to be so."""
        return self.error is None

    def to_json(self) -> dict[str, Any]:
        """Without the error, whose words depend on the reader's language."""
        told = asdict(replace(self, error=None))
        del told["error"]
        return {**told, "holds": self.holds}


def verify(layout: Layout, root: Descriptor, keys: Sequence[bytes], subject: str = "") -> Verified:
    """Check an image, index or artifact of a layout with trusted public keys (PEM).

    Raises VerificationFailed with the step that does not hold.
    """
    found = look(evidence.of_image(layout, root, subject or root.name or root.digest), keys)
    if found.error:
        raise found.error
    return found


def broken(subject: str, error: VerificationFailed) -> Verified:
    """The result for a package that could not even be read."""
    return Verified(subject, "", "", with_failure([], error), error=error)


def look(found: Evidence, keys: Sequence[bytes]) -> Verified:
    """Check what was found against its statements; a failure is in the result, not raised."""
    results = [_judge(found, passport, keys) for passport in found.passports]
    if not results:
        error = refusal(
            found.subject,
            "signature",
            "nothing signed says where it comes from",
            "没有附带签名的来源声明",
        )
        steps = [_content(found)]
        return Verified(found.subject, found.kind, found.digest, with_failure(steps, error), error=error)
    # One statement that holds is enough: an older one may speak of a bill that is no longer here.
    return next((result for result in results if result.holds), results[0])


def _judge(found: Evidence, passport: bytes, keys: Sequence[bytes]) -> Verified:
    steps = [_content(found)]
    result = Verified(found.subject, found.kind, found.digest, ())
    try:
        attested = attestation.check(passport, keys, found.subject)
        result = replace(result, fingerprint=attested.fingerprint)
        told = _Statement(found, attested)
        if told.is_passport:
            attestation.require_own_form(passport, attested.fingerprint, found.subject)
        told.check_subjects()
        result = replace(result, release=told.release)
        steps.append(Step("signature", "holds"))
        told.check_byproducts()
        for check in told.checks():
            steps.append(check())  # noqa: PERF401 (those before a failure are kept)
    except VerificationFailed as error:
        return replace(result, steps=with_failure(steps, error), error=error)
    return replace(result, steps=tuple(steps))


def _content(found: Evidence) -> Step:
    return Step("content", "holds", facts={"files": len(found.found), "images": len(found.images)})


def with_failure(steps: list[Step], error: VerificationFailed) -> tuple[Step, ...]:
    """The rows as far as they hold, the one that fails, and the others, of which nothing is known."""
    failed = Step(
        str(error.facts["step"]), "fails", str(error.facts["why"]), str(error.facts.get("why_zh", ""))
    )
    known = {step.step: step for step in steps} | {failed.step: failed}
    unlooked = "not looked at", "未核对"
    place = ROWS.index("package")
    rows = [*ROWS[:place], *(row for row in SHOWN_WHERE_KNOWN if row in known), *ROWS[place:]]
    return tuple(known.get(row, Step(row, "unknown", *unlooked)) for row in rows)


class _Statement:
    """A signed statement, held against what the package holds; the checks go in the order of ROWS."""

    def __init__(self, found: Evidence, attested: Attested) -> None:
        self.found = found
        with self._readable("signature"):
            told = attested.statement
            if told["_type"] != provenance.STATEMENT or told["predicateType"] != provenance.PREDICATE:
                raise ValueError("it is no statement of provenance")
            predicate = told["predicate"]
            self.subjects = {str(one["name"]): str(one["digest"]["sha256"]) for one in told["subject"]}
            self.digests = {str(one["digest"]["sha256"]) for one in told["subject"]}
            self.release: Mapping[str, Any] = predicate["buildDefinition"]["externalParameters"]["release"]
            self.byproducts = [
                (str(one["mediaType"]), str(one["digest"]["sha256"]), str(one["name"]))
                for one in predicate["runDetails"]["byproducts"]
            ]
            chain = predicate[provenance.CHAIN]
            names = [step["step"] for step in chain["steps"]]
            if chain["schema"] != provenance.SCHEMA or names != [s for s in provenance.STEPS if s in names]:
                raise ValueError("its chain is of no known form")
            self.steps: dict[str, Mapping[str, Any]] = dict(zip(names, chain["steps"], strict=True))
        # Digests of files that some step let out; None once a step is not known.
        self.known: set[str] | None = set() if "source" in self.steps else None

    @contextlib.contextmanager
    def _readable(self, step: str) -> Iterator[None]:
        """What a signer wrote may still be of no form that is known here."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self.refusal(step, f"it cannot be read: {error}", f"无法读取：{error}") from error

    def refusal(self, step: str, why: str, why_zh: str) -> VerificationFailed:
        return refusal(self.found.subject, step, why, why_zh)

    def check_subjects(self) -> None:
        """An image's manifests are among the subjects; a folder's files are all of them."""
        if self.found.kind == "image":
            if not set(self.found.found.values()) <= self.digests:
                raise self.refusal(
                    "signature", "the statement speaks of another image", "声明说的是另一个镜像"
                )
            return
        signed, here = self.subjects, self.found.found
        for name in sorted(signed.keys() | here.keys()):
            if name not in here:
                raise self.refusal("content", f"{name} is missing", f"缺少 {name}")
            if name not in signed:
                raise self.refusal("content", f"{name} was added", f"多出了 {name}")
            if signed[name] != here[name]:
                raise self.refusal("content", f"{name} was changed", f"{name} 被改动过")

    def check_byproducts(self) -> None:
        """Bill, certificate and card that the statement names are there as they were."""
        for media_type, sha256, name in self.byproducts:
            if sha256 not in self.found.documents:
                raise self.refusal(
                    STEP_OF.get(media_type, "content"),
                    f"{name} is missing or was changed",
                    f"{name} 缺失或被改动过",
                )

    def checks(self) -> list[Callable[[], Step]]:
        """The steps of the chain, and the bill, in the order of ROWS."""
        chain = [self.source, self.conversion, self.quantisation, self.evaluation]
        if "checks" in self.steps:
            chain.append(self.looked_through)
        if "measurement" in self.steps:
            chain.append(self.measurement)
        return [*chain, self.package, self.bill]

    @property
    def is_passport(self) -> bool:
        """Whether it speaks of a version as a shop lists it, and not of a package for some terminal."""
        return self.steps.get("package", {}).get("terminal") == provenance.MODEL_PASSPORT

    def looked_through(self) -> Step:
        """The shop's own checks, of the very files that came out of the steps before."""
        step = self.steps["checks"]
        with self._readable("checks"):
            self._enter("checks", step["in"])
            verdicts = [str(row["verdict"]) for row in step["rows"]]
        if "fail" in verdicts:
            raise self.refusal("checks", "the shop's checks refuse it", "商店的检查不予通过")
        if unknown := verdicts.count("unknown"):
            return Step("checks", "unknown", f"{unknown} came to no verdict", f"{unknown} 项没有结论", step)
        return Step("checks", "holds", facts=step)

    def measurement(self) -> Step:
        """What was claimed of the files, and what was measured of them."""
        step = self.steps["measurement"]
        with self._readable("measurement"):
            self._enter("measurement", step["in"])
            measured = dict(step["measured"])
        if not measured:
            return Step("measurement", "unknown", "nothing was measured", "未测", step)
        return Step("measurement", "holds", facts=step)

    def source(self) -> Step:
        """What came out of the archives came out of archives that are named."""
        step = self.steps.get("source")
        if step is None:
            return _unknown("source")
        with self._readable("source"):
            archives = {str(one["file"]) for one in step["materials"]}
            taken = [str(one["path"]) for one in step["out"]]
            strays = [path for path in taken if path.partition("!")[0] not in archives]
            unexplained = len(step["unexplained"])
            self._leave(step["out"])
            self._leave(step["unexplained"])
        if strays:
            raise self.refusal(
                "source", f"{strays[0]} is of no archive that is named", f"{strays[0]} 不出自所列的任何归档"
            )
        if unexplained:
            files = "1 file" if unexplained == 1 else f"{unexplained} files"
            why = f"where {files} came from is not recorded"
            return Step("source", "unknown", why, f"{unexplained} 个文件没有记录来源", step)
        return Step("source", "holds", facts=step)

    def conversion(self) -> Step:
        """What was converted left the step before."""
        step = self.steps.get("conversion")
        if step is None:
            return _unknown("conversion")
        with self._readable("conversion"):
            conversions = list(step["conversions"])
            for one in conversions:
                self._enter("conversion", one["in"])
            for one in conversions:
                self._leave(one["out"])
        if not conversions:
            return Step("conversion", "none", "the files lie as they were published", "文件按原样收录", step)
        return Step("conversion", "holds", facts=step)

    def quantisation(self) -> Step:
        """What was quantised left a step before."""
        step = self.steps.get("quantisation")
        if step is None:
            return _unknown("quantisation")
        with self._readable("quantisation"):
            self._enter("quantisation", step["in"])
            self._leave(step["out"])
            if not step["recipes"]:
                return Step("quantisation", "none", "nothing was changed here", "本店未作改动", step)
        return Step("quantisation", "holds", facts=step)

    def evaluation(self) -> Step:
        """What was measured is what was made, and the certificate is the one that lies here."""
        step = self.steps.get("evaluation")
        if step is None:
            why = "there is no certificate: it was not measured", "没有证书：未经测量"
            return Step("evaluation", "unknown", *why)
        with self._readable("evaluation"):
            self._enter("evaluation", step["in"])
            made = self.steps.get("quantisation", {}).get("out", step["in"])
            if _pairs(made) != _pairs(step["in"]):
                raise self.refusal("evaluation", "another model was measured", "测量的不是这个模型")
            certificate = self.found.names.get(str(step["certificate"]))
            self._leave(step["out"])
        if certificate != provenance.CERTIFICATE_TYPE:
            raise self.refusal("evaluation", "the certificate is missing", "缺少证书")
        return Step("evaluation", "holds", facts=step)

    def package(self) -> Step:
        """What was packaged left the steps before, and lies in the package."""
        step = self.steps.get("package")
        if step is None:
            raise self.refusal("package", "the statement says nothing of it", "声明中没有这一步")
        with self._readable("package"):
            self._enter("package", step["in"])
            if self.found.kind == "image":
                self._check_image(step)
            elif self.is_passport:
                self._check_manifest(step)
        return Step("package", "holds", facts=step)

    def _check_image(self, step: Mapping[str, Any]) -> None:
        told = [
            {key: one[key] for key in ("platform", "manifest", "config", "layers")} for one in step["images"]
        ]
        if told != [dict(one) for one in self.found.images]:
            raise self.refusal("package", "it is made of other parts than are signed", "组成与签名的内容不同")
        try:
            model, manifest = self.found.model()
        except PackagingFailed as error:
            raise self.refusal(
                "package", f"its layers cannot be read: {error}", f"镜像层无法读取：{error}"
            ) from error
        for path, sha256 in sorted(_pairs(step["in"])):
            if model.get(path) != sha256:
                raise self.refusal("package", f"the model's {path} is another", f"模型文件 {path} 不符")
        if _digest_of(json.loads(manifest)) != self.release["digest"]:
            raise self.refusal("package", "the model's manifest is another", "模型清单不符")

    def _check_manifest(self, step: Mapping[str, Any]) -> None:
        """A passport has the model's manifest beside it, and speaks of the files that it names."""
        found = next(
            (
                self.found.documents[sha256]
                for sha256, kind in self.found.names.items()
                if kind == evidence.MANIFEST_TYPE
            ),
            b"{}",
        )
        manifest = strict_json(found)
        if _digest_of(manifest) != self.release["digest"] or _pairs(manifest["artifacts"]) != _pairs(
            step["in"]
        ):
            raise self.refusal("package", "the model's manifest is another", "模型清单不符")

    def bill(self) -> Step:
        """The bill names this release, its licences and the digests of its files."""
        bills = [sha256 for media_type, sha256, _ in self.byproducts if media_type == BILL_TYPE]
        if not bills:
            raise self.refusal("bill", "there is no bill of materials", "没有物料清单")
        with self._readable("bill"):
            told = strict_json(self.found.documents[bills[0]])
            model, parts = told["metadata"]["component"], told["components"]
            digest = "sha256:" + model["hashes"][0]["content"]
            files = {(p["name"], p["hashes"][0]["content"]) for p in parts if p["type"] == "file"}
            licenses = sorted(str(one["expression"]) for one in model.get("licenses", ()))
            wanted = sorted(str(one) for one in self.release["licenses"].values())
            packages = sum(part["type"] == "library" for part in parts)
        if digest != self.release["digest"] or files != _pairs(self.steps["package"]["in"]):
            raise self.refusal("bill", "it is the bill of another model", "这是另一个模型的物料清单")
        if licenses != wanted:
            raise self.refusal("bill", "it states other licences", "所列许可证不同")
        facts = {"files": len(files), "packages": packages, "licenses": licenses}
        return Step("bill", "holds", facts=facts)

    def _leave(self, files: Sequence[Mapping[str, str]]) -> None:
        if self.known is not None:
            self.known |= {sha256 for _, sha256 in _pairs(files)}

    def _enter(self, step: str, files: Sequence[Mapping[str, str]]) -> None:
        for path, sha256 in sorted(_pairs(files)):
            if self.known is not None and sha256 not in self.known:
                raise self.refusal(
                    step, f"{path} did not come out of the steps before", f"{path} 不是前面步骤的产物"
                )


def _pairs(files: Sequence[Mapping[str, str]]) -> set[tuple[str, str]]:
    return {(str(one["path"]), str(one["sha256"])) for one in files}


def _digest_of(manifest: Any) -> str:
    """As the catalogue names a version."""
    plain = json.dumps(manifest, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(plain.encode()).hexdigest()}"


def _unknown(step: str) -> Step:
    return Step(step, "unknown", "not known", "不详")
