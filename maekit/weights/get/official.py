"""The files that authors released, and licences: of those files, and of models of the hub. No torch here."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from maekit.system.yaml_loader import YAML_LOADER

ENDS = (".tar", ".pth")  # of file names, taken off from the right


@dataclass(frozen=True)
class Official:
    """One file that authors released; all are listed in official.yaml.

    Attributes:
        name: what a user calls it.
        url: where it is.
        holds: what is in it, in words.
        md5: the hex digits its MD5 begins with; empty where none are published.
        licence: under which terms it was released.
        source: the repository that says so.
        pretraining: how it was trained, as `layout.Said` calls it.
        backbone: the name of its ViT; empty where it is not known.
    """

    name: str
    url: str
    holds: str
    md5: str
    licence: str
    source: str
    pretraining: str = "mae"
    backbone: str = ""

    @property
    def file(self) -> str:
        """Its file name, which without its ending is an alias of `name`."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class HubLicence:
    """What is known of the licence of models on the Hugging Face hub.

    Attributes:
        names: a pattern (fnmatch) of owner/name.
        pretraining: how they were trained.
        licence: under which terms they were released.
        source: the repository that says so.
    """

    names: str
    pretraining: str
    licence: str
    source: str


@cache
def _table() -> dict[str, Any]:
    text = files("maekit.weights").joinpath("official.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.load(text, YAML_LOADER)
    return table


@cache
def official_weights() -> dict[str, Official]:
    """Returns every official file by its name, in official.yaml's order; without aliases."""
    return {
        name: Official(
            name,
            f"{release['base']}/{row['path']}",
            row["holds"],
            row.get("md5", ""),
            release["licence"],
            release["source"],
            release["pretraining"],
            row.get("backbone", ""),
        )
        for release in _table()["releases"]
        for name, row in release["weights"].items()
    }


def hub_licence(name: str) -> HubLicence | None:
    """Returns what is known of the licence of a model of the hub, by owner/name, perhaps with @revision."""
    known = (HubLicence(**row) for row in _table()["hub"])
    return next((each for each in known if fnmatchcase(name.partition("@")[0], each.names)), None)


def terms_of(licence: str) -> str:
    """Returns what a licence asks beyond what every one does, such as `no commercial use`; empty where nothing is."""
    return str(_table()["terms"].get(licence, ""))


def with_terms(licence: str) -> str:
    """Returns a licence and, in brackets, its terms."""
    terms = terms_of(licence)
    return f"{licence} ({terms})" if terms else licence


def bare(file: str) -> str:
    """Returns a file's name without the endings that authors give to weights: `vit-s-300ep` of vit-s-300ep.pth.tar."""
    for end in ENDS:
        file = file.removesuffix(end)
    return file
