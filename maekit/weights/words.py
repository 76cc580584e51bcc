"""What a file of weights can be: its layout and its kind, and how a report says them."""

from typing import Literal

Layout = Literal[
    "mae",
    "transformers",
    "mmpretrain",
    "mmsegmentation",
    "solo-learn",
    "lightning",
    "maekit",
    "state_dict",
    "unknown",
]
Kind = Literal["encoder", "pretraining", "classifier_mean", "classifier_class", "linear_probe", "segmenter", "unknown"]

LAYOUTS: dict[Layout, str] = {
    "mae": "facebookresearch/mae",
    "transformers": "Hugging Face transformers",
    "mmpretrain": "mmpretrain",
    "mmsegmentation": "mmsegmentation",
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
    "unknown": "unknown content",
}


def in_words(layout: Layout, kind: Kind) -> str:
    """Says both, as in `facebookresearch/mae, pre-training with decoder`."""
    return f"{LAYOUTS[layout]}, {KINDS[kind]}"
