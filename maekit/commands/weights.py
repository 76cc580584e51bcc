"""`maekit weights`: what is in a file of weights (`inspect`), from and to every layout (`convert`), its `card`."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.weights.get.find import find_weights

if TYPE_CHECKING:
    from maekit.weights.families.facts import Facts
    from maekit.weights.families.purpose import Use

FORWARDS = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the three actions and their flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="inspect|convert|card")
    inspect = actions.add_parser("inspect", help="what a file holds, what it serves for, what is missing")
    convert = actions.add_parser("convert", help="write it in another layout, and a model card with it")
    card = actions.add_parser("card", help="print its model card, in Markdown")
    for action in (inspect, convert, card):
        action.add_argument(
            "source",
            metavar="FILE_OR_NAME",
            help="a file, a run's folder (best.ckpt in it, else last.ckpt), a folder of transformers, an official name "
            "such as mae_vit_base, or hf:owner/name; of several sets of weights in a file FILE#KEY means one, such as "
            "run.pth#model_ema",
        )
    card.add_argument("--output", type=Path, metavar="FILE", help="write it to this file instead, which must be new")
    inspect.add_argument("--json", action="store_true", help="print the facts as one JSON object")
    convert.add_argument(
        "--to",
        required=True,
        choices=("mae", "hf", "timm", "detectron2"),
        help="the layout: facebookresearch/mae, a folder of Hugging Face transformers, timm, or, for a detector with "
        "Mask R-CNN, a file of arrays that detectron2's ViTDet loads",
    )
    convert.add_argument("out", metavar="OUT", type=Path, help="the file to write, or the folder for hf; must be new")
    convert.add_argument(
        "--norm_pix_loss",
        choices=("true", "false"),
        help="for hf: whether its pre-training predicted normalised pixels; default: as the file says",
    )


def main(args: argparse.Namespace) -> int:
    """Inspects, converts, or writes a card."""
    path = find_weights(args.source)
    if args.action == "convert":
        print("\n".join(_convert(args, path)))
        return 0
    if args.action == "card":
        print(_card(args, path), end="")
        return 0
    from maekit.weights.describe.inspect import inspect
    from maekit.weights.describe.uses import uses

    facts = inspect(path)
    table = uses(facts)
    if args.json:
        print(json.dumps(asdict(facts) | {"uses": {name: asdict(use) for name, use in table.items()}}, indent=1))
    else:
        print("\n".join(_lines(facts, table)))
    return 0


def _convert(args: argparse.Namespace, path: Path) -> list[str]:
    from maekit.export.card.write import card_place, model_card, write_card
    from maekit.export.convert import convert

    out = args.out.expanduser()
    place = card_place(out, args.to)
    normalised = None if args.norm_pix_loss is None else args.norm_pix_loss == "true"
    lines = convert(path, args.to, out, norm_pix_loss=normalised)
    return [*lines, write_card(model_card(path, given=args.source, exported=out, to=args.to), place)]


def _card(args: argparse.Namespace, path: Path) -> str:
    from maekit.export.card.write import model_card, new_file, write_card

    output = new_file(args.output.expanduser()) if args.output else None
    text = model_card(path, given=args.source)
    return f"{write_card(text, output)}\n" if output else text


def _lines(facts: "Facts", table: "dict[str, Use]") -> Iterator[str]:
    from maekit.weights.describe.uses import all_purposes
    from maekit.weights.read.shorten import some

    words = {purpose.name: purpose.words for purpose in all_purposes()}
    yield f"weights {facts.path}"
    for word, text in _rows(facts):
        yield f"  {word:<13}{text}"
    for use, names in _grouped(table).items():
        purposes = ", ".join(words[name] for name in names)
        yield f"  {'good for' if use.possible else 'not for':<13}{purposes}: {use.how}"
    if facts.beside:
        yield f"  {'beside':<13}{', '.join(f'{key} ({number} tensors)' for key, number in facts.beside.items())}"
    if facts.set not in ("", "model", "state_dict"):
        yield f"  {'read':<13}{facts.set}"
    if facts.sets:
        file = facts.path.removesuffix(f"#{facts.set}")
        yield f"  {'other sets':<13}of weights, to be given as {' or '.join(f'{file}#{key}' for key in facts.sets)}"
    lists = {
        "missing": facts.missing,
        "other shape": facts.misshapen,
        "left over": facts.unused,
        "not finite": facts.not_finite,
    }
    yield from (f"  {word:<13}{len(listed)}: {some(listed)}" for word, listed in lists.items() if listed)


def _grouped(table: "dict[str, Use]") -> "dict[Use, list[str]]":
    """What has the same answer stands together, what can be done first."""
    groups: dict[Use, list[str]] = {}
    for name, use in sorted(table.items(), key=lambda item: not item[1].possible):
        groups.setdefault(use, []).append(name)
    return groups


def _rows(facts: "Facts") -> Iterator[tuple[str, str]]:
    yield "what", facts.in_words + (f"; seems to hold {facts.seems}" if facts.seems else "")
    if facts.embed_dim is None:
        yield "tensors", f"{facts.num_tensors}, none of them a patch embedding"
        return
    heads = (
        f", {facts.num_heads} heads{'' if facts.says_heads else ' assumed'}" if facts.num_heads else ", heads unknown"
    )
    named = f" ({', '.join(facts.bands)})" if facts.bands else ""
    channels = f"{facts.channels} band{'' if facts.channels == 1 else 's'}{named}"
    shape = f"{facts.embed_dim} wide, {facts.num_blocks} blocks{heads}, {facts.patch_size} px patches, {channels}"
    parts = f", {facts.parts}" if facts.parts else ""
    yield "size", f"{facts.size or 'none of the known ones'} ({shape}{parts})"
    if len(facts.sizes) > 1:
        yield "fits too", ", ".join(facts.sizes[1:])
    for note in facts.notes:
        yield "changed", note
    share = "" if facts.coverage is None else f", {_percent(facts.coverage)} of such a ViT"
    yield "encoder", f"{facts.encoder_parameters / 1e6:.2f} M parameters, {' and '.join(facts.dtypes)}{share}"
    yield "pre-training", _trained(facts)
    if facts.licence:
        yield "licence", facts.licence
    if facts.lora_rank is not None:
        yield "adapters", f"LoRA of rank {facts.lora_rank}, merged into the encoder wherever the file is read"
    yield "positions", _positions(facts)
    yield "decoder", _decoder(facts)
    head = facts.classifier
    probe = " on batch-normalised features (linear probe)" if facts.kind == "linear_probe" else ""
    pooling = {"mean": "mean of the patch tokens", "class": "class token"}
    yield "classifier", f"{head.num_classes} {facts.predicts}, {pooling[head.pooling]}{probe}" if head else "none"
    yield "class names", f"{facts.class_names} in the file" if facts.class_names else "not in the file"
    for word in ("task", "recipe", "head", "epoch", "step"):
        if (value := getattr(facts, word)) is not None:
            yield word, f"{value:,}" if isinstance(value, int) else value


def _trained(facts: "Facts") -> str:
    from maekit.weights.state.pretraining import WORDS

    return f"{WORDS[facts.pretraining]} ({facts.told_by})" if facts.pretraining else f"cannot be told: {facts.told_by}"


def _percent(share: float) -> str:
    """100% only for all of it."""
    return f"{100 * share if share == 1 else min(100 * share, 99.9):.1f}%"


def _positions(facts: "Facts") -> str:
    if facts.positions == "none":
        return "none"
    kind = {"sincos": "MAE's fixed sine-cosine table", "learned": "learned, or changed from MAE's fixed table"}
    if facts.pos_grid is None or facts.image_size is None:
        return f"{kind[facts.positions]}, of an unknown grid"
    grid, size = "{}x{}".format(*facts.pos_grid), "{}x{}".format(*facts.image_size)
    return f"{kind[facts.positions]}, {grid} patches (images of {size} px)"


def _decoder(facts: "Facts") -> str:
    from maekit.weights.read.metadata import HEAD_WIDTH

    if facts.decoder is None:
        return "none"
    width = facts.decoder.embed_dim or 0
    unsaid = f", heads not said ({width // HEAD_WIDTH} assumed, {HEAD_WIDTH} wide each)"
    heads = f", {facts.decoder.num_heads} heads" if facts.decoder.num_heads else unsaid
    pixels = {True: ", normalised pixels", False: ", plain pixels", None: ", not said whether of normalised pixels"}
    return f"{facts.decoder.embed_dim} wide, {facts.decoder.num_blocks} blocks{heads}{pixels[facts.norm_pix_loss]}"
