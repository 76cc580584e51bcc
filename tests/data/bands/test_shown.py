"""Which bands pictures show: a flag, checked where the names are known, and kept in the card."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maekit.data.images.bands.choose import Chosen, choose_bands
from maekit.data.images.bands.facts import bands_of
from maekit.data.images.bands.flags import BandFlags
from maekit.data.images.bands.make_stats import make_stats
from maekit.data.images.bands.stats_file import write_stats
from maekit.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An array of five channels with its statistics, and an RGB picture."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).integers(0, 4000, (10, 12, 5)).astype(np.uint16))
    Image.new("RGB", (12, 10)).save(tmp_path / "a.png")
    write_stats(tmp_path / "stats.json", make_stats([str(tmp_path / "a.npy")], BandFlags(bands=5).asked_bands())[0])
    return tmp_path


def chosen(folder: Path, file: str, **flags: object) -> Chosen:
    asked = BandFlags(**flags).asked_bands()  # type: ignore[arg-type]
    return choose_bands([(1, lambda index: str(folder / file))], asked, folder)


@pytest.mark.parametrize("shown", ["B4,B2,B1", "B5"])
def test_named_bands_are_kept_in_the_card(folder: Path, shown: str) -> None:
    reading = chosen(folder, "a.npy", bands=5, shown_bands=shown).reading
    assert reading is not None
    assert reading.bands.shown == tuple(shown.split(","))
    assert bands_of(reading.bands.plain()) == reading.bands


@pytest.mark.parametrize(
    ("file", "flags", "fact"),
    [
        ("a.npy", {"bands": 5, "shown_bands": "B4,B2,B11"}, "B11"),
        ("a.npy", {"bands": "B1,B2", "shown_bands": "B3"}, "B3"),
        ("a.npy", {"bands": 5, "shown_bands": "B4,B2"}, "2 names"),
        ("a.png", {"shown_bands": "R"}, "8-bit RGB"),
        ("a.png", {"bands": "B,G,R", "shown_bands": "NIR"}, "NIR"),
    ],
)
def test_others_are_refused(folder: Path, file: str, flags: dict[str, object], fact: str) -> None:
    with pytest.raises(UserError, match=fact):
        chosen(folder, file, **flags)


def test_rgb_pictures_may_be_asked_for_as_they_are(folder: Path) -> None:
    assert chosen(folder, "a.png", shown_bands="R,G,B").reading is None
