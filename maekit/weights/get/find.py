"""Finds the file that a user means: a path, an official name, or `hf:owner/name`. No torch here."""

import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from maekit.errors import UserError, nearest
from maekit.runs.checkpoint_path import run_checkpoint, weights_line
from maekit.system.files import cache_folder
from maekit.weights.chosen import split_key, with_key
from maekit.weights.get.download import download, print_once
from maekit.weights.get.official import Official, bare, hub_licence, official_weights, with_terms
from maekit.weights.read.input_config import TIMM_FILES
from maekit.weights.read.metadata import CARD

HUB = "hf:"


def shipped_weights() -> dict[str, Path]:
    """Returns every file of weights that comes with the package, by its name: small ones of our own."""
    folder = Path(str(files("maekit.weights")))
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


def find_weights(given: str | Path) -> Path:
    """Returns the file, or the folder of a Hugging Face model, that a user means; downloads what has a name.

    Downloads of official files go to `$MAEKIT_CACHE/weights`, those of the Hugging Face hub to its own cache.

    `FILE#KEY` chooses one of several sets of weights in a file, such as `run.pth#model_ema`. The key stays at the end
    of the path; `read_state` splits it off.

    Args:
        given: a path, which wins if it is there (of a run's folder its best.ckpt, else its last.ckpt); the name of a
            shipped file, mae_vit_smoke; an official name such as mae_vit_base (see official.yaml); or hf:owner/name,
            optionally with @revision.

    Raises:
        UserError: there is no such path or name, or it cannot be downloaded.
    """
    file, key = split_key(given)
    if key:
        return with_key(find_weights(file), key)
    path = Path(given).expanduser()
    try:
        if path.exists():
            return _in_timm(_in_run(path))
    except OSError as error:
        raise UserError(f"cannot read {given}: {error.strerror}; check its name and permissions") from error
    if str(given).startswith(HUB):
        from maekit.weights.get.hub import download_model

        name = str(given).removeprefix(HUB)
        if known := hub_licence(name):
            print_once(f"{given}: {with_terms(known.licence)}, {known.source}")
        return download_model(name)
    if shipped := shipped_weights().get(str(given)):
        return shipped
    official = _by_any_name().get(str(given))
    if official is None:
        raise UserError(_not_found(str(given), path))
    folder = cache_folder() / "weights"
    print_once(f"{given}: {with_terms(official.licence)}, {official.source}; file: {folder / official.file}")
    return download(official.url, folder, md5=official.md5)


def require_known(given: str | Path) -> None:
    """Refuses what `find_weights` would not find, without reading or downloading anything.

    Raises:
        UserError: it is no path that exists, and no known name.
    """
    file = str(split_key(given)[0])
    path = Path(file).expanduser()
    with suppress(OSError):
        if path.exists() or file.startswith(HUB) or file in shipped_weights() or file in _by_any_name():
            return
        raise UserError(_not_found(file, path))


def weights_here(given: str | Path) -> Path | None:
    """Returns what `find_weights` would, if it is on this machine's disks; None where it is missing or not downloaded.

    Args:
        given: as `find_weights` takes it.
    """
    file, key = split_key(given)
    if str(file).startswith(HUB) and not Path(file).exists():
        from maekit.weights.get.hub import downloaded_model

        found = downloaded_model(str(file).removeprefix(HUB))
        return None if found is None else with_key(found, key)
    official = _by_any_name().get(str(file))
    missing = not Path(file).expanduser().exists() and str(file) not in shipped_weights()
    if missing and (official is None or not (cache_folder() / "weights" / official.file).is_file()):
        return None
    return find_weights(given)


def official_of(given: str | Path) -> Official | None:
    """Returns the official file that a name, or the file name of a path, is that of; None where it is of none."""
    return _by_any_name().get(bare(Path(split_key(given)[0]).name))


def is_released(given: str | Path) -> bool:
    """Whether a name, or the file name of a path, is that of a file that the authors of MAE released."""
    official = official_of(given)
    return official is not None and official.pretraining == "mae"


def _in_run(path: Path) -> Path:
    """Returns the checkpoint that a run's folder means, and prints which; other paths as they are."""
    found = run_checkpoint(path)
    if found != path:
        _print_checkpoint(found)
    return found


def _in_timm(path: Path) -> Path:
    """Returns the weights in a folder of timm, which its config.json shows it to be; other paths as they are."""
    try:
        is_timm = "architecture" in json.loads((path / "config.json").read_bytes())
    except (OSError, ValueError, TypeError):
        return path
    return next((file for name in TIMM_FILES if is_timm and (file := path / name).is_file()), path)


@cache
def _print_checkpoint(path: Path) -> None:
    """Prints the checkpoint and, if the file gives it, its optimizer step; once a process."""
    from maekit.weights.read.safe_load import load_file

    try:
        contents = load_file(path)
    except UserError:
        contents = None
    card = contents.get(CARD) if isinstance(contents, Mapping) else None
    step = card.get("step") if isinstance(card, Mapping) else None
    print_once(weights_line(path, step if isinstance(step, int) else None))


def _by_any_name() -> dict[str, Official]:
    every = official_weights().values()
    return {bare(official.file): official for official in every} | official_weights()


def _not_found(given: str, path: Path) -> str:
    """Returns the error's line, with the nearest file name or the nearest known name."""
    if "/" in given and not path.parent.is_dir():
        owner = f"; for a model of the Hugging Face hub give {HUB}{given}" if given.count("/") == 1 else ""
        return f"no file {given}: there is no folder {path.parent}{owner}; check the path"
    beside: list[str] = []
    with suppress(OSError):
        beside = sorted(file.name for file in path.parent.iterdir() if file.name[0] != ".")
    file = nearest(path.name, beside)
    name = nearest(bare(given), {**_by_any_name(), **shipped_weights()})
    hint = file or name if path.suffix else name or file
    first = [name for name, official in official_weights().items() if official.pretraining == "mae"]
    known = f"{', '.join((*first, *shipped_weights()))} and others, which docs/backbones.md lists"
    return f"no file and no official weights called {given}{hint or f'; known names: {known}'}"
