"""Small segmenters with mmsegmentation's heads."""

from typing import Any

import torch

from maekit.base.spec import DataSpec
from maekit.segmentation.data.dataset import SegBatch
from tests.segmentation import helpers

FIVE = {
    "UPerHead": "{}",
    "FCNHead": "{num_convs: 1}",
    "PSPHead": "{pool_scales: [1, 2]}",
    "SETRUPHead": "{num_convs: 2, up_scale: 2}",
    "DPTHead": "{readout_type: project, post_process_channels: [8, 8, 16, 16]}",
}
OTHERS = {
    "ANNHead": "{project_channels: 8}",
    "APCHead": "{}",
    "ASPPHead": "{dilations: [1, 2]}",
    "CCHead": "{}",  # mmcv's criss-cross attention is plain PyTorch since 1.3.13
    "DepthwiseSeparableASPPHead": "{c1_channels: 8, dilations: [1, 2]}",
    "DepthwiseSeparableFCNHead": "{}",
    "DMHead": "{}",
    "DNLHead": "{}",
    "EMAHead": "{ema_channels: 16, num_bases: 8, num_stages: 2}",
    "FPNHead": "{}",
    "GCHead": "{}",
    "ISAHead": "{isa_channels: 16}",
    "LightHamHead": "{ham_channels: 24}",
    "NLHead": "{}",
    "SegformerHead": "{}",
    "SegmenterMaskTransformerHead": "{num_layers: 1, num_heads: 2, embed_dims: 16}",
    "SETRMLAHead": "{mla_channels: 6}",
}
SPEC = DataSpec(tuple(map(str, range(helpers.CLASSES))), (32, 48))


def model(head: str, args: str = "{}", **overrides: Any) -> Any:
    return helpers.model(SPEC, head=f"mmseg:{head}", head_args=args, window_stride=32, **overrides)


def batch(count: int = 2) -> SegBatch:
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(count, 3, *SPEC.image_size, generator=generator)
    labels = torch.randint(helpers.CLASSES, (count, *SPEC.image_size), generator=generator)
    labels[:, :4] = 255
    return SegBatch(images, labels, torch.arange(count))
