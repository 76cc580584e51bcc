"""The tensors of a large ONNX file, which are in a second file beside it: which they are, and under what name."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maekit.errors import UserError
from maekit.export.graph.libraries import library
from maekit.export.graph.metadata import KEY, read_metadata

LARGE = 1_500_000_000  # bytes of tensors from which they have a file of their own: protobuf holds 2 GB at most
PIECES, PIECE = 64, 65_536  # that a fingerprint reads: how many, and how many bytes each


def data_of(path: Path) -> Path:
    """Returns where the tensors of a large ONNX file are: model.onnx.data beside model.onnx."""
    return path.with_name(f"{path.name}.data")


def fingerprint(path: Path) -> dict[str, object]:
    """Returns name, bytes and a hash of pieces that are spread over a file: it tells two models, not every bit."""
    size, found = path.stat().st_size, hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        for piece in range(PIECES):
            file.seek(piece * max(size - PIECE, 0) // (PIECES - 1))
            found.update(file.read(PIECE))
    return {"file": path.name, "bytes": size, "hash": found.hexdigest()}


def require_tensors(metadata: Mapping[str, Any], path: Path) -> None:
    """Refuses a model whose tensors were exchanged: a runtime takes any that are long enough.

    Args:
        metadata: of the model.
        path: its file.
    """
    kept = metadata.get("tensors")
    if kept is None:
        return
    beside = path.with_name(kept["file"])
    found = fingerprint(beside)
    if found != kept:
        what = "another model's" if found["bytes"] == kept["bytes"] else f"of {found['bytes']:,} bytes"
        raise UserError(
            f"{beside} is {what}, expected the {kept['bytes']:,} bytes of tensors that were exported with {path.name}; "
            "copy both files again"
        )


def require_tensors_beside(path: Path) -> None:
    """Refuses a model, which a runtime could not open, if the tensors beside it are missing or others.

    A model whose tensors are elsewhere is small, so it is read as a whole.
    """
    if path.stat().st_size > LARGE:
        return
    onnx = library("onnx", f"reading {path.name}")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception:  # protobuf's classes differ with its version; the runtime has said what is wrong
        return
    missing = sorted(name for name in {at.value for at in _locations(model)} if not path.with_name(name).is_file())
    if missing:
        raise UserError(
            f"{path}: its tensors are in the file {missing[0]}, which is not beside it; move both together, and keep "
            "that file's name"
        )
    for prop in model.metadata_props:
        if prop.key == KEY:
            require_tensors(read_metadata(prop.value, path), path)


def keep_tensors(path: Path, name: str) -> None:
    """Names the file of the tensors beside a model, and writes into the model what it is, see `require_tensors`.

    Args:
        path: the model, whose tensors are in `data_of(path)`.
        name: of their file from now on, in the same folder.
    """
    onnx = library("onnx", f"writing {path.name}.data")
    data_of(path).rename(path.with_name(name))
    model = onnx.load(str(path), load_external_data=False)
    for entry in _locations(model):
        entry.value = name
    kept = {prop.key: prop.value for prop in model.metadata_props}
    tensors = {"tensors": fingerprint(path.with_name(name))}
    kept[KEY] = json.dumps({**json.loads(kept[KEY]), **tensors})
    onnx.helper.set_model_props(model, kept)
    onnx.save(model, str(path))


def _locations(model: Any) -> list[Any]:
    """Returns the entries of a model that say in which file each of its tensors is."""
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    return [entry for entry in entries if entry.key == "location"]
