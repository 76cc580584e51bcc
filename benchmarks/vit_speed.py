"""Times every kind of ViT beside timm's same model, alternately in one process, on a CPU in fp32.

    python benchmarks/vit_speed.py --threads 1                # --kinds dinov3 beit --size base --blocks 12 --rounds 20

Each row is the median of a forward pass without gradients, or of a forward and backward pass in training mode; ratios
are ours over timm's, the median of those of the rounds. `clock` is seconds of the wall, `work` CPU time of the process:
while others use the machine, the ratio of work is the fair one. timm's DINOv3 augments no positions; ours does in
training, as DINOv3's code does.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.layers.mlp import SwiGLUPacked
from timm.models.beit import Beit
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from turns import by_turns, markdown

from maekit.backbone.sizes import Size, load_size
from maekit.backbone.vit import ViT

NORM5: Any = partial(nn.LayerNorm, eps=1e-5)
NORM6: Any = partial(nn.LayerNorm, eps=1e-6)
EVA: dict[str, Any] = {
    "qkv_bias": True, "init_values": 1e-5, "rope_type": "dinov3", "rope_temperature": 100, "rope_rotate_half": True,
    "use_rot_pos_emb": True, "use_abs_pos_emb": False, "num_reg_tokens": 4, "use_fc_norm": False, "norm_layer": NORM5,
    "dynamic_img_size": True,
}  # fmt: skip
CLIP: dict[str, Any] = {"pre_norm": True, "norm_layer": NORM5}
NO_CLASS: dict[str, Any] = {"class_token": False, "global_pool": "avg", "fc_norm": False}


def sides(size: str) -> dict[str, tuple[Size, Callable[..., nn.Module], dict[str, Any]]]:
    """What each kind is here and in timm, at a size such as `small`."""
    plain, registers = (f"vit_{size}_patch16{more}" for more in ("", "_reg4"))
    width = load_size(plain).embed_dim
    hidden = 8 * width // 3 // 8 * 8
    gated = partial(replace, mlp="swiglu", mlp_hidden=hidden)
    packed: dict[str, Any] = {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU, "mlp_ratio": 2 * hidden / width}
    swiglu: dict[str, Any] = {"swiglu_mlp": True, "swiglu_align_to": 8, "mlp_ratio": hidden / width}
    beit: dict[str, Any] = {
        "init_values": 0.1, "use_abs_pos_emb": False, "use_rel_pos_bias": True, "use_fc_norm": False,
        "norm_layer": NORM6,
    }  # fmt: skip
    reg4 = replace(load_size(f"{registers}_dinov2"), class_position=False)
    return {
        "plain": (load_size(plain), VisionTransformer, {}),
        "dinov2": (load_size(f"{plain}_dinov2"), VisionTransformer, {"init_values": 1e-5}),
        "dinov2 registers": (reg4, VisionTransformer, {"init_values": 1e-5, "reg_tokens": 4, "no_embed_class": True}),
        "dinov2 swiglu": (gated(load_size(f"{plain}_dinov2")), VisionTransformer, {"init_values": 1e-5, **packed}),
        "dinov3": (load_size(f"{plain}_dinov3"), Eva, EVA),
        "dinov3 swiglu": (gated(load_size(f"{plain}_dinov3")), Eva, {**EVA, **swiglu}),
        "beit": (load_size(f"{plain}_beit"), Beit, beit),
        "deit3": (load_size(f"{plain}_deit3"), VisionTransformer, {"init_values": 1e-4, "no_embed_class": True}),
        "clip": (load_size(f"{plain}_clip"), VisionTransformer, CLIP),
        "clip quickgelu": (
            load_size(f"{plain}_clip_quickgelu"),
            VisionTransformer,
            {**CLIP, "act_layer": "quick_gelu"},
        ),
        "ijepa": (load_size(f"{plain}_ijepa"), VisionTransformer, NO_CLASS),
        "gelu_tanh": (replace(load_size(plain), mlp="gelu_tanh"), VisionTransformer, {"act_layer": "gelu_tanh"}),
    }


def passes(forward: Callable[[Tensor], Tensor], model: nn.Module, images: Tensor) -> dict[str, Callable[[], None]]:
    """A forward pass, and a forward and backward pass."""

    def ahead() -> None:
        with torch.no_grad():
            forward(images)

    def both() -> None:
        model.zero_grad()
        forward(images).square().mean().backward()  # type: ignore[no-untyped-call]

    return {"forward": ahead, "forward and backward": both}


def measured(kind: str, args: argparse.Namespace) -> list[list[str]]:
    """The table's rows of one kind."""
    size, model, options = sides(args.size)[kind]
    size = replace(size, num_blocks=args.blocks)
    side = args.image_size
    ours = ViT(size, image_size=(side, side))
    theirs: Any = model(
        side, patch_size=16, embed_dim=size.embed_dim, depth=args.blocks, num_heads=size.num_heads, num_classes=0,
        **options,
    )  # fmt: skip
    images = torch.randn(args.batch, 3, side, side)
    here, there = passes(lambda x: ours(x).tokens, ours, images), passes(theirs.forward_features, theirs, images)
    rows = []
    for what in here:
        ours.train(what != "forward")
        theirs.train(what != "forward")
        found = by_turns({"maekit": here[what], "timm": there[what]}, "cpu", args.rounds, args.warmup)
        mine, other = found["maekit"], found["timm"]
        ratios = [
            f"{statistics.median(a[of] / b[of] for a, b in zip(mine['each'], other['each'], strict=True)):.3f}"
            for of in (0, 1)
        ]
        rows.append([kind, what, f"{mine['work']:.3f}", f"{other['work']:.3f}", *ratios])
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kinds", nargs="+", default=list(sides("small")))
    parser.add_argument("--size", default="small", help="of sizes.yaml, such as small or base")
    parser.add_argument("--blocks", type=int, default=4, help="blocks of the ViTs")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="keep the rows in this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [row for kind in args.kinds for row in measured(kind, args)]
    header = ["kind", "pass", "maekit s (work)", "timm s (work)", "ratio (clock)", "ratio (work)"]
    print(markdown(header, rows), file=sys.stdout)
    if args.json:
        args.json.write_text(json.dumps([dict(zip(header, row, strict=True)) for row in rows], indent=1))


if __name__ == "__main__":
    main()
