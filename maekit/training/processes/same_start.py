"""Checks that all processes of a run were started alike: versions, settings, data."""

import platform
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maekit.base.identity import DataIdentity, fingerprint
from maekit.errors import UserError
from maekit.recipes.recipe import flat
from maekit.runs.folder import PACKAGES, version_of

# What machines may have each in its own way: places, and how fast it goes.
_OF_A_MACHINE = ("run.folder", "run.num_threads", "data.num_workers", "model.weights")


@dataclass(frozen=True)
class Start:
    """How one process was started.

    Attributes:
        node: number of its machine.
        host: the machine's name.
        versions: of the packages that compute, and of Python.
        settings: task, recipe and every setting by its dotted key, without those that are a machine's own.
        data: number of images and fingerprint by split, and those of the classes.
    """

    node: int
    host: str
    versions: Mapping[str, str | None]
    settings: Mapping[str, str]
    data: Mapping[str, tuple[int, str]]


def start_of(node: int, task: str, recipe: str, values: Mapping[str, object], identity: DataIdentity) -> Start:
    """Returns how this process was started.

    Args:
        node: number of its machine.
        task: the task's name.
        recipe: the recipe's name.
        values: checked values of every section.
        identity: of the data, set up.
    """
    settings = {key: repr(value) for key, value in flat(values) if not _is_of_machine(key, value)}
    versions = {name: version_of(name) for name in PACKAGES} | {"python": platform.python_version()}
    data = {f"{name} images": (split.images, split.fingerprint) for name, split in identity.splits.items()}
    data["classes"] = (len(identity.classes), fingerprint(*(name.encode() for name in identity.classes)))
    return Start(node, socket.gethostname(), versions, {"--task": task, "--recipe": recipe, **settings}, data)


def hosts_of(starts: Sequence[Start]) -> list[str]:
    """Returns the name of each machine, by its number."""
    return [host for _, host in sorted({start.node: start.host for start in starts}.items())]


def require_same(starts: Sequence[Start]) -> None:
    """Refuses processes that were started in another way than process 0, naming the first difference.

    Args:
        starts: of each process, by its number.

    Raises:
        UserError: `shared`, since every process finds the same.
    """
    for number, other in enumerate(starts[1:], 1):
        words = _difference(starts[0], other)
        if words is not None:
            mine, theirs, answer = words
            error = UserError(
                f"process {number} on {other.host} has {theirs}, process 0 on {starts[0].host} {mine}; {answer}"
            )
            error.shared = True
            raise error


def _difference(first: Start, other: Start) -> tuple[str, str, str] | None:
    """What process 0 has, what another has instead, and what to do; None if they are alike."""
    for key in sorted(first.versions.keys() | other.versions.keys()):
        one, two = first.versions.get(key), other.versions.get(key)
        if one != two:
            return f"{one}", f"{key} {two or 'not installed'}", "install the same versions on every machine"
    for key in [*first.settings, *(key for key in other.settings if key not in first.settings)]:
        a, b = first.settings.get(key, "none"), other.settings.get(key, "none")
        if a != b:
            flag = key if key.startswith("--") else f"--{key}"
            return a, f"{flag} {b}", "start every process with the same command and recipes"
    for what in sorted(first.data.keys() | other.data.keys()):
        here, there = first.data.get(what), other.data.get(what)
        if here != there:
            return _counted(here, what), f"other data, {_counted(there, what)}", "give every machine the same files"
    return None


def _counted(found: tuple[int, str] | None, what: str) -> str:
    return f"no {what}" if found is None else f"{found[0]:,} {what} (fingerprint {found[1]})"


def _is_of_machine(key: str, value: object) -> bool:
    """Whether a setting may differ: a speed, or a place of data, whose contents are compared instead."""
    place = key.startswith("data.") and isinstance(value, str) and Path(value).expanduser().exists()
    return key in _OF_A_MACHINE or place
