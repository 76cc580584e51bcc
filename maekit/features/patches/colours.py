"""The patches of all images of a folder in one set of colours, and which of them are foreground."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.features.attention_maps import Components, PatchColours
from maekit.features.patches.folder import PatchFolder

Side = Literal["auto", "positive", "negative"]


@dataclass(frozen=True, eq=False)
class Foreground:
    """The patches on one side of the first component of all, as in DINOv2's figures (arXiv 2304.07193, figure 1).

    Attributes:
        whole: the components of all patches.
        positive: whether they are those whose first coordinate is above 0, not below.
    """

    whole: Components
    positive: bool

    def __call__(self, patches: Tensor) -> Tensor:
        """Returns [N] bool for features [N, D]."""
        first = self.whole.scores(patches)[:, 0]
        return first > 0 if self.positive else first < 0


@dataclass(frozen=True, eq=False)
class FolderColours:
    """The colours of the patches of a folder.

    Attributes:
        components: of all patches, or of those of the foreground.
        foreground: which patches have a colour; None for all.
    """

    components: Components
    foreground: Foreground | None

    def __call__(self, patches: Tensor) -> Tensor:
        """Returns [N, 3] float32 in 0..1 for features [N, D]; the background is black."""
        colours = self.components.colours(patches)
        if self.foreground is not None:
            colours[~self.foreground(patches)] = 0
        return colours


def folder_colours(folder: PatchFolder, side: Side | None = None) -> FolderColours:
    """Reads all features, once or twice, and returns the colours of their patches.

    Args:
        folder: the features.
        side: of the first component that is the foreground; auto for the one that is rarer at the images' borders than
            inside; None to colour all patches.

    Raises:
        UserError: a feature is not finite, or no patch is foreground.
    """
    whole = _components(folder, None)
    if side is None:
        return FolderColours(whole, None)
    foreground = Foreground(whole, _inside_is_positive(folder, whole) if side == "auto" else side == "positive")
    return FolderColours(_components(folder, foreground), foreground)


def _components(folder: PatchFolder, among: Foreground | None) -> Components:
    colours, count = PatchColours(), 0
    for image in range(len(folder.files)):
        patches = folder.patches(image)
        chosen = patches if among is None else patches[among(patches)]
        colours.add(chosen)
        count += len(chosen)
    if not count:
        raise UserError(f"{folder.path}: no patch is foreground, as all are alike; leave --foreground out")
    return colours.components()


def _inside_is_positive(folder: PatchFolder, whole: Components) -> bool:
    """Whether patches that touch no border of their image are more often above 0 than those that do."""
    above, total = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for image in range(len(folder.files)):
        height, width = folder.grid(image)
        inside = torch.zeros(height, width, dtype=torch.bool)
        inside[1:-1, 1:-1] = True
        positive = whole.scores(folder.patches(image))[:, 0] > 0
        for place, part in enumerate((inside.flatten(), ~inside.flatten())):
            above[place] += positive[part].sum()
            total[place] += part.sum()
    shares = above / total.clamp(min=1)
    return bool(shares[0] >= shares[1])
