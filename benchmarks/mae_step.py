"""Times a pre-training step of maekit beside its peers, and what it saves that the encoder skips hidden patches.

    python benchmarks/step_time.py mae_pretrain --precision fp32 --parts peers
    python benchmarks/step_time.py mae_pretrain --precision fp32 --parts peers --mae_repository path/to/mae
    python benchmarks/step_time.py mae_pretrain --precision fp32 --parts masking --backbone vit_large_patch16 --rounds 2

`peers`: masking, encoder, decoder of 512 x 8, loss on normalised pixels, backward and fused AdamW, beside
transformers' ViTMAEForPreTraining, and facebookresearch/mae's own model where a clone of it is given. `masking`: the
same model with an encoder that is given mask tokens in the hidden places, as the paper compares them in Table 2. The
sides take turns in one process, with the same images; seconds by the clock and of the process's CPU time are kept.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from maekit.backbone.sizes import Size, load_size
from maekit.base.spec import DataSpec
from maekit.data.images.batch import ImageBatch
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task

Step = Callable[[], None]
SPEC = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def take_step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, precision: str) -> Step:
    """Forward, loss, backward, AdamW."""

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def maekit_step(args: argparse.Namespace, images: Tensor, *, mask_tokens: bool = False) -> Step:
    """maekit's Pretrainer with the published recipe's optimizer."""
    recipe = load_recipe(find_task("mae_pretrain"), None)
    module = recipe.task.load()
    flags = [f"--model.backbone={args.backbone}", f"--model.encoder_mask_tokens={str(mask_tokens).lower()}"]
    settings = resolve(recipe, module, flags, training=True).values
    torch.manual_seed(0)
    model = module.Model.build(DataSpec((), (args.image_size,) * 2, **SPEC, target="none"), settings["model"]).train()
    optimizer = Optimisation(**settings["optim"]).make_optimizer(model, model.backbone, args.batch)
    index = torch.arange(len(images))
    return take_step(lambda: model.training_losses(ImageBatch(images, index, index))["loss"], optimizer, args.precision)


def transformers_step(args: argparse.Namespace, images: Tensor) -> Step:
    """transformers' ViTMAEForPreTraining."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    size: Size = load_size(args.backbone)
    config = ViTMAEConfig(
        hidden_size=size.embed_dim, num_hidden_layers=size.num_blocks, num_attention_heads=size.num_heads,
        intermediate_size=4 * size.embed_dim, image_size=args.image_size, patch_size=size.patch_size,
        norm_pix_loss=True, attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = ViTMAEForPreTraining(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    return take_step(lambda: model(images).loss, optimizer, args.precision)


def original_step(args: argparse.Namespace, images: Tensor) -> Step:
    """The model of a clone of facebookresearch/mae, which was written for timm 0.3.2 and an older NumPy."""
    import numpy as np
    import timm.models.vision_transformer as of_timm

    block = of_timm.Block
    of_timm.Block = lambda *given, qk_scale=None, **named: block(*given, **named)  # type: ignore[misc,assignment]
    np.float = float  # type: ignore[attr-defined]
    sys.path.insert(0, str(args.mae_repository))
    import models_mae  # type: ignore[import-not-found]

    torch.manual_seed(0)
    build = getattr(models_mae, f"mae_{args.backbone}_dec512d8b", None) or getattr(models_mae, f"mae_{args.backbone}")
    model = build(norm_pix_loss=True).train()
    of_timm.Block = block  # type: ignore[misc]
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    return take_step(lambda: model(images, mask_ratio=0.75)[0], optimizer, args.precision)


def by_turns(sides: dict[str, Step], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median seconds of each side, by the clock and of CPU time; each round begins with another side."""
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(args.warmup + args.rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            clock, work = time.perf_counter(), time.process_time()
            sides[name]()
            seen[name].append((time.perf_counter() - clock, time.process_time() - work))
            print(f"{name}: {seen[name][-1][0]:.2f} s, {seen[name][-1][1]:.2f} s of work", file=sys.stderr, flush=True)
    kept = {name: list(zip(*times[args.warmup :], strict=True)) for name, times in seen.items()}
    return {
        name: {"clock": statistics.median(clock), "work": statistics.median(work)}
        for name, (clock, work) in kept.items()
    }


def mae_pretrain(args: argparse.Namespace) -> dict[str, Any]:
    """Prints the medians of each part, and ratios: to the fastest peer, and of mask tokens in the encoder to none."""
    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, args.image_size, args.image_size)
    result: dict[str, Any] = {"settings": {**vars(args), "torch": torch.__version__}}
    parts = args.parts or ["peers"]
    if "peers" in parts:
        sides = {"maekit": maekit_step(args, images), "transformers": transformers_step(args, images)}
        if args.mae_repository:
            sides["facebookresearch/mae"] = original_step(args, images)
        medians = by_turns(sides, args)
        ratios = {
            kind: medians["maekit"][kind] / min(times[kind] for name, times in medians.items() if name != "maekit")
            for kind in ("clock", "work")
        }
        result["peers"] = {"median_seconds": medians, "maekit_over_fastest_peer": ratios}
    if "masking" in parts:
        sides = {
            "visible patches": maekit_step(args, images),
            "mask tokens": maekit_step(args, images, mask_tokens=True),
        }
        medians = by_turns(sides, args)
        speed_up = {kind: medians["mask tokens"][kind] / medians["visible patches"][kind] for kind in ("clock", "work")}
        result["masking"] = {"median_seconds": medians, "speed_up": speed_up}
    print(json.dumps(result, indent=1, default=str))
    return result
