"""/hf: the Hugging Face Hub API over this shelf, for HF_ENDPOINT=<address of the shop>/hf.

The routes and fields are those that huggingface_hub's client calls and reads. Errors carry X-Error-Code and
X-Error-Message, by which the client knows what to raise, beside the shop's own problem+json.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from litestar import Response, Router, get, post, route
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.exceptions import HTTPException
from litestar.params import FromPath, FromQuery
from sqlmodel import Session, col, select

from catalog import blobs, taxonomy
from catalog.errors import BlobMissing, CatalogError, UnknownListing
from catalog.models import Vendor, VendorMember
from marketplace import hub, problems, sending
from marketplace.api import hub_shapes
from marketplace.auth import AnyRequest, Viewer
from marketplace.db import read_session
from marketplace.errors import InvalidRequest, MarketError
from marketplace.having import require_may_have
from marketplace.hub_files import LIBRARIES, Files
from marketplace.i18n import negotiate
from marketplace.permissions import Permission
from marketplace.services import Services

MOST_VALUES = 50  # of one query parameter; each narrows a search by a condition of its own
TREE_PAGE = 1000
_CODES = {
    "hub-account-needed": "GatedRepo",
    "hub-file-unknown": "EntryNotFound",
    "unknown-listing": "RepoNotFound",
    "unknown-version": "RevisionNotFound",
}


# Models


@get("/api/models", permission=Permission.browse, sync_to_thread=True)
def models(
    request: AnyRequest,
    db: NamedDependency[Session],
    search: FromQuery[str] = "",
    author: FromQuery[str] = "",
    pipeline_tag: FromQuery[str] = "",
    library: FromQuery[str] = "",
    language: FromQuery[str] = "",
    license: FromQuery[str] = "",
    sort: FromQuery[str] = "",
    gated: FromQuery[bool | None] = None,
    limit: FromQuery[int] = hub.PAGE,
    cursor: FromQuery[str] = "",
    full: FromQuery[bool] = False,
    cardData: FromQuery[bool] = False,
) -> Response[list[dict[str, Any]]]:
    """Models on the shelf; more `filter` tags narrow it, and the Link header names the next page."""
    tags = [*_many(request, "filter"), pipeline_tag, library, language]
    tags += [f"license:{license.removeprefix('license:')}"] if license else []
    # Of what the Hub runs or counts itself there is nothing here, so nothing is found by it.
    tags += _many(request, "apps", "inference", "inference_provider", "num_parameters")
    wanted = hub.Wanted(search, author, [tag for tag in tags if tag], gated, sort, cursor, limit)
    page = hub.list_models(db, wanted)
    expand = _many(request, "expand")
    items = [
        hub_shapes.model(listing, version, full=full, card=cardData or full, expand=expand)
        for listing, version in page.items
    ]
    headers = {}
    if page.cursor:
        query = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
        headers["Link"] = f'<{_here(request)}?{urlencode([*query, ("cursor", page.cursor)])}>; rel="next"'
    return Response(items, headers=headers)


@get("/api/models/{vendor:str}/{name:str}", permission=Permission.browse, sync_to_thread=True)
def model(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
) -> dict[str, Any]:
    """One model at its newest version."""
    return _described(request, services, db, f"{vendor}/{name}", hub.MAIN)


@get(
    "/api/models/{vendor:str}/{name:str}/revision/{revision:path}",
    permission=Permission.browse,
    sync_to_thread=True,
)
def model_at(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
    revision: FromPath[str],
) -> dict[str, Any]:
    """One model at a branch, a version's number or a commit."""
    return _described(request, services, db, f"{vendor}/{name}", revision.strip("/"))


def _described(
    request: AnyRequest, services: Services, db: Session, name: str, revision: str
) -> dict[str, Any]:
    repo = hub.find_repo(db, name)
    version = repo.at(revision)
    files = Files(services.settings, db, repo.listing, version)
    expand = _many(request, "expand")
    described = hub_shapes.model(repo.listing, version, full=True, card=True, expand=expand)
    if not expand or "siblings" in expand:
        with_blobs = request.query_params.get("blobs", "").lower() in ("1", "true")
        described["siblings"] = [hub_shapes.sibling(file, with_blobs) for file in files.all.values()]
    if request.query_params.get("securityStatus", "").lower() in ("1", "true"):
        verdicts = hub_shapes.verdicts_of(db, version)
        described["securityRepoStatus"] = hub_shapes.security(verdicts)
    return described


