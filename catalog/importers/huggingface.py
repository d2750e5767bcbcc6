"""hf://: repositories of the Hugging Face Hub, of its mirrors, and of other shops, by huggingface_hub.

What there is, and at which commit, the real client asks; the files themselves are fetched by `transfer`, so
that they are resumed, counted and checked like all others. Large files have a sha256 there, small ones git's
own digest. The token is HF_TOKEN, or that of `hf auth login`, and goes to the hub's own origin only.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from catalog.errors import SourceMissing, SourceUnreachable
from catalog.importers.choosing import Chosen, choose
from catalog.importers.errors import SourceDenied
from catalog.importers.hints import Hints
from catalog.importers.plans import Gate, Plan, text_of
from catalog.importers.sources import Source
from catalog.importers.transfer import Remote, hub_client, hub_opener

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

VARIABLE = "HF_TOKEN"


@contextmanager
def plan_hub(sources: Sequence[Source], gate: Gate) -> Iterator[Plan]:
    """The plan of a repository; raises SourceUnreachable, SourceMissing, SourceDenied, ImportNotInferred."""
    # Loaded here: it takes half a second, which only those pay who import from a hub.
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils._headers import build_hf_headers

    source = sources[0]
    endpoint = gate.hf_endpoint or None
    found = _ask(source, endpoint, gate)
    commit = str(found.sha or "")
    files = {one.rfilename: one for one in found.siblings or ()}
    chosen = choose({path: one.size for path, one in files.items()}, source.inner, str(source))
    headers = {k.lower(): v for k, v in build_hf_headers(token=None if gate.keys else False).items()}
    pinned = str(source.pinned(commit))
    remotes = tuple(
        Remote(
            path=here,
            url=hf_hub_url(source.place, path, revision=commit, endpoint=endpoint),
            size=files[path].size,
            digest=_digest(files[path]),
            headers=headers,
            variable=VARIABLE,
            source=pinned,
        )
        for path, here in _ordered(chosen)
    )
    with hub_client() as client:
        yield Plan(
            pinned, pinned, remotes, hub_opener(client, pinned), _hints(found, source), chosen=chosen.model
        )


def _ordered(chosen: Chosen) -> list[tuple[str, str]]:
    """The small files first: what they say refuses before the large ones have come."""
    return sorted(chosen.files.items(), key=lambda pair: pair[1] == chosen.model)


def _ask(source: Source, endpoint: str | None, gate: Gate) -> "ModelInfo":
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RevisionNotFoundError

    api = HfApi(endpoint=endpoint, library_name="opc-market", token=None if gate.keys else False)
    for failures in range(1, gate.patience.attempts + 1):
        try:
            return api.model_info(source.place, revision=source.revision or None, files_metadata=True)
        except GatedRepoError as error:
            raise SourceDenied(source=str(source), variable=VARIABLE) from error
        except RevisionNotFoundError as error:
            raise SourceMissing(source=str(source), file=source.revision) from error
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                raise SourceDenied(source=str(source), variable=VARIABLE) from error
            if status == 404:
                raise SourceMissing(source=str(source), file=source.place) from error
            why = f"HTTP {status}"
        except (httpx2.HTTPError, OSError) as error:
            why = "the connection was refused or broke"
            if "getaddrinfo" in repr(error) or "Name or service" in repr(error):
                why = "its name was not found on the network"
        if failures < gate.patience.attempts:
            gate.patience.wait(failures)
    raise SourceUnreachable(source=str(source), why=why)


def _digest(file: Any) -> str:
    """sha256 of what lies in the large file store, git's digest of what lies in the repository itself."""
    lfs = file.lfs
    if lfs is not None and lfs.sha256:
        return f"sha256:{lfs.sha256}"
    blob = str(file.blob_id or "")
    if len(blob) == 40:
        return f"git-sha1:{blob}"
    return f"sha256:{blob}" if len(blob) == 64 else ""


def _hints(found: "ModelInfo", source: Source) -> Hints:
    card: dict[str, Any] = {}
    if found.card_data is not None:
        card = found.card_data.to_dict()  # type: ignore[no-untyped-call]
    names = card.get("language") or ()
    license_ = text_of(card, "license_name") if card.get("license") == "other" else text_of(card, "license")
    base = card.get("base_model")
    return Hints(
        license=license_,
        languages=tuple(map(str, names if isinstance(names, list | tuple) else [names])),
        task=found.pipeline_tag or "",
        base=base if isinstance(base, str) else "",
        title=source.place.rpartition("/")[2],
        tags=tuple(map(str, (found.tags or ())[:50])),
    )
