"""The licence of weights: that of the weights they were started from, as far back as the files say it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from maekit.errors import UserError
from maekit.export.card.text import plain
from maekit.system.plain import table
from maekit.weights.chosen import split_key
from maekit.weights.get.find import HUB, official_of, shipped_weights
from maekit.weights.get.official import hub_licence, terms_of
from maekit.weights.read.metadata import card_of, model_settings
from maekit.weights.read.safe_load import load_file, read_metadata

_AUTHORS = "facebookresearch/mae"
_MOST_STARTS = 10


class Licence(NamedTuple):
    """What is known of a licence.

    Attributes:
        ident: its identifier, in the form of the Hugging Face hub; empty if it is not known.
        started_from: the weights that the training began with, in words.
        terms: what that means for these weights, in words.
        base_model: the model of the Hugging Face hub they come from; empty if they come from none.
        authors: whether they come from a file that the authors of MAE published.
    """

    ident: str
    started_from: str
    terms: str
    base_model: str = ""
    authors: bool = False


def licence_of(given: str, start: str | None) -> Licence:
    """Finds the licence of weights.

    Args:
        given: what the user called the weights: a name, a path, hf:owner/name.
        start: the weights that a run's card says its training began with; None without a card.
    """
    if start is None:
        own = _licence(given, "these weights")
        return own or Licence("", "not recorded", "Not recorded: the file does not say where it comes from.")
    if start == "none":
        return Licence("", "random numbers: nothing else went into them", "Whoever trained these weights decides.")
    last = start
    for link in _chain(start):
        last = link
        if found := _licence(link, f"`{plain(link)}`, with which the training of these began"):
            also = "" if link == start else f", which was started from `{plain(link)}`"
            return found._replace(started_from=f"`{plain(start)}`{also}")
    if last == "none":
        words = f"`{plain(start)}`, whose own training began with random numbers"
        return Licence("", words, "Whoever trained these weights and those decides.")
    unknown = f"Those of `{plain(last)}` hold for these as well; they are not recorded here."
    return Licence("", f"`{plain(start)}`", unknown)


def _chain(start: str) -> Iterator[str]:
    """Yields the starting weights, then what those were started from, as long as the files are there."""
    link: str | None = start
    for _ in range(_MOST_STARTS):
        if link is None:
            return
        yield link
        link = _started_from(Path(link).expanduser())


def _started_from(file: Path) -> str | None:
    file = Path(split_key(file)[0])
    try:
        if not file.is_file():
            return None
        start = model_settings(table(load_file(file))).get("weights")
    except (UserError, OSError):
        return None
    return start if isinstance(start, str) else None


def _licence(given: str, what: str) -> Licence | None:
    """Returns the licence of published weights, known by name or file name, or of a model on the hub; else None."""
    given = split_key(given)[0]
    if given.startswith(HUB):
        owner = given.removeprefix(HUB)
        if known := hub_licence(owner):
            terms = f"Its authors ({known.source}) released {what} under {known.licence}.{_more(known.licence)}"
            return Licence(hub_name(known.licence), f"`{given}`", terms, base_model=owner.partition("@")[0])
        terms = f"The licence on the page of `{owner}` on the Hugging Face hub holds for {what}; see there."
        return Licence("", f"`{given}`", terms, base_model=owner.partition("@")[0])
    if (shipped := shipped_weights().get(given)) is not None:
        licence = str(card_of(read_metadata(shipped)).get("licence", ""))
        terms = f"maekit released {what}, which come with it, under {licence}."
        return Licence(hub_name(licence), f"`{given}`", terms) if licence else None
    official = official_of(given)
    if official is None:
        return None
    authors = _AUTHORS in official.source
    who = "The authors of MAE" if authors else "Its authors"
    terms = f"{who} ({official.source}) released {what} under {official.licence}.{_more(official.licence)}"
    return Licence(hub_name(official.licence), f"`{plain(given)}`", terms, authors=authors)


def _more(licence: str) -> str:
    """What follows for weights that are made from others of a licence; empty where every use is allowed."""
    if "NC" in licence:
        return " It allows no commercial use, and weights that are derived from them inherit that."
    return f" That licence is {terms}." if (terms := terms_of(licence)) else ""


def hub_name(licence: str) -> str:
    """Returns a licence in the form of the Hugging Face hub's identifiers: `cc-by-nc-4.0` for CC-BY-NC 4.0."""
    return licence.lower().replace(" ", "-")