@get(
    "/api/models/{vendor:str}/{name:str}/tree/{place:path}", permission=Permission.browse, sync_to_thread=True
)
def tree(
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
    place: FromPath[str],
    recursive: FromQuery[bool] = False,
    expand: FromQuery[bool] = False,
    cursor: FromQuery[str] = "",
) -> Response[list[dict[str, Any]]]:
    """Files and folders at `revision/inner/folder`; the Link header names the next page."""
    repo = hub.find_repo(db, f"{vendor}/{name}")
    revision, folder = hub.split_place(place)
    version = repo.at(revision)
    files = Files(services.settings, db, repo.listing, version)
    entries = files.under(folder, recursive=recursive)
    if folder and not entries:
        raise _unknown_file(repo, version, folder)
    entries = [entry for entry in entries if entry.path > cursor]
    verdicts = hub_shapes.verdicts_of(db, version) if expand else None
    shown = [hub_shapes.entry(entry, version, verdicts) for entry in entries[:TREE_PAGE]]
    headers = {}
    if len(entries) > TREE_PAGE:
        query = {"recursive": recursive, "expand": expand, "cursor": entries[TREE_PAGE - 1].path}
        headers["Link"] = f'<{_here(request)}?{urlencode(query)}>; rel="next"'
    return Response(shown, headers=headers)


@post(
    "/api/models/{vendor:str}/{name:str}/paths-info/{revision:path}",
    permission=Permission.browse,
    status_code=200,
)
async def paths_info(
    request: AnyRequest,
    services: NamedDependency[Services],
    vendor: FromPath[str],
    name: FromPath[str],
    revision: FromPath[str],
) -> list[dict[str, Any]]:
    """What lies at these `paths` (a form, or JSON); those that are not there are left out."""
    paths, expand = await _asked_paths(request)

    def look() -> list[dict[str, Any]]:
        with read_session(services.engine) as db:
            repo = hub.find_repo(db, f"{vendor}/{name}")
            version = repo.at(revision.strip("/"))
            files = Files(services.settings, db, repo.listing, version)
            verdicts = hub_shapes.verdicts_of(db, version) if expand else None
            found = [files.get(path) or files.folder(path) for path in paths]
            return [
                hub_shapes.entry(entry, version, verdicts)
                for entry in found
                if entry.path in files.all or files.has_folder(entry.path)
            ]

    return await sync_to_thread(look)


async def _asked_paths(request: AnyRequest) -> tuple[list[str], bool]:
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            data = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise InvalidRequest(why="JSON") from None
        paths = data.get("paths") if isinstance(data, dict) else None
        expand = bool(data.get("expand")) if isinstance(data, dict) else False
    else:
        form = await request.form()
        paths = form.getall("paths", [])
        expand = str(form.get("expand", "")).lower() == "true"
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise InvalidRequest(why="paths")
    if len(paths) > TREE_PAGE:
        raise InvalidRequest(why=f"paths: at most {TREE_PAGE}")
    return [path.strip("/") for path in paths], expand


@get("/api/models/{vendor:str}/{name:str}/refs", permission=Permission.browse, sync_to_thread=True)
def refs(
    db: NamedDependency[Session], vendor: FromPath[str], name: FromPath[str]
) -> dict[str, list[dict[str, str]]]:
    """The branch main, and a tag for each version that is offered."""
    repo = hub.find_repo(db, f"{vendor}/{name}")
    main = [hub_shapes.ref("heads", hub.MAIN, repo.main)] if repo.main else []
    tags = [hub_shapes.ref("tags", version.number, version) for version in repo.shown]
    return {"branches": main, "tags": tags, "converts": [], "pullRequests": []}


