"""What a file of weights can be used for, and why not for the rest."""

from collections.abc import Sequence

from maekit.backbone.sizes import all_sizes, load_size
from maekit.weights.families.facts import Facts
from maekit.weights.families.fit import ANEW, matches
from maekit.weights.families.purpose import BROKEN, Purpose, Use, problem_in
from maekit.weights.families.registry import families, kinds, purposes
from maekit.weights.layouts.registry import beside
from maekit.weights.load.fit import channels_problem
from maekit.weights.read.shorten import some


def uses(facts: Facts) -> dict[str, Use]:
    """What can be done with a file, by the name of the purpose: `features` and those that the families declare."""
    every = all_purposes()
    if more := kinds()[facts.kind].adapted:
        own = Use(True, f"--model.weights {facts.path} on the task of its kind and size")
        start = Use(True, f"{own.how}, with {ANEW} for other classes")
        adapted = Use(False, f"its ViT has {more}, which a plain one lacks")
        return {each.name: {"validation": own, "fine_tuning": start}.get(each.name, adapted) for each in every}
    if why := _nothing(facts):
        return {purpose.name: Use(False, why) for purpose in every}
    return {purpose.name: purpose.judge(facts) for purpose in every}


def all_purposes() -> list[Purpose]:
    """Every purpose in the order of a listing: features of the encoder alone, and what the families declare."""
    return sorted([*purposes(), Purpose(1, "features", "features", _features)], key=lambda purpose: purpose.rank)


def _nothing(facts: Facts) -> str:
    """Explains why the file cannot be used for anything; empty if it may be."""
    if facts.seems:
        return f"it seems to hold {facts.seems}, expected the plain ViT of a masked autoencoder"
    if facts.embed_dim is None or not facts.num_blocks:
        return "it has no ViT by names that are known here"
    if facts.size is None:
        return f"its size is none of {', '.join(all_sizes())}"
    if facts.num_heads not in (None, heads := load_size(facts.size).num_heads):
        return f"it has {facts.num_heads} attention heads, expected {heads}"
    if broken := _of_blocks(facts.not_finite):
        return f"it has {BROKEN} {some(broken, 4)}; take another copy or an earlier checkpoint"
    if facts.channels is not None and not facts.bands:
        return channels_problem(facts.channels)
    if lacking := _of_blocks(facts.missing):
        return f"it lacks {some(lacking, 4)}"
    if other_shapes := _of_blocks(facts.misshapen):
        return f"it has {some(other_shapes, 4)} in another shape or type than a ViT of its size"
    known = ("norm.*", *beside(facts.layout))
    if left := [name for name in facts.unused if not matches(name, known)]:
        return f"it has {len(left)} tensors that no such model has: {some(left, 4)}"
    return ""


def _of_blocks(names: Sequence[str]) -> list[str]:
    """Keeps the names that every use needs: those of the encoder, except its final norm."""
    of_heads = (start for family in families() for start in family.starts)
    return [name for name in names if not name.startswith(("norm.", *of_heads))]


def _features(facts: Facts) -> Use:
    if facts.final_norm and (why := problem_in(facts, "norm.")):
        return Use(False, why)
    raw = "" if facts.final_norm else "; the tokens are raw ones: it has no final norm"
    return Use(True, f"maekit.load_backbone({facts.path!r}){raw}")
