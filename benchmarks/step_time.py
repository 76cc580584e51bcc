"""Times one training step of maekit beside the same step of its peers, alternately in one process.

    python benchmarks/step_time.py                                      # every task, one table: see all_tasks.py
    python benchmarks/step_time.py --size smoke --json FILE
    python benchmarks/step_time.py imagenet_finetune --precision bf16
    python benchmarks/step_time.py imagenet_finetune --precision bf16 --profile
    python benchmarks/step_time.py ade20k_upernet --precision fp32      # see ade20k_step.py
    python benchmarks/step_time.py coco_maskrcnn --precision fp32       # see coco_step.py
    python benchmarks/step_time.py mae_pretrain --precision fp32        # see mae_step.py

Every side has the same images, precision and thread count. A round times each side once; medians and ratios over the
rounds are printed. Of imagenet_finetune every side has fused AdamW; the peers run in a bare loop, maekit in a bare loop
and in Lightning's Trainer.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn import functional as F

import maekit
from maekit.backbone.sizes import Size, load_size
from maekit.data.images.batch import ImageBatch
from maekit.optim.settings import Optimisation

Step = Callable[[], None]
CLASSES = 1000
DEFAULTS = {
    "imagenet_finetune": {"batch": 8, "rounds": 7, "warmup": 1},
    "ade20k_upernet": {"batch": 2, "rounds": 3, "warmup": 1},
    "coco_maskrcnn": {"batch": 1, "rounds": 3, "warmup": 0},
    "mae_pretrain": {"batch": 8, "rounds": 5, "warmup": 1},
}
PARTS = {
    "ade20k_upernet": ["logits", "sliding_windows", "training_step", "memory"],
    "coco_maskrcnn": ["backbone", "detector"],
    "mae_pretrain": ["peers", "masking"],
}


def bare_step(loss: Callable[[], Tensor], optimizer: torch.optim.Optimizer, device: str, precision: str) -> Step:
    """Forward, loss, backward, AdamW: as little as a training step can be."""

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def timm_step(size: Size, args: argparse.Namespace, images: Tensor, targets: Tensor) -> Step:
    """timm's ViT with mean pooling, in timm's layer-decay groups."""
    from timm.models.vision_transformer import VisionTransformer
    from timm.optim import param_groups_layer_decay

    model: Any = VisionTransformer(
        args.image_size, size.patch_size, embed_dim=size.embed_dim, depth=size.num_blocks, num_heads=size.num_heads,
        num_classes=CLASSES, global_pool="avg", drop_path_rate=args.drop_path,
    )  # fmt: skip
    model = model.to(args.device).train()
    groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.65)
    for group in groups:
        group["lr"] = 1e-4 * group["lr_scale"]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)
    return bare_step(lambda: F.cross_entropy(model(images).float(), targets), optimizer, args.device, args.precision)


def transformers_step(size: Size, args: argparse.Namespace, images: Tensor, targets: Tensor) -> Step:
    """transformers' ViT for classification; it has neither layer decay nor drop path."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=size.embed_dim, num_hidden_layers=size.num_blocks, num_attention_heads=size.num_heads,
        intermediate_size=4 * size.embed_dim, image_size=args.image_size, patch_size=size.patch_size,
        num_labels=CLASSES, attn_implementation="sdpa",
    )  # fmt: skip
    model: nn.Module = ViTForImageClassification(config).to(args.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    loss = lambda: F.cross_entropy(model(images).logits.float(), targets)  # noqa: E731
    return bare_step(loss, optimizer, args.device, args.precision)


def maekit_session(args: argparse.Namespace, folder: str) -> maekit.Session:
    """maekit's session on a few made digits, which stand in only for the number of classes and of steps."""
    overrides = {
        "model.backbone": args.backbone, "model.weights": "none", "model.mixup": 0.0, "model.cutmix": 0.0,
        "model.drop_path": args.drop_path, "data.synthetic": "digits", "data.image_size": args.image_size,
        "data.total_batch_size": args.batch, "data.device_batch_size": args.batch, "data.num_workers": 0,
        "trainer.max_steps": args.rounds + args.warmup, "trainer.num_sanity_val_steps": 0,
        "trainer.limit_val_batches": 1, "trainer.precision": "bf16-mixed" if args.precision == "bf16" else "32-true",
        "run.folder": folder,
    }  # fmt: skip
    return maekit.build("imagenet_finetune", "base", overrides)


class Rounds(Callback):
    """Times each of Lightning's steps from the end of one to the end of the next, and runs the others in between.

    Args:
        sides: the steps of the other sides by name.
        batch: what every Lightning step is given instead of the loader's batch.
        warmup: rounds that are not counted.
    """

    def __init__(self, sides: dict[str, Step], batch: ImageBatch, warmup: int, device: str) -> None:
        self.sides, self.batch, self.warmup, self.device = sides, batch, warmup, device
        self.seconds: dict[str, list[float]] = {name: [] for name in ("maekit in Lightning", *sides)}
        self.began = 0.0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Gives every step the same batch on the device, so that no loader is timed."""
        losses = pl_module.model.training_losses
        pl_module.model.training_losses = lambda _: losses(self.batch)
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Ends Lightning's step, times the others, and starts the next."""
        self.note("maekit in Lightning", self.began)
        names = list(self.sides)
        turn = len(self.seconds["maekit in Lightning"]) % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            self.sides[name]()
            self.note(name, began)
        self.began = time.perf_counter()

    def note(self, name: str, began: float) -> None:
        """Adds one measurement."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        self.seconds[name].append(time.perf_counter() - began)

    def medians(self) -> dict[str, float]:
        """Median seconds of each side after the warmup."""
        return {name: statistics.median(values[self.warmup :]) for name, values in self.seconds.items()}


def imagenet_finetune(args: argparse.Namespace) -> dict[str, Any]:
    """A fine-tuning step: ViT, mean pooling, cross entropy, layer-decayed AdamW."""
    size = load_size(args.backbone)
    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, args.image_size, args.image_size, device=args.device)
    labels = torch.arange(args.batch, device=args.device) % 10
    with TemporaryDirectory() as folder:
        session = maekit_session(args, folder)
        built = maekit_session(args, folder)
        other = built.model.to(args.device).train()
        batch = ImageBatch(images, labels, labels)
        optimizer = Optimisation(**built.settings.values["optim"]).make_optimizer(other, other.backbone, args.batch)
        own = bare_step(lambda: other.training_losses(batch)["loss"], optimizer, args.device, args.precision)
        sides = {
            "maekit": own,
            "timm": timm_step(size, args, images, labels),
            "transformers": transformers_step(size, args, images, labels),
        }
        if args.profile:
            return profile(own)
        rounds = Rounds(sides, batch, args.warmup, args.device)
        session.fit(callbacks=[rounds])
    return report(rounds.medians(), args)


def profile(step: Step) -> dict[str, Any]:
    """Where maekit's own step spends its time, by operator."""
    step()
    with torch.profiler.profile() as profiler:
        step()
    print(profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20, max_name_column_width=60))
    return {}


