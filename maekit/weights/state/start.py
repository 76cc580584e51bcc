"""Checkpoints that hold only what a run changed: the rest is in the weights it began from, which are found again.

The card of such a checkpoint has `start`, a `Start`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from maekit.errors import UserError
from maekit.system.plain import table
from maekit.weights.chosen import split_key, with_key
from maekit.weights.families.registry import names_in_model
from maekit.weights.get.find import find_weights
from maekit.weights.read.metadata import CARD

KEY, STATE = "start", "state_dict"
Read = Callable[[Path], Mapping[str, Tensor]]  # the tensors of a file of weights under their released names


class Start(TypedDict):
    """The weights that a run began from.

    Attributes:
        weights: what `--model.weights` named.
        path: the file that was, with its key.
        tensors: for each key that is left out of the checkpoint's `state_dict` the released name in that file.
        fingerprint: of these tensors of the file.
    """

    weights: str
    path: str
    tensors: dict[str, str]
    fingerprint: str


def start_of(weights: str, path: Path, model: nn.Module, found: Mapping[str, Tensor]) -> Start:
    """Returns which of a model's parameters are not trained and are, bit for bit, those of a file.

    What was resized to the model, or is not in the file, stays in the checkpoint.

    Args:
        weights: what `--model.weights` named.
        path: the file.
        model: with `backbone` and `head`, the file's weights loaded.
        found: the file's tensors under their released names.
    """
    own = {name.removeprefix("backbone."): name for name in model.state_dict()}
    frozen = {name: p for name, p in model.named_parameters() if not p.requires_grad}
    tensors = {}
    for released, ours in names_in_model(found, own).items():
        parameter = frozen.get(own.get(ours, ""))
        if parameter is not None and _same(parameter, found[released]):
            tensors[f"model.{own[ours]}"] = released
    held = {released: found[released] for released in tensors.values()}
    return Start(weights=weights, path=str(path.absolute()), tensors=tensors, fingerprint=fingerprint(held))


def _same(own: Tensor, other: Tensor) -> bool:
    return own.dtype == torch.float32 and own.shape == other.shape and torch.equal(own.detach().cpu(), other.float())


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Returns 24 hex digits of the tensors' names and numbers as float32; their order does not matter."""
    digest = blake2b(digest_size=12)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().float().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def completed(
    contents: Mapping[Any, object], path: Path, read: Read, weights: str | None = None
) -> Mapping[Any, object]:
    """Returns a checkpoint's contents with the tensors that it left out; those of a whole checkpoint as they are.

    Args:
        contents: of the file.
        path: the checkpoint.
        read: returns the tensors of a file of weights.
        weights: what the user says it was trained from; None for what the checkpoint says: its file, then its name,
            then a file of that name beside the checkpoint.

    Raises:
        UserError: the weights are not there, or are other ones.
    """
    start = start_in(contents)
    if start is None:
        return contents
    looked = [weights] if weights is not None else _places(start, path)
    others: list[str] = []
    for place in looked:
        with suppress(UserError):
            tensors = read(find_weights(place))
            held = {released: tensors[released] for released in start["tensors"].values() if released in tensors}
            if fingerprint(held) == start["fingerprint"]:
                missing = {key: held[released].float() for key, released in start["tensors"].items()}
                return {**contents, STATE: {**missing, **table(contents[STATE])}}
            others.append(place)
    begun = f"{path} holds only what training changed of {start['weights']}"
    if others:
        raise UserError(
            f"{begun}, and {others[0]} holds other weights (their fingerprint is not {start['fingerprint']}); give the "
            f"file it was trained from, {start['path']}, at that place or beside the checkpoint"
        )
    raise UserError(
        f"{begun}, expected that file at {start['path']} or beside the checkpoint, and it is at neither; copy it there"
    )


def start_in(contents: Mapping[Any, object]) -> Start | None:
    """Returns what a checkpoint's card says of the weights that complete it; None for a whole checkpoint."""
    start = table(table(contents.get(CARD)).get(KEY))
    if not start:
        return None
    tensors = {str(key): str(name) for key, name in table(start["tensors"]).items()}
    weights, path, digits = (str(start[key]) for key in ("weights", "path", "fingerprint"))
    return Start(weights=weights, path=path, tensors=tensors, fingerprint=digits)


def leave_out(checkpoint: dict[str, Any], start: Start | None) -> None:
    """Takes out of a checkpoint, in place, what `start` says of it; nothing without one.

    With fsdp2 the first process alone has any tensors.
    """
    if start is not None:
        checkpoint[CARD][KEY] = start
        for name in start["tensors"]:
            checkpoint[STATE].pop(name, None)


def put_back(checkpoint: dict[str, Any], own: Callable[[], Mapping[str, Tensor]]) -> None:
    """Puts into a checkpoint, in place, what it left out, from the state of a model that has it already."""
    if (start := start_in(checkpoint)) is not None:
        state = own()
        checkpoint[STATE].update({name: state[name] for name in start["tensors"]})


def _places(start: Start, checkpoint: Path) -> Iterator[str]:
    file, key = split_key(start["path"])
    yield start["path"]
    yield start["weights"]
    yield str(with_key(checkpoint.parent / Path(file).name, key))