@get(
    "/api/models/{vendor:str}/{name:str}/commits/{revision:path}",
    permission=Permission.browse,
    sync_to_thread=True,
)
def commits(
    request: AnyRequest,
    db: NamedDependency[Session],
    vendor: FromPath[str],
    name: FromPath[str],
    revision: FromPath[str],
) -> list[dict[str, Any]]:
    """The versions up to a revision as commits, the newest first."""
    repo = hub.find_repo(db, f"{vendor}/{name}")
    newest = repo.at(revision.strip("/"))
    shown = [v for v in repo.versions if v is newest or v in repo.shown]
    formatted = "formatted" in _many(request, "expand")
    return [hub_shapes.commit(vendor, v, formatted=formatted) for v in shown[shown.index(newest) :]]


@get("/api/models/{vendor:str}/{name:str}/auth-check", permission=Permission.browse, sync_to_thread=True)
def auth_check(
    request: AnyRequest,
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
) -> dict[str, bool]:
    """Whether the asker may have the files; a refusal says why not."""
    repo = hub.find_repo(db, f"{vendor}/{name}")
    version = repo.at(hub.MAIN)
    hub.require_access(viewer, repo.listing, version, told_a_token=_told_a_token(request))
    return {"ok": True}


@get("/api/models-tags-by-type", permission=Permission.browse, sync_to_thread=False)
def tags_by_type() -> dict[str, list[dict[str, str]]]:
    """The tags that models can be narrowed by."""
    return {
        "pipeline_tag": [hub_shapes.tag("pipeline_tag", t.id, t.title_en) for t in taxonomy.TASKS.values()],
        "library": [hub_shapes.tag("library", name, name) for name in LIBRARIES.values()],
        "language": [hub_shapes.tag("language", t.id, t.title_en) for t in taxonomy.LANGUAGES.values()],
        "other": [hub_shapes.tag("other", t.id, t.title_en) for t in taxonomy.VERTICALS.values()],
    }


# What this shop has none of


@get(["/api/datasets", "/api/spaces"], permission=Permission.browse, sync_to_thread=False)
def nothing() -> list[dict[str, Any]]:
    """Data sets and spaces: there are none."""
    return []


@route(
    [
        "/api/datasets/{path:path}",
        "/api/spaces/{path:path}",
        "/api/models/{path:str}",
        "/datasets/{path:path}",
        "/spaces/{path:path}",
        "/{first:str}/resolve/{path:path}",
    ],
    http_method=["GET", "HEAD"],
    permission=Permission.browse,
)
async def unknown(request: AnyRequest) -> None:
    """Repositories of other kinds, and models without a vendor: there are none."""
    raise UnknownListing(name=request.url.path.removeprefix("/hf/").removeprefix("api/"), near=[])


# People


@get("/api/whoami-v2", permission=Permission.browse, sync_to_thread=True)
def whoami(
    request: AnyRequest, db: NamedDependency[Session], viewer: NamedDependency[Viewer]
) -> dict[str, Any]:
    """The account of a token, and the vendors that it acts for."""
    if not viewer.signed_in:
        raise hub.HubTokenInvalid(name="")
    vendors = db.exec(
        select(Vendor, VendorMember.role)
        .join(VendorMember, col(VendorMember.vendor_id) == col(Vendor.id))
        .where(VendorMember.account_id == viewer.account_id)
        .order_by(col(Vendor.name))
    )
    return hub_shapes.person(viewer, list(vendors))


# Files


@route(
    ["/{vendor:str}/{name:str}/resolve/{place:path}", "/{vendor:str}/{name:str}/raw/{place:path}"],
    http_method=["GET", "HEAD"],
    permission=Permission.browse,
)
async def resolve(  # asynchronous by itself: litestar wraps a handler of two paths twice
    request: AnyRequest,
    services: NamedDependency[Services],
    db: NamedDependency[Session],
    viewer: NamedDependency[Viewer],
    vendor: FromPath[str],
    name: FromPath[str],
    place: FromPath[str],
) -> Response[bytes]:
    """The file at `revision/inner/path`, or a range of it; its ETag is its sha256."""
    return await sync_to_thread(_resolve, request, services, db, viewer, f"{vendor}/{name}", place)


