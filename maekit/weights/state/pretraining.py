"""How the ViT of a file was pre-trained, and how that is known."""

from pathlib import Path
from typing import NamedTuple

from maekit.system.plain import table
from maekit.weights.get.find import official_of
from maekit.weights.get.official import with_terms
from maekit.weights.read.metadata import card_of, model_settings
from maekit.weights.state.state_file import StateFile, in_words, positions

WORDS = {
    "mae": "MAE",
    "dino": "DINO",
    "dinov2": "DINOv2",
    "dinov3": "DINOv3",
    "moco_v3": "MoCo v3",
    "beit": "BEiT",
    "beit_v2": "BEiT v2",
    "simmim": "SimMIM",
    "i_jepa": "I-JEPA",
    "supervised": "supervised",
    "deit_iii": "DeiT III",
    "clip": "CLIP",
    "siglip": "SigLIP",
}
# Variants of sizes.yaml whose parts no other pre-training has.
_OF_VARIANT = {"dinov2": "dinov2", "dinov3": "dinov3", "ijepa": "i_jepa", "deit3": "deit_iii", "simmim": "simmim"}
_LICENCES = {"dinov3-license": "DINOv3 License", "cc-by-nc-4.0": "CC-BY-NC 4.0", "apache-2.0": "Apache-2.0"}  # timm's


class Told(NamedTuple):
    """How a ViT was pre-trained, a word of `WORDS` (empty: not known), and how that is known or why it is not."""

    word: str
    how: str


def pretraining_of(state: StateFile, path: Path) -> Told:
    """Tells how the ViT of a file was pre-trained: by its layout, its name, its card, its parts, in this order."""
    if state.said.pretraining:
        return Told(state.said.pretraining, f"by its layout: {in_words(state.layout, state.kind)}")
    if state.kind == "pretraining":
        return Told("mae", "it has the decoder of one")
    if official := official_of(path):
        return Told(official.pretraining, f"by its name: {official.name} of {official.source}")
    if card_of(state.meta):
        return _of_run(state)
    if {"mask_ratio", "norm_pix_loss"} & table(state.meta.get("args")).keys():
        return Told("mae", "by the arguments in it")
    if positions(state) == "sincos" and state.shape.class_rows:
        return Told("mae", "its positions are MAE's fixed table")
    return _by_parts(state)


def _of_run(state: StateFile) -> Told:
    """A run's pre-training is that of the weights it began with, by their name."""
    began = str(model_settings(state.meta).get("weights", ""))
    if official := official_of(began):
        return Told(official.pretraining, f"by its card: it began with {official.name}")
    return Told("", f"its card says it began with {Path(began).name or 'nothing that is named'}")


def _by_parts(state: StateFile) -> Told:
    variants = [name.partition(f"patch{state.shape.patch_size}")[2].rpartition("_")[2] for name in state.shape.names]
    words = {_OF_VARIANT.get(variant, "") for variant in variants}
    if len(words) == 1 and "" not in words:
        return Told(words.pop(), f"by its parts: {state.shape.parts}")
    known = " or ".join(dict.fromkeys(WORDS[word] for word in map(_OF_VARIANT.get, variants) if word))
    fits = f"its parts are those of {known}" if known else "nothing in it says it, and plain ViTs come from many"
    return Told("", fits)


def licence_in(state: StateFile, path: Path) -> str:
    """The licence that a file's name or configuration gives away, with its terms; empty where neither does."""
    if official := official_of(path):
        return with_terms(official.licence)
    if isinstance(licence := state.meta.get("licence"), str):
        return with_terms(_LICENCES.get(licence, licence))
    if state.said.pretraining == "dinov3":
        return f"perhaps {with_terms('DINOv3 License')}: that is the licence of Meta's DINOv3"
    return ""
