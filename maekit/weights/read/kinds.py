"""What a file of weights can be: its layout and its kind, how a report says them, and what it may have beside a ViT."""

from typing import Literal

Kind = Literal[
    "encoder", "pretraining", "classifier_mean", "classifier_class", "linear_probe", "segmenter", "detector", "unknown"
]

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
