"""A decode head of mmsegmentation in the place of maekit's own: it is given maps and gives logits."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maekit.base.memory_format import MapModule
from maekit.segmentation.head.fcn import FCNHead
from maekit.segmentation.head.four_scales import FourScales
from maekit.segmentation.head.layers import check_batch
from maekit.segmentation.head.mmseg.arguments import HeadClass, check_arguments, find_head
from maekit.segmentation.head.mmseg.inputs import Maps, derived_arguments, inputs_of, kind_of
from maekit.segmentation.head.mmseg.library import OperatorMissingError, version
from maekit.segmentation.head.mmseg.trial import needs_operator, refused, try_head
from maekit.system.remarks import without_remarks


class MmsegHead(MapModule):
    """One decode head of mmsegmentation, on FourScales of the maps where it takes a pyramid, named as UperNetHead.

    `decode` is theirs, `pyramid` and `auxiliary` are maekit's: a file of one of the two UperNets loads into the other.
    Their own losses are not used.

    Args:
        word: such as mmseg:UPerHead.
        args: of that head, but for those that follow from what is here.
        maps: what the backbone gives.
        channels: of the head.
        num_classes: C.
        dropout: of whole channels before the classifier, in [0, 1).
        classifier_std: deviation of the classifier's initial weights.
        aux_channels: of the auxiliary head; None for no such head.
        aux_index: the map that the auxiliary head takes.

    Raises:
        UserError: mmsegmentation is not installed or has no such head; the head needs a compiled operator, gives other
            things than logits, does not take these arguments or takes another number of maps.
    """

    def __init__(
        self,
        word: str,
        args: Mapping[str, Any],
        maps: Maps,
        *,
        channels: int,
        num_classes: int,
        dropout: float,
        classifier_std: float,
        aux_channels: int | None = None,
        aux_index: int = 0,
    ) -> None:
        super().__init__()
        head = find_head(word)
        self.kind, self.count, self.aux_index = kind_of(head.name, args, maps), maps.num_maps, aux_index
        derived = derived_arguments(self.kind, head.parameters, maps)
        check_arguments(head, args, {name: why for name, (_, why) in derived.items()})
        shared = {"channels": channels, "num_classes": num_classes, "dropout_ratio": dropout, "align_corners": False}
        norm = {} if head.parameters["norm_cfg"].default else {"norm_cfg": {"type": "BN"}}
        values = {**norm, **args, **shared, **{name: value for name, (value, _) in derived.items()}}

        self.decode = _built(head, values, classifier_std)
        tried = try_head(head, self.decode, self.kind, maps, num_classes)
        for name in tried.unused:  # else DDP waits for a gradient that never comes
            self.decode.get_parameter(name).requires_grad_(False)
        self.decode.to(torch.get_default_device())
        self.least_images = tried.least_images
        self.about = f"mmsegmentation {version()}'s {head.name}"
        self.pyramid = FourScales(maps.embed_dim) if self.kind == "pyramid" else None
        self.auxiliary = None
        if aux_channels is not None:
            self.auxiliary = FCNHead(
                maps.embed_dim, aux_channels, num_classes, dropout=dropout, classifier_std=classifier_std
            )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns logits [B, C, h', w'] of maps [B, D, h, w], which class tokens [B, D] may follow."""
        logits: Tensor = self.decode(inputs_of(self.kind, self._scales(maps), self.count))
        return logits

    def both(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the logits of `forward` and the auxiliary ones [B, C, h, w]."""
        assert self.auxiliary is not None
        scales = self._scales(maps)
        return self.decode(inputs_of(self.kind, scales, self.count)), self.auxiliary(scales[self.aux_index])

    def _scales(self, maps: Sequence[Tensor]) -> Sequence[Tensor]:
        if self.training:
            check_batch(len(maps[0]), self.least_images)
        if self.pyramid is not None:
            return self.pyramid(maps[: self.count])  # type: ignore[no-any-return]
        return [*(self.laid_out(image) for image in maps[: self.count]), *maps[self.count :]]


def _built(head: HeadClass, values: Mapping[str, Any], classifier_std: float) -> nn.Module:
    """Builds a head on the CPU, since some compute there, and initialises it: its classifier by maekit's setting."""
    try:
        with torch.device("cpu"), without_remarks():
            module: Any = head.cls(**values)
            module.init_weights()
            if module.dropout is None:  # with a dropout of 0; ANNHead calls it all the same
                module.dropout = nn.Identity()
            classifier = getattr(module, "conv_seg", None)
            if isinstance(classifier, nn.Conv2d):
                nn.init.normal_(classifier.weight, std=classifier_std)
                nn.init.zeros_(classifier.bias)  # type: ignore[arg-type]
    except OperatorMissingError as error:
        raise needs_operator(head, error) from None
    except Exception as error:  # whatever a head says of its arguments: assertions, too
        raise refused(head, error) from error
    assert isinstance(module, nn.Module)
    return module
