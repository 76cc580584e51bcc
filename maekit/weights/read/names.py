"""Names of a head's tensors, a classifier's or a decoder's: facebookresearch/mae's and those in a maekit model."""

import re
from collections.abc import Collection

_CLASSIFIER = {
    "fc_norm.weight": "head.fc_norm.weight",
    "fc_norm.bias": "head.fc_norm.bias",
    "head.weight": "head.fc.weight",
    "head.bias": "head.fc.bias",
}
# A linear probe's head is Sequential(BatchNorm1d, Linear). Source: facebookresearch/mae @ efb2a80 main_linprobe.py
_PROBE = {
    "head.0.running_mean": "head.fc_norm.running_mean",
    "head.0.running_var": "head.fc_norm.running_var",
    "head.0.num_batches_tracked": "head.fc_norm.num_batches_tracked",
    "head.1.weight": "head.fc.weight",
    "head.1.bias": "head.fc.bias",
}
_TO_MODEL = {**_CLASSIFIER, **_PROBE}
# A decoder is the whole head, and its names are the released ones; what its target was measured from (`head.target.*`)
# has no released name, and is called as if it were the decoder's, so that who has no use for one leaves both alone.
_DECODER = re.compile(r"mask_token|decoder_(?:embed|pos_embed|blocks|norm|pred)(?:\..+)?")
_TARGET, _TARGET_IN_MODEL = "decoder_target.", "head.target."
ENCODER_MASK_TOKEN = "encoder_mask_token"  # of a model whose encoder sees mask tokens; it has no released name either


def model_name(name: str) -> str:
    """The name in a maekit model, without `backbone.`, of a tensor of a released file that is no decoder's."""
    return _TO_MODEL.get(name, name)


def is_probe(names: Collection[str]) -> bool:
    """Whether names, released ones or the model's, are those of a linear probe."""
    return "head.0.running_mean" in names or "head.fc_norm.running_mean" in names


def has_decoder(names: Collection[str]) -> bool:
    """Whether names of a model, given without `backbone.`, are those of one whose head is a decoder."""
    return "head.decoder_pred.weight" in names


def model_names(names: Collection[str], *, decoder: bool = False) -> dict[str, str]:
    """The model's name of each released one; a head that is numbered but no linear probe keeps its names.

    Where the model has no `decoder`, the names of one are kept.
    """
    keep = set() if is_probe(names) else _PROBE.keys()
    renamed = {name: name if name in keep else model_name(name) for name in names}
    return {name: _in_decoder(new) for name, new in renamed.items()} if decoder else renamed


def _in_decoder(name: str) -> str:
    if name.startswith(_TARGET):
        return _TARGET_IN_MODEL + name.removeprefix(_TARGET)
    return f"head.{name}" if _DECODER.fullmatch(name) else name


def released_name(name: str, *, probe: bool) -> str:
    """The released name of one of a model's, given without `backbone.`; `probe` says whether it is a linear probe."""
    if name.startswith(_TARGET_IN_MODEL):
        return _TARGET + name.removeprefix(_TARGET_IN_MODEL)
    if _DECODER.fullmatch(in_head := name.removeprefix("head.")):
        return in_head
    table = {**_CLASSIFIER, **(_PROBE if probe else {})}
    back = {new: old for old, new in table.items()}  # a probe's names come later, and so take the classifier's place
    return back.get(name, name)
