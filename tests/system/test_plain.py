"""Plain values of unknown origin, and the names that a flag lists."""

from collections.abc import Callable, Sequence

import pytest

from maekit.backbone.lora import target_names
from maekit.classification.chosen_metrics import metric_names
from maekit.classification.data.tables.rows import given_classes as table_classes
from maekit.data.images.bands.flags import BandFlags
from maekit.segmentation.data.classes import given_classes as mask_classes
from maekit.system.plain import listed_names


@pytest.mark.parametrize("given", ["a, 1 ,b", "[a,1,b]", "['a', 1, \"b\"]", " [a, 1,b] ", ["a", " 1", "b "]])
def test_names_are_the_same_in_brackets_and_without(given: str | list[str]) -> None:
    assert listed_names(given) == ["a", "1", "b"]


def shown(given: str) -> Sequence[str]:
    return BandFlags(shown_bands=given).asked_bands().shown or ()


def file_bands(given: str) -> Sequence[str]:
    return BandFlags(file_bands=given).asked_bands().file_names or ()


@pytest.mark.parametrize("names_of", [shown, file_bands, table_classes, mask_classes])
def test_every_flag_of_names_takes_numbers_in_brackets(names_of: Callable[[str], Sequence[str]]) -> None:
    assert tuple(names_of("[1,2,3]")) == ("1", "2", "3")


def test_flags_of_fixed_names_take_brackets_too() -> None:
    assert target_names("[qkv]") == ("qkv",)
    assert metric_names("[top1,top5]") == ("top1", "top5")
