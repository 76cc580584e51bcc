import subprocess
import sys

import pytest

from maekit.backbone.sizes import all_sizes, load_size
from maekit.errors import UserError


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("vit_base_patch16", (768, 12, 12, 16)),
        ("vit_large_patch16", (1024, 24, 16, 16)),
        ("vit_huge_patch14", (1280, 32, 16, 14)),
    ],
)
def test_the_papers_sizes(name: str, numbers: tuple[int, int, int, int]) -> None:
    size = load_size(name)
    assert (size.embed_dim, size.num_blocks, size.num_heads, size.patch_size) == numbers
    assert size.name == name


def test_every_size_can_be_built() -> None:
    assert len(all_sizes()) >= 5
    for name, size in all_sizes().items():
        assert load_size(name) == size
        assert size.embed_dim % size.num_heads == 0, name
        assert size.embed_dim % 4 == 0, name


def test_a_mistyped_size_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'vit_bass_patch16'.*did you mean 'vit_base_patch16'\?") as caught:
        load_size("vit_bass_patch16")
    assert "\n" not in str(caught.value)


def test_sizes_are_read_without_torch() -> None:
    code = "import sys, maekit.backbone.sizes as s; s.all_sizes(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
