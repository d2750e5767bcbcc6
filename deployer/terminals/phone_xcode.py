"""Xcode's project for a folder of sources and files: Sample.xcodeproj/project.pbxproj, as an XML plist.

Xcode reads its project in any form of plist; the XML form is written by the standard library, so that no text
of a stranger can break it. Objects refer to each other by ids of 24 hex digits, here taken from their names.
"""

import hashlib
import plistlib
from collections.abc import Sequence
from typing import Any

PACKAGE = "https://github.com/microsoft/onnxruntime-swift-package-manager"
LANGUAGES = ("en", "zh-Hans")
_KINDS = {"swift": "sourcecode.swift", "tsv": "text", "txt": "text", "png": "image.png", "jpg": "image.jpeg"}

Objects = dict[str, dict[str, Any]]


def project(
    files: Sequence[str], strings: Sequence[str], *, bundle: str, version: str, runtime: str
) -> bytes:
    """The project of an app: `files` lie in Sample/, `strings` in Sample/<language>.lproj/."""
    objects: Objects = {}
    sources: list[str] = []
    resources: list[str] = []
    shown: list[str] = []
    for name in files:
        shown.append(_file(objects, name))
        built = _add(objects, f"built {name}", isa="PBXBuildFile", fileRef=shown[-1])
        (sources if name.endswith(".swift") else resources).append(built)
    for name in strings:
        shown.append(_translated(objects, name))
        resources.append(_add(objects, f"built {name}", isa="PBXBuildFile", fileRef=shown[-1]))
    folder = _add(objects, "folder", isa="PBXGroup", children=shown, path="Sample", sourceTree="<group>")
    package = _add(
        objects,
        "package",
        isa="XCRemoteSwiftPackageReference",
        repositoryURL=PACKAGE,
        requirement={"kind": "upToNextMinorVersion", "minimumVersion": runtime},
    )
    target = _target(objects, package, sources, resources, bundle=bundle, version=version)
    root = _add(
        objects,
        "project",
        isa="PBXProject",
        attributes={"BuildIndependentTargetsInParallel": "1"},
        buildConfigurationList=_configurations(objects, "project", {"SDKROOT": "iphoneos"}),
        developmentRegion="en",
        knownRegions=["Base", *LANGUAGES],
        mainGroup=_main_group(objects, folder),
        packageReferences=[package],
        productRefGroup=_id("products"),
        targets=[target],
    )
    plain = {
        "archiveVersion": "1",
        "classes": {},
        "objectVersion": "56",
        "objects": objects,
        "rootObject": root,
    }
    return plistlib.dumps(plain, sort_keys=True)


def _target(
    objects: Objects, package: str, sources: list[str], resources: list[str], *, bundle: str, version: str
) -> str:
    product = _add(
        objects,
        "dependency",
        isa="XCSwiftPackageProductDependency",
        package=package,
        productName="onnxruntime",
    )
    linked = _add(objects, "linked", isa="PBXBuildFile", productRef=product)
    phases = [
        _add(objects, f"phase {isa}", isa=isa, buildActionMask="2147483647", files=files)
        for isa, files in (
            ("PBXSourcesBuildPhase", sources),
            ("PBXFrameworksBuildPhase", [linked]),
            ("PBXResourcesBuildPhase", resources),
        )
    ]
    settings = {
        "CODE_SIGN_STYLE": "Automatic",
        "CURRENT_PROJECT_VERSION": "1",
        "GENERATE_INFOPLIST_FILE": "YES",
        "INFOPLIST_KEY_UILaunchScreen_Generation": "YES",
        "IPHONEOS_DEPLOYMENT_TARGET": "16.0",
        "MARKETING_VERSION": version,
        "PRODUCT_BUNDLE_IDENTIFIER": bundle,
        "PRODUCT_NAME": "Sample",
        "SWIFT_VERSION": "5.0",
        "TARGETED_DEVICE_FAMILY": "1,2",
    }
    return _add(
        objects,
        "target",
        isa="PBXNativeTarget",
        buildConfigurationList=_configurations(objects, "target", settings),
        buildPhases=phases,
        buildRules=[],
        dependencies=[],
        name="Sample",
        packageProductDependencies=[product],
        productName="Sample",
        productReference=_id("app"),
        productType="com.apple.product-type.application",
    )


def _main_group(objects: Objects, folder: str) -> str:
    app = _add(
        objects,
        "app",
        isa="PBXFileReference",
        explicitFileType="wrapper.application",
        path="Sample.app",
        sourceTree="BUILT_PRODUCTS_DIR",
    )
    products = _add(
        objects, "products", isa="PBXGroup", children=[app], name="Products", sourceTree="<group>"
    )
    return _add(objects, "main", isa="PBXGroup", children=[folder, products], sourceTree="<group>")


def _file(objects: Objects, name: str) -> str:
    kind = _KINDS.get(name.rpartition(".")[2], "file")
    return _add(
        objects,
        f"file {name}",
        isa="PBXFileReference",
        lastKnownFileType=kind,
        path=name,
        sourceTree="<group>",
    )


def _translated(objects: Objects, name: str) -> str:
    """A .strings file in every language."""
    versions = [
        _add(
            objects,
            f"file {language} {name}",
            isa="PBXFileReference",
            lastKnownFileType="text.plist.strings",
            name=language,
            path=f"{language}.lproj/{name}",
            sourceTree="<group>",
        )
        for language in LANGUAGES
    ]
    return _add(
        objects, f"file {name}", isa="PBXVariantGroup", children=versions, name=name, sourceTree="<group>"
    )


def _configurations(objects: Objects, of: str, settings: dict[str, str]) -> str:
    debug = {"SWIFT_OPTIMIZATION_LEVEL": "-O"}  # the pictures' code is slow without
    made = [
        _add(
            objects,
            f"{name} {of}",
            isa="XCBuildConfiguration",
            buildSettings=settings | (debug if name == "Debug" else {}),
            name=name,
        )
        for name in ("Debug", "Release")
    ]
    return _add(
        objects,
        f"configurations {of}",
        isa="XCConfigurationList",
        buildConfigurations=made,
        defaultConfigurationIsVisible="0",
        defaultConfigurationName="Release",
    )


def _add(objects: Objects, key: str, /, **told: Any) -> str:
    objects[_id(key)] = told
    return _id(key)


def _id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:24].upper()
