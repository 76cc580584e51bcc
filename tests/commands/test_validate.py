"""What `maekit validate` says of the images that it measures."""

from typing import Any

from maekit.commands.validate import part_measured

SET_ASIDE = "no val folder: 0.1 of each class set aside, split_seed 0"


def data(val: str = "b") -> dict[str, Any]:
    return {"splits": {"train": {"images": 900, "fingerprint": "a"}, "val": {"images": 100, "fingerprint": val}}}


def test_a_part_of_other_data_that_is_measured_is_told() -> None:
    (line,) = part_measured(SET_ASIDE, data(), data("c"))
    assert "100 of 1,000 images are measured" in line and "val/" in line
    assert part_measured(SET_ASIDE, data(), None) == [line]


def test_a_run_s_own_split_and_a_given_one_are_not_told() -> None:
    assert part_measured(SET_ASIDE, data(), data()) == []
    assert part_measured("its own validation split", data(), data("c")) == []
    assert part_measured("three sets", {"splits": {"imagenet_a": {"images": 9, "fingerprint": "a"}}}, None) == []
