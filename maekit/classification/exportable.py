"""What is exported of models of one thing an image: scores and what follows from them, by name."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from maekit.base.exportable import (
    Compared,
    Exportable,
    Outputs,
    Runs,
    compare_outputs,
    images_of_batch,
    method_replaced,
)
from maekit.base.model import TransferModel
from maekit.data.images.transforms import EvalTransform

FAMILY = "classification"


class ImageScores(nn.Module):
    """A model of one thing an image, and what follows from its scores.

    Args:
        model: images [B, C, H, W] to scores [B, S].
        after: scores in fp32 to the outputs.
    """

    def __init__(self, model: nn.Module, after: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.model, self.after = model, after

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the outputs of normalised images [B, C, H, W]."""
        return self.after(self.model(images).float())


def image_exportable(
    model: TransferModel,
    input: Mapping[str, Any],
    outputs: tuple[str, ...],
    after: Callable[[Tensor], tuple[Tensor, ...]],
    equal: Callable[[Outputs, Outputs], np.ndarray],
    metadata: Mapping[str, object],
    scores: Callable[[dict[str, Tensor]], Tensor],
) -> Exportable:
    """Returns what is exported of a model whose call gives scores of an image.

    Args:
        model: loaded, in evaluation mode.
        input: the values of the evaluation transform.
        outputs: names of what `after` gives.
        after: scores [B, S] to the outputs.
        equal: the model's outputs and the file's to one bool an image, whether the predictions are the same.
        metadata: what else the file says.
        scores: the file's outputs to what the model's call gives, for its metrics.
    """
    spec, backbone = model.spec, model.backbone

    def compare(ours: Outputs, theirs: Outputs) -> Compared:
        return compare_outputs(
            ours, theirs, [name for name in outputs if ours[name].dtype.kind == "f"], equal(ours, theirs)
        )

    def evaluated_with(runs: Runs) -> Any:
        return method_replaced(model, "forward", lambda images: scores(runs(images)).to(images.device))

    return Exportable(
        module=ImageScores(model, after).eval(),
        outputs=outputs,
        image_size=spec.image_size,
        channels=spec.num_channels,
        metadata={"family": FAMILY, "target": spec.target, **metadata, "input": dict(input)},
        prepare=EvalTransform(**input),
        images_of=images_of_batch,
        compare=compare,
        unit="images",
        side_multiple=0 if backbone.fixed_size else backbone.patch_size,
        fixed_because=backbone.fixed_size,
        evaluated_with=evaluated_with,
    )


def class_exportable(model: TransferModel, input: Mapping[str, Any]) -> Exportable:
    """Returns what is exported of a classifier: `logits` and `probabilities`, both [B, classes]."""
    spec = model.spec
    return image_exportable(
        model,
        input,
        ("logits", "probabilities"),
        lambda logits: (logits, logits.softmax(-1)),
        lambda ours, theirs: ours["logits"].argmax(1) == theirs["logits"].argmax(1),
        {"class_names": list(spec.class_names), "class_ids": list(spec.class_ids)},
        lambda found: found["logits"],
    )
