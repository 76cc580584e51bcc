"""Masks: how many patches, which, and from what."""

import pytest
import torch

from maekit.errors import UserError
from maekit.pretraining.masking import Kind, check_masking, draw_noise, fixed_noise, mask_by_noise, num_visible

GRIDS = [(14, 14), (16, 16), (6, 10), (8, 8)]


@pytest.mark.parametrize(
    ("patches", "ratio", "kept"), [(196, 0.75, 49), (256, 0.75, 64), (196, 0.9, 19), (10, 0.15, 8)]
)
def test_as_many_patches_are_kept_as_the_released_code_keeps(patches: int, ratio: float, kept: int) -> None:
    assert num_visible(patches, ratio) == kept


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_ratio_outside_is_refused(ratio: float) -> None:
    with pytest.raises(UserError, match=r"got a mask_ratio of .*, expected above 0 and below 1"):
        num_visible(196, ratio)


@pytest.mark.parametrize(("ratio", "lack"), [(0.99, "see"), (0.001, "predict")])
def test_a_ratio_that_leaves_no_patch_is_refused(ratio: float, lack: str) -> None:
    if lack == "predict":
        ratio = 1e-18  # 1 - ratio is 1: nothing is hidden
    with pytest.raises(UserError, match=f"leaves none to {lack}; set another --model.mask_ratio"):
        num_visible(16, ratio)


def test_the_patches_of_lowest_noise_are_seen_in_its_order() -> None:
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.1, 0.6]])
    masking = mask_by_noise(noise, 0.5)
    assert masking.visible.tolist() == [[1, 3], [2, 0]]
    assert masking.hidden.tolist() == [[2, 0], [3, 1]]
    assert masking.masked.tolist() == [[True, False, True, False], [False, True, False, True]]
    shuffled = torch.cat([masking.visible, masking.hidden], dim=1)
    assert torch.equal(shuffled.gather(1, masking.restore), torch.arange(4).expand(2, -1))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    ("kind", "ratio"), [("random", 0.75), ("random", 0.4), ("block", 0.5), ("block", 0.75), ("grid", 0.75)]
)
def test_every_image_hides_the_same_number(kind: Kind, ratio: float, grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    masking = mask_by_noise(draw_noise(kind, 20, grid, ratio), ratio)
    patches = grid[0] * grid[1]
    assert set(masking.masked.sum(1).tolist()) == {patches - int(patches * (1 - ratio))}
    assert len({tuple(row) for row in masking.masked.tolist()}) > (3 if kind == "grid" else 15)


def test_random_masks_hide_each_patch_as_often() -> None:
    torch.manual_seed(0)
    hidden = mask_by_noise(draw_noise("random", 4000, (4, 4), 0.75), 0.75).masked.double().mean(0)
    assert (hidden - 0.75).abs().max() < 4 * (0.75 * 0.25 / 4000) ** 0.5


def test_grids_keep_one_patch_of_each_four() -> None:
    masked = mask_by_noise(draw_noise("grid", 30, (6, 8), 0.75), 0.75).masked.reshape(30, 3, 2, 4, 2)
    kept = (~masked).permute(0, 1, 3, 2, 4).flatten(3)
    assert (kept.sum(-1) == 1).all()
    places = kept.long().argmax(-1).flatten(1)
    assert (places == places[:, :1]).all(), "the same place in a whole image"
    assert set(places.flatten().tolist()) == {0, 1, 2, 3}, "and all places over many images"


def test_blocks_hang_together_more_than_random_patches() -> None:
    torch.manual_seed(0)

    def alike(kind: Kind) -> float:
        masked = mask_by_noise(draw_noise(kind, 200, (14, 14), 0.5), 0.5).masked.reshape(-1, 14, 14)
        return (masked[:, 1:] == masked[:, :-1]).double().mean().item()

    assert abs(alike("random") - 0.5) < 0.02
    assert alike("block") > 0.75


@pytest.mark.parametrize("kind", ["random", "block", "grid"])
def test_a_fixed_mask_depends_on_its_seed_alone(kind: Kind) -> None:
    together = fixed_noise(kind, [5, 3, 9], (8, 8), 0.75)
    torch.rand(7)
    assert torch.equal(together[1:2], fixed_noise(kind, [3], (8, 8), 0.75))
    assert not torch.equal(together[0], together[1])
    assert torch.equal(fixed_noise(kind, [-1], (8, 8), 0.75), fixed_noise(kind, [0], (8, 8), 0.75)), "padding"


@pytest.mark.parametrize(("grid", "ratio"), [((8, 8), 0.5), ((7, 8), 0.75), ((8, 7), 0.75)])
def test_grid_masks_that_do_not_divide_are_refused(grid: tuple[int, int], ratio: float) -> None:
    with pytest.raises(UserError, match=r"got masking grid with a mask_ratio of .* set --model.masking random"):
        check_masking("grid", grid, ratio)
