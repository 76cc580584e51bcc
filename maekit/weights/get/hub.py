"""Downloads a model of the Hugging Face hub, its configuration and weights only, into the hub's own cache."""

import json
import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from maekit.errors import UserError

_SMALL = ("config.json", "preprocessor_config.json")
_INDEX = ".index.json"
_WEIGHTS = ("model.safetensors", f"model.safetensors{_INDEX}", "pytorch_model.bin", f"pytorch_model.bin{_INDEX}")
_TIMEOUT = 10.0  # seconds for the list of files


def download_model(name: str) -> Path:
    """Returns the folder of a model of the Hugging Face hub; the weights file if it is one of timm's.

    Files in the cache are not downloaded again, and are used without a connection. `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`
    and `HF_HUB_OFFLINE` work as usual; telemetry is off.

    Args:
        name: owner/name, optionally with @ and a branch, a tag or a commit.

    Raises:
        UserError: there is no such model, no access to it, no connection, or no weights in a format that can be read.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", name, re.ASCII):
        raise UserError(f"got hf:{name}, expected hf:owner/name or hf:owner/name@revision; check the name")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    repository, _, revision = name.partition("@")
    revision = revision or "main"
    try:
        return _download(repository, revision)
    except UserError:
        raise
    except Exception as error:  # the classes differ between versions of huggingface_hub
        raise UserError(_reason(error, repository, revision)) from error


def downloaded_model(name: str) -> Path | None:
    """Returns what `download_model` would, if it is in the hub's cache; None if it is not."""
    repository, _, revision = name.partition("@")
    return _cached(repository, revision or "main")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _download(repository: str, revision: str) -> Path:
    from huggingface_hub import HfApi, constants, hf_hub_download

    constants.HF_HUB_DISABLE_TELEMETRY = True  # timm imports that library, perhaps before this module
    try:
        model = HfApi(endpoint=_endpoint()).model_info(repository, revision=revision, timeout=_TIMEOUT)
    except Exception:
        if place := _cached(repository, revision):
            return place
        raise

    def get(file: str, at: str) -> Path:
        return Path(hf_hub_download(repository, file, revision=at, endpoint=_endpoint()))

    names = [file.rfilename for file in model.siblings or ()]
    if place := _collect(names, get, revision):
        return place
    others = [name for name in names if name.endswith((".h5", ".msgpack", ".pth", ".pt", ".bin", ".safetensors"))]
    raise UserError(
        f"the model {repository} of {_endpoint()} has {', '.join(others[:4]) or 'no weights'}, expected "
        f"{_WEIGHTS[0]} or {_WEIGHTS[2]}; convert it to one of these"
    )


def _collect(names: Collection[str], get: Callable[[str, str], Path], revision: str) -> Path | None:
    """Gets configuration and weights; returns their folder, or a timm model's weights, or None if there are none.

    Args:
        names: the repository's files.
        get: returns the local path of a file at a revision.
        revision: a branch, a tag or a commit.
    """
    wanted = next((name for name in _WEIGHTS if name in names), None)
    if wanted is None:
        return None
    first = get(wanted, revision)  # by the branch's name, so that the cache finds it again without a connection
    shards = json.loads(first.read_text())["weight_map"].values() if wanted.endswith(_INDEX) else ()
    for name in (*sorted(set(shards)), *(name for name in _SMALL if name in names)):
        get(name, first.parent.name)
    return first if _is_timm(first.parent) and not shards else first.parent


def _is_timm(folder: Path) -> bool:
    """Whether the configuration is timm's; it tells nothing that the tensors' names do not."""
    try:
        return "architecture" in json.loads((folder / _SMALL[0]).read_bytes())
    except (OSError, ValueError):
        return False


def _cached(repository: str, revision: str) -> Path | None:
    """Returns the cached folder if it is complete, else None."""
    from huggingface_hub import try_to_load_from_cache

    def get(name: str, at: str) -> Path:
        path = try_to_load_from_cache(repository, name, revision=at)
        if not isinstance(path, str) or not Path(path).is_file():
            raise FileNotFoundError(name)
        return Path(path)

    names = []
    for name in (*_WEIGHTS, *_SMALL):
        with suppress(FileNotFoundError):
            get(name, revision)
            names.append(name)
    try:
        return _collect(names, get, revision) if _SMALL[0] in names else None
    except FileNotFoundError:
        return None


def _reason(error: Exception, repository: str, revision: str) -> str:
    """Returns one line with what to download by hand, and from where."""
    page = f"{_endpoint()}/{repository}"
    by_hand = (
        f"; or download {_SMALL[0]} and {_WEIGHTS[0]} (or {_WEIGHTS[2]}) from {page}/tree/{revision} by hand and give "
        "their folder as --model.weights DIR"
    )
    kinds = [kind.__name__ for kind in type(error).__mro__]
    if "GatedRepoError" in kinds:
        return f"the model {repository} is gated: accept its terms at {page} and set HF_TOKEN{by_hand}"
    if "RepositoryNotFoundError" in kinds:
        return f"there is no model {repository} at {_endpoint()}, or it is private; check the name, or set HF_TOKEN"
    if "RevisionNotFoundError" in kinds:
        return f"the model {repository} has no revision '{revision}'; see {page}/commits/main"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return f"cannot get {repository} from {_endpoint()} ({reason}){by_hand}"
