"""What a file of weights can be: its layout and its kind, how a report says them, and what it may have beside a ViT."""

from typing import Literal

Layout = Literal[
    "mae",
    "transformers",
    "mmpretrain",
    "mmsegmentation",
    "detectron2",
    "solo-learn",
    "lightning",
    "maekit",
    "state_dict",
    "unknown",
]
Kind = Literal[
    "encoder", "pretraining", "classifier_mean", "classifier_class", "linear_probe", "segmenter", "detector", "unknown"
]

# What a library puts beside a ViT that is no part of it: solo-learn's online classifier only watches the pre-training,
# ViTModel has a pooler whether it was trained or not.
BESIDE: dict[Layout, tuple[str, ...]] = {
    "solo-learn": ("classifier.*",),
    # a ViTForMaskedImageModeling has a mask token for its encoder, and one convolution for a decoder
    "transformers": ("pooler.*", "embeddings.mask_token", "decoder.0.*"),
    "maekit": ("encoder_mask_token",),  # of a pre-training whose encoder sees mask tokens
    "mmsegmentation": ("*.relative_position_index",),  # which maekit computes
    "detectron2": ("*.anchor_generator.cell_anchors.*", "pixel_mean", "pixel_std"),  # likewise
}

COUNTERS = ("n_averaged",)  # of torch's AveragedModel, beside any model


def beside(layout: Layout) -> tuple[str, ...]:
    """Patterns of what a layout's files may have beside a ViT that is no part of it."""
    return (*BESIDE.get(layout, ()), *COUNTERS)


LAYOUTS: dict[Layout, str] = {
    "mae": "facebookresearch/mae",
    "transformers": "Hugging Face transformers",
    "mmpretrain": "mmpretrain",
    "mmsegmentation": "mmsegmentation",
    "detectron2": "detectron2",
    "solo-learn": "solo-learn",
    "lightning": "a Lightning checkpoint",
    "maekit": "a maekit run",
    "state_dict": "a bare state dict",
    "unknown": "unknown layout",
}
KINDS: dict[Kind, str] = {
    "encoder": "encoder alone",
    "pretraining": "pre-training with decoder",
    "classifier_mean": "classifier, mean pooling",
    "classifier_class": "classifier, class token",
    "linear_probe": "linear probe",
    "segmenter": "segmentation with UperNet",
    "detector": "detection with Mask R-CNN",
    "unknown": "unknown content",
}


def in_words(layout: Layout, kind: Kind) -> str:
    """Says both, as in `facebookresearch/mae, pre-training with decoder`."""
    return f"{LAYOUTS[layout]}, {KINDS[kind]}"
