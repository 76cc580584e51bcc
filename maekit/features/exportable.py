"""What is exported of any backbone: pooled features, and the map of its patch tokens."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from maekit.backbone.protocol import Backbone, Features
from maekit.base.exportable import Compared, Exportable, Outputs, compare_outputs, images_of_batch

OUTPUTS = ("features", "patches")
SAME_COSINE = 0.9999  # of two features that count as the same


class FeatureMaps(nn.Module):
    """A backbone with its pooling.

    Args:
        backbone: runs once an image.
        owner: what `pooled` computes with, whose parameters are the graph's; the backbone itself, or a model around it.
        pooled: images [B, C, H, W] to features [B, D], by one call of the backbone.
    """

    def __init__(self, backbone: Backbone, owner: nn.Module, pooled: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.owner, self.pooled = owner, pooled
        self._backbone = (backbone,)  # in a tuple: it is a part of the owner

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns features [B, D], and the patch tokens after the last block and norm as a map [B, D, h, w]."""
        (backbone,), seen = self._backbone, []

        def keep(module: nn.Module, given: object, found: Features) -> None:
            seen.append(found.tokens)

        handle = backbone.register_forward_hook(keep)
        try:
            features = self.pooled(images)
        finally:
            handle.remove()
        patches = backbone.patch_tokens(seen[0]).transpose(1, 2)
        return features, patches.reshape(images.shape[0], backbone.embed_dim, *backbone.patch_grid(images))


def feature_exportable(
    backbone: Backbone,
    owner: nn.Module,
    pooled: Callable[[Tensor], Tensor],
    prepare: Callable[[Any], Tensor],
    input: Mapping[str, Any],
    image_size: tuple[int, int],
) -> Exportable:
    """Returns what is exported of a backbone.

    Args:
        backbone: in evaluation mode.
        owner: see `FeatureMaps`.
        pooled: images [B, C, H, W] to features [B, D], by one call of the backbone.
        prepare: an image as read to [C, H, W].
        input: the arguments of that transform.
        image_size: height and width in pixels that are traced.
    """
    return Exportable(
        module=FeatureMaps(backbone, owner, pooled).eval(),
        outputs=OUTPUTS,
        image_size=image_size,
        channels=backbone.channels,
        metadata={
            "family": "features",
            "input": dict(input),
            "embed_dim": backbone.embed_dim,
            "patch_size": backbone.patch_size,
            "final_norm": backbone.has_final_norm,
        },
        prepare=prepare,
        images_of=images_of_batch,
        compare=_compare,
        unit=f"features (cosine of at least {SAME_COSINE})",
        side_multiple=0 if backbone.fixed_size else backbone.patch_size,
        fixed_because=backbone.fixed_size,
    )


def _compare(ours: Outputs, theirs: Outputs) -> Compared:
    a, b = (found["features"].astype(np.float64) for found in (ours, theirs))
    if a.shape != b.shape:
        return compare_outputs(ours, theirs, OUTPUTS, np.zeros(len(a), dtype=bool))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return compare_outputs(ours, theirs, OUTPUTS, cosines >= SAME_COSINE)
