"""Checkpoints of facebookresearch/ijepa: an encoder, the target encoder that follows it, and a predictor.

The target encoder is meant: "We use the target-encoder for evaluation and average pool its output" (arXiv 2301.08243,
appendix A.1); FILE#encoder names the other. None has a class token.
Source: facebookresearch/ijepa @ 52c1ae9 src/train.py, src/helper.py, src/models/vision_transformer.py.
"""

from maekit.weights.layouts.layout import Contents, Layout, Said
from maekit.weights.layouts.plain_names import from_plain

_SETS = ("target_encoder", "encoder")


def _recognise(contents: Contents, prefix: str) -> bool:
    in_set = contents.key.rpartition(".")[2] in _SETS and prefix in ("", "module.")
    return in_set and f"{prefix}cls_token" not in contents.tensors and f"{prefix}pos_embed" in contents.tensors


LAYOUT = Layout(
    name="i-jepa",
    words="facebookresearch/ijepa",
    recognise=_recognise,
    to_ours=from_plain,
    meant=(*_SETS, "predictor"),
    says=lambda _contents, _ours: Said(pretraining="i_jepa", variant="ijepa"),
)
