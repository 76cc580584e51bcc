"""The devices that are planned for: `4x24GiB`, `8xA100-80GB`, `1xcpu`, `auto`. Only auto imports torch."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from maekit.errors import UserError, nearest
from maekit.system.memory import cgroup_room
from maekit.system.yaml_loader import YAML_LOADER

GIB = 2**30
EXAMPLES = "such as 4x24GiB, 8xA100-80GB, 1xcpu or auto"


@dataclass(frozen=True)
class Devices:
    """Devices of one kind that train together.

    Attributes:
        count: how many.
        name: of the kind.
        kind: as torch calls it: cuda, mps or cpu.
        memory: bytes of one.
        half: peak operations a second of one in 16 bit; None where it is not known.
        single: the same in fp32.
        bandwidth: bytes a second to and from its memory; None where it is not known.
        bf16: whether it computes in bf16.
        source: of these numbers.
        here: whether they are this machine's.
    """

    count: int
    name: str
    kind: Literal["cuda", "mps", "cpu"]
    memory: int
    half: float | None = None
    single: float | None = None
    bandwidth: float | None = None
    bf16: bool = True
    source: str = ""
    here: bool = False

    def peak(self, precision: str) -> float | None:
        """Returns the peak operations a second in a precision, if known."""
        return self.single if precision == "32-true" else self.half


def find_devices(text: str) -> Devices:
    """Returns the devices that `--devices` means.

    Raises:
        UserError: not of the form, no devices, or no such card.
    """
    if text.strip().lower() == "auto":
        return _here()
    match = re.fullmatch(r"\s*(?:(\d+)\s*[xX*]\s*)?([A-Za-z0-9][\w .-]*)\s*", text)
    if match is None:
        raise UserError(f"--devices: got '{text}', expected a number and a kind, {EXAMPLES}")
    count, kind = int(match[1] or 1), match[2]
    if count < 1:
        raise UserError(f"--devices: got '{text}', expected 1 device or more, {EXAMPLES}")
    plain = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:GiB|GB|G)", kind, re.IGNORECASE)
    if plain:
        if float(plain[1]) <= 0:
            raise UserError(f"--devices: got '{text}', expected a memory above 0, {EXAMPLES}")
        return Devices(count, f"{plain[1]} GiB", "cuda", round(float(plain[1]) * GIB))
    if kind.lower() == "cpu":
        return Devices(count, "cpu", "cpu", _memory_here() // count, here=True)
    return _card(text, count, kind)


def _card(text: str, count: int, kind: str) -> Devices:
    cards = yaml.load(Path(__file__).with_name("devices.yaml").read_text(encoding="utf-8"), YAML_LOADER)
    exact = [name for name in cards if _plain(name) == _plain(kind)]
    found = exact or [name for name in cards if _plain(name).startswith(_plain(kind))]
    if len(found) != 1:
        if found:
            raise UserError(f"--devices: got '{text}', which may be {' or '.join(found)}; write one of them")
        near = nearest(kind, cards)
        raise UserError(f"--devices: got '{text}', expected {EXAMPLES}{near} (known cards: {', '.join(cards)})")
    row = cards[found[0]]
    return Devices(
        count,
        found[0],
        "cuda",
        row["memory"] * GIB,
        half=row["half"] * 1e12,
        single=row["single"] * 1e12,
        bandwidth=row["bandwidth"] * 1e9,
        bf16=row["bf16"],
        source=row["source"],
    )


def _here() -> Devices:
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return Devices(torch.cuda.device_count(), facts.name, "cuda", facts.total_memory, bf16=bf16, here=True)
    if torch.backends.mps.is_available():
        return Devices(1, "mps", "mps", _memory_here(), bf16=False, here=True)
    return Devices(1, "cpu", "cpu", _memory_here(), here=True)


def _memory_here() -> int:
    """Bytes of this machine's memory, or of what a container may still take of it."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    room = cgroup_room()
    return whole if room is None else min(whole, room)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