def _resolve(
    request: AnyRequest, services: Services, db: Session, viewer: Viewer, name: str, place: str
) -> Response[bytes]:
    repo = hub.find_repo(db, name)
    revision, path = hub.split_place(place)
    version = repo.at(revision)
    hub.require_access(viewer, repo.listing, version, told_a_token=_told_a_token(request))
    require_may_have(db, repo.listing, version, viewer.account_id)
    file = Files(services.settings, db, repo.listing, version).get(path)
    if file is None:
        raise _unknown_file(repo, version, path)
    headers = {
        **sending.SAFE,
        "X-Repo-Commit": hub.commit_of(version),
        "X-Linked-Etag": f'"{file.sha256}"',
        "X-Linked-Size": str(file.size),
    }
    told: dict[str, Any] = {
        "etag": file.sha256,
        "media_type": sending.media_type_of(path),
        "filename": path.rpartition("/")[2],
        "headers": headers,
    }
    if file.content is not None:
        return sending.send_bytes(request, file.content, **told)
    try:
        return sending.send(request, blobs.blob_path(services.settings.home, file.sha256), **told)
    except FileNotFoundError:
        raise BlobMissing(sha256=file.sha256, path=path) from None


def _unknown_file(repo: hub.Repo, version: Any, path: str) -> hub.HubFileUnknown:
    return hub.HubFileUnknown(name=repo.listing.name, path=path, commit=hub.commit_of(version))


# Requests and refusals


def _many(request: AnyRequest, *names: str) -> list[str]:
    """All values of query parameters that may be given several times, also with commas; each is there once.

    Raises InvalidRequest for more of them than anybody asks for.
    """
    found = [
        value
        for name in names
        for spelling in (name, f"{name}[]")
        for value in request.query_params.getall(spelling, [])
    ]
    parts = list(dict.fromkeys(part for value in found for part in value.split(",") if part))
    if len(parts) > MOST_VALUES:
        raise InvalidRequest(why=f"{names[0]}: at most {MOST_VALUES}")
    return parts


def _here(request: AnyRequest) -> str:
    """The address of this request without its query: the shop's public one, or as the client knows it."""
    if public := request.app.state.services.settings.public_url:
        return f"{public}{request.url.path}"
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    return f"{scheme}://{request.headers.get('host', request.url.netloc)}{request.url.path}"


def _told_a_token(request: AnyRequest) -> bool:
    return "authorization" in request.headers


def on_refusal(request: AnyRequest, error: CatalogError | MarketError) -> Response[Any]:
    """A named refusal, with the headers that the client reads."""
    lang = negotiate(request, request.app.state.services.settings.lang)
    found, english = problems.problem_of(error, lang), problems.problem_of(error, "en")
    code = _CODES.get(error.code, "")
    if error.code == "hub-token-invalid" and error.facts.get("name"):
        code = "GatedRepo"
    headers: dict[str, str] = {"X-Error-Message": _plain(f"{english.title}: {english.detail}")}
    if code:
        headers["X-Error-Code"] = code
    if commit := error.facts.get("commit"):
        headers["X-Repo-Commit"] = str(commit)
    if found.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="opc-market"'
    return _problem(found, headers)


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What litestar refuses by itself."""
    lang = negotiate(request, request.app.state.services.settings.lang)
    if error.status_code == 404:
        return _problem(problems.problem("not-found", lang, path=request.url.path), {})
    extra = error.extra if isinstance(error.extra, list) else []
    why = "; ".join(f"{e.get('key', '')}: {e.get('message', '')}" for e in extra if isinstance(e, dict))
    return _problem(problems.problem("invalid-request", lang, why=why or error.detail), {})


def _problem(found: problems.Problem, headers: Mapping[str, str]) -> Response[Any]:
    body = found.to_dict() | {"error": f"{found.title}: {found.detail} {found.next}"}
    text = json.dumps(body, ensure_ascii=False, default=str)
    return Response(text, status_code=found.status, media_type=problems.MEDIA_TYPE, headers=headers)


def _plain(text: str) -> str:
    """Text as a header may hold it."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:500]


router = Router(
    "/hf",
    route_handlers=[
        models,
        model,
        model_at,
        tree,
        paths_info,
        refs,
        commits,
        auth_check,
        tags_by_type,
        nothing,
        unknown,
        whoami,
        resolve,
    ],
    exception_handlers={CatalogError: on_refusal, MarketError: on_refusal, HTTPException: on_http_error},
    tags=["hub"],
)
