"""Names of a classifier's tensors: facebookresearch/mae's and those in a maekit model."""

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


def model_name(name: str) -> str:
    """The name in a maekit model, without `backbone.`, of a tensor of a released file."""
    return _TO_MODEL.get(name, name)


def is_probe(names: Collection[str]) -> bool:
    """Whether names, released ones or the model's, are those of a linear probe."""
    return "head.0.running_mean" in names or "head.fc_norm.running_mean" in names


def model_names(names: Collection[str]) -> dict[str, str]:
    """The model's name of each released one; a head that is numbered but no linear probe keeps its names."""
    keep = set() if is_probe(names) else _PROBE.keys()
    return {name: name if name in keep else model_name(name) for name in names}


def released_name(name: str, *, probe: bool) -> str:
    """The released name of one of a model's, given without `backbone.`; `probe` says whether it is a linear probe."""
    table = {**_CLASSIFIER, **(_PROBE if probe else {})}
    back = {new: old for old, new in table.items()}  # a probe's names come later, and so take the classifier's place
    return back.get(name, name)
