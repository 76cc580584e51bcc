"""The files of classifiers and linear probes: their kinds, the names of their heads, and what they serve for."""

from collections.abc import Collection, Iterator, Mapping

from maekit.weights.families.facts import Facts, Head
from maekit.weights.families.family import ClassHead, Described, Family, FileKind, Part, Rename, Rows
from maekit.weights.families.fit import ANEW, Attempt
from maekit.weights.families.purpose import Purpose, Use, problem_in, size_flags
from maekit.weights.read.metadata import card_of, model_settings

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
_PROBE_MARK = "head.0.running_mean"
_STARTS = ("head.", "fc_norm.")
_KINDS = {"mean": "fine-tuned with mean pooling", "class": "fine-tuned on the class token", "probe": "a linear probe"}


def _is_probe(names: Collection[str]) -> bool:
    return _PROBE_MARK in names or _PROBE[_PROBE_MARK] in names


def _released(names: Collection[str]) -> Rename:
    probe = any(name.endswith(_PROBE[_PROBE_MARK]) for name in names)
    table = {**_CLASSIFIER, **(_PROBE if probe else {})}
    back = {new: old for old, new in table.items()}  # a probe's names come later, and so take the classifier's place
    return back.get


def _in_model(names: Collection[str], _own: Collection[str]) -> Rename:
    """A head that is numbered but no linear probe keeps its names."""
    return {**_CLASSIFIER, **(_PROBE if _is_probe(names) else {})}.get


def _describe(part: Part) -> Described:
    tensors = part.tensors
    names = ["head.weight", "head.bias"] if "head.weight" in tensors else []
    if part.kind == "linear_probe":
        names = ["head.0.running_mean", "head.0.running_var", "head.1.weight", "head.1.bias"]
    weight = tensors.get("head.weight", tensors.get("head.1.weight"))
    probe_on_mean = part.kind == "linear_probe" and model_settings(part.metadata).get("pooling") == "mean"
    on_mean = "fc_norm.weight" in tensors or probe_on_mean
    count = 0 if weight is None else _number_of_grades(part.metadata) or weight.shape[0]
    return Described(
        missing=tuple(name for name in names if name not in tensors),
        classifier=Head(count, "mean" if on_mean else "class") if count else None,
    )


def _number_of_grades(metadata: Mapping[str, object]) -> int | None:
    """Returns the number of grades of a head that gives one score, as its card has it; None for any other head."""
    card = card_of(metadata)
    return len(card["class_names"]) if card.get("target") == "grades" else None


def _kind_of_head(names: Collection[str]) -> str | None:
    if "head.fc.weight" not in names:
        return None
    if _is_probe(names):
        return "probe"
    return "mean" if "head.fc_norm.weight" in names else "class"


def _problems(attempt: Attempt) -> Iterator[str]:
    """Explains a classifier of another kind than the model's, and a file without one where that is asked for."""
    fit, mend = attempt.fit, f": start a fresh head with {ANEW}" if attempt.renewable else ""
    theirs, ours = _kind_of_head(fit.found), _kind_of_head(fit.own)
    if theirs == "mean" and ours and "norm.weight" in fit.found:
        yield f"it normalises tokens before pooling and after, which no model here does{mend}"
    elif theirs and ours and theirs != ours:
        if "probe" in (theirs, ours):
            yield f"got the head of a model that is {_KINDS[theirs]}, expected one that is {_KINDS[ours]}{mend}"
        else:
            yield f"it was {_KINDS[theirs]}: add --model.pooling {theirs}"
    pooled = "head.fc_norm.weight" in fit.in_file and not _is_probe(fit.in_file)
    if pooled and "norm.weight" in attempt.missing and ours and (theirs is None or ours == "probe"):
        anew = f" and {ANEW}" if theirs else ""
        yield f"it was {_KINDS['mean']}, which leaves no final norm: add --model.pooling mean{anew}"
    if "head.fc.weight" in attempt.missing and not any(name.startswith("head.") for name in fit.found):
        yield "it holds no classifier: fine-tune it first, or name a fine-tuned file"


def _fine_tuning(facts: Facts) -> Use:
    fresh = f", with {ANEW} for other classes" if facts.classifier else ""
    return Use(True, f"--model.weights {facts.path} with {size_flags(facts.size or '')}{fresh}")


def _linear_probe(facts: Facts) -> Use:
    size = size_flags(facts.size or "")
    if not facts.class_token:
        mean = f"--model.weights {facts.path} --model.pooling mean with {size}"
        return Use(True, f"{mean}: it has no class token; the patches' mean is normalised, not by its norm")
    if not facts.final_norm:
        fresh = f" {ANEW}" if facts.classifier else ""
        mean = f"--model.weights {facts.path} --model.pooling mean{fresh} with {size}"
        return Use(True, f"{mean}; it has no final norm for the class token, like all fine-tuned with mean pooling")
    if why := problem_in(facts, "norm."):
        return Use(False, why)
    fresh = f" {ANEW}" if facts.classifier and facts.kind != "linear_probe" else ""
    return Use(True, f"--model.weights {facts.path}{fresh} with {size}")


def _validation(facts: Facts) -> Use:
    head, size = facts.classifier, size_flags(facts.size or "")
    if head is None:
        return Use(False, "it holds no classifier: fine-tune it first, or name a fine-tuned file")
    if why := problem_in(facts, *_STARTS, "norm."):
        return Use(False, why)
    if facts.kind == "classifier_mean" and facts.final_norm:
        return Use(False, "it normalises tokens before pooling and after, which no model here does")
    data = f"on data of {head.num_classes} {facts.predicts}"
    if facts.kind != "linear_probe":
        return Use(True, f"with --model.pooling {head.pooling} and {size}, {data}")
    if head.pooling == "mean" and facts.layout == "maekit":
        return Use(True, f"as a linear probe, with --model.pooling mean and {size}, {data}")
    if head.pooling == "mean":
        return Use(False, "it is a linear probe on the mean of the tokens, expected one on the class token")
    return Use(True, f"as a linear probe, with {size}, {data}")


FAMILY = Family(
    kinds=(
        FileKind(name="linear_probe", words="linear probe", has=(_PROBE_MARK,), rank=3),
        FileKind(
            name="classifier_mean", words="classifier, mean pooling", has=("head.weight", "fc_norm.weight"), rank=4
        ),
        FileKind(name="classifier_class", words="classifier, class token", has=("head.weight",), rank=5),
    ),
    starts=_STARTS,
    class_heads=(ClassHead("head", "head.fc.weight", {"head.fc.": Rows()}),),
    released=_released,
    in_model=_in_model,
    describe=_describe,
    problems=_problems,
    purposes=(
        Purpose(0, "fine_tuning", "start of fine-tuning", _fine_tuning),
        Purpose(2, "linear_probe", "linear probe", _linear_probe),
        Purpose(3, "validation", "validation", _validation),
    ),
)