def report(medians: dict[str, float], args: argparse.Namespace) -> dict[str, Any]:
    """Prints the medians and ratios."""
    peer = min(medians["timm"], medians["transformers"])
    result = {
        "settings": {**vars(args), "torch": torch.__version__, "threads": torch.get_num_threads()},
        "machine": platform.processor() or platform.machine(),
        "median_seconds": {name: round(value, 4) for name, value in medians.items()},
        "maekit_over_faster_peer": round(medians["maekit"] / peer, 3),
        "maekit_in_lightning_over_faster_peer": round(medians["maekit in Lightning"] / peer, 3),
        "lightning_overhead": round(medians["maekit in Lightning"] / medians["maekit"] - 1, 4),
    }
    print(json.dumps(result, indent=1))
    return result


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The flags; where none is given, what its task is measured at."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=list(DEFAULTS))
    parser.add_argument("--batch", type=int, help="images a step: 8, of segmentation 2, of detection 1")
    parser.add_argument(
        "--mae_repository", type=Path, help="of mae_pretrain: a clone of facebookresearch/mae, as another peer"
    )
    parser.add_argument("--drop_path", type=float, default=0.0, help="transformers' ViT has none, whatever is given")
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, help="7, of pre-training 5, of segmentation and detection 3")
    parser.add_argument("--warmup", type=int, help="steps of each side that are not counted: 1, of detection 0")
    parser.add_argument("--profile", action="store_true", help="print the profile of maekit's step instead")
    parser.add_argument("--output", type=Path, help="also write the result as JSON")
    classification = parser.add_argument_group("imagenet_finetune")
    classification.add_argument("--backbone", default="vit_base_patch16")
    classification.add_argument("--image_size", type=int, default=224)
    classification.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    others = parser.add_argument_group("the other tasks, on a CPU")
    others.add_argument("--parts", nargs="+", help="; ".join(f"{name}: {' '.join(of)}" for name, of in PARTS.items()))
    args = parser.parse_args(words)
    if args.parts and (wrong := [part for part in args.parts if part not in PARTS.get(args.task, [])]):
        parser.error(f"--parts: got {wrong[0]}, expected some of {' '.join(PARTS.get(args.task, [])) or 'none'}")
    for name, value in DEFAULTS[args.task].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    torch.set_num_threads(args.threads)
    return args


def main() -> None:
    one_task = {*DEFAULTS, "-h", "--help"} & set(sys.argv[1:]) and "--tasks" not in sys.argv
    if not one_task:
        import all_tasks

        all_tasks.main()
        return
    args = arguments()
    if args.task == "ade20k_upernet":
        import ade20k_step

        result = ade20k_step.ade20k_upernet(args)
    elif args.task == "coco_maskrcnn":
        import coco_step

        result = coco_step.coco_maskrcnn(args)
    elif args.task == "mae_pretrain":
        import mae_step

        result = mae_step.mae_pretrain(args)
    else:
        result = imagenet_finetune(args)
    if args.output:
        args.output.write_text(json.dumps(result, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
