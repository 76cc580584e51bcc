"""Training steps of every task at any size on any device: maekit's side, and each peer's of the same architecture."""

import gc
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))

import coco_batch

from maekit.backbone.sizes import Size, load_size
from maekit.base.spec import DataSpec
from maekit.data.images.batch import ImageBatch
from maekit.optim.settings import Optimisation
from maekit.recipes.recipe import flat, load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.segmentation.data.dataset import SegBatch

SPEC = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
OFF = ("model.drop_path", "model.mixup", "model.cutmix", "model.dropout", "model.label_smoothing")
# Images a step and their side: of the recipe, and where a machine without GPU is to be done within minutes.
BATCH = {"ade20k_upernet": 2, "ade20k_linear": 2, "coco_maskrcnn": 1}
REDUCED_SIDE = {"ade20k_upernet": 256, "ade20k_linear": 256, "coco_maskrcnn": 512}
TASKS = (
    "imagenet_finetune",
    "imagenet_partial",
    "imagenet_linprobe",
    "mae_pretrain",
    "ade20k_upernet",
    "ade20k_linear",
    "coco_maskrcnn",
)


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        task: of maekit.
        recipe: smoke, base, large or huge.
        batch: images a step.
        side: of the square images, in pixels.
        device: such as cpu or cuda.
        precision: bf16 (autocast) or fp32.
    """

    task: str
    recipe: str
    batch: int
    side: int
    device: str = "cpu"
    precision: str = "fp32"

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision asked for."""
        return torch.autocast(self.device, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def values(self, *more: str) -> dict[str, Any]:
        """The recipe's settings without weights, and without what draws."""
        stacked = load_recipe(find_task(self.task), self.recipe)
        known = {key for key, _ in flat(stacked.values)}
        if self.side and "model.window_stride" in known:  # an evaluation's windows overlap, and are no larger
            more = (*more, f"--model.window_stride={self.side * 2 // 3}")
        flags = ["--model.weights=none", *(f"--{key}=0" for key in OFF if key in known), *more]
        return resolve(stacked, stacked.task.load(), flags, training=False).values


@dataclass
class Step:
    """One side's training step.

    Attributes:
        model: what is trained.
        loss: forward pass and loss, a scalar.
        optimizer: its own.
        case: whose precision it runs in.
    """

    model: nn.Module
    loss: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer
    case: Case

    def __call__(self) -> None:
        """Forward, loss, backward, optimizer."""
        with self.case.autocast():
            loss = self.loss()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()


def case_of(task: str, recipe: str, device: str, *, reduced: bool, batch: int | None = None) -> Case:
    """The case of a recipe, with smaller images of the dense tasks where `reduced`."""
    case = Case(task, recipe, 0, 0, device)
    data = case.values()["data"]
    side = data.get("image_size") or data["crop_size"]
    side = min(side, REDUCED_SIDE.get(task, side)) if reduced else side
    return replace(case, side=side, batch=batch or BATCH.get(task, 8))


def make_batch(case: Case, classes: int) -> Any:
    """Noise with labels, on the case's device."""
    torch.manual_seed(0)
    if case.task == "coco_maskrcnn":
        made = coco_batch.make_batch(case.batch, case.side, classes)
        return made._replace(
            image=made.image.to(case.device), size=made.size.to(case.device), index=made.index.to(case.device),
            boxes=[one.to(case.device) for one in made.boxes], labels=[one.to(case.device) for one in made.labels],
        )  # fmt: skip
    images = torch.randn(case.batch, 3, case.side, case.side, device=case.device)
    index = torch.arange(case.batch, device=case.device)
    if case.task.startswith("ade20k"):
        labels = torch.randint(classes, (case.batch, case.side, case.side), device=case.device)
        return SegBatch(images, labels, index)
    return ImageBatch(images, index % max(classes, 1), index)


def classes_of(case: Case) -> int:
    """As many as the task's data has; fewer in the smoke recipe."""
    if case.task == "mae_pretrain":
        return 0
    published = len(find_task(case.task).load().Data.published.class_names)
    return 10 if case.recipe == "smoke" else published


def maekit_step(case: Case, *flags: str) -> Step:
    """The recipe's model, losses and optimizer, with further flags."""
    values, classes = case.values(*flags), classes_of(case)
    names, target = tuple(map(str, range(classes))), "classes" if classes else "none"
    spec = DataSpec(names, (case.side, case.side), **SPEC, target=target)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = find_task(case.task).load().Model.build(spec, values["model"]).to(case.device).train()
    optimizer = Optimisation(**values["optim"]).make_optimizer(
        model, model.backbone, values["data"]["total_batch_size"]
    )
    batch = make_batch(case, classes)
    return Step(model, lambda: model.training_losses(model.drawn(batch))["loss"], optimizer, case)


def compiled_step(step: Step, **options: Any) -> Step:
    """The same model and optimizer with compiled losses; options are those of torch.compile."""
    torch.compiler.reset()
    model: Any = step.model
    losses = model.compile_losses(**options)
    batch = make_batch(step.case, classes_of(step.case))
    return replace(step, loss=lambda: losses(model.drawn(batch))["loss"])


def size_of(case: Case) -> Size:
    """Width, depth, heads and patch of the case's ViT."""
    return load_size(case.values()["model"]["backbone"])


def timm_step(case: Case) -> Step:
    """timm's ViT with mean pooling and layer-decay groups; of partial tuning and the probe with the rest frozen."""
    from timm.models.vision_transformer import VisionTransformer
    from timm.optim import param_groups_layer_decay

    size, classes = size_of(case), classes_of(case)
    torch.manual_seed(0)
    model: Any = VisionTransformer(
        case.side, size.patch_size, embed_dim=size.embed_dim, depth=size.num_blocks, num_heads=size.num_heads,
        num_classes=classes, global_pool="avg" if case.task == "imagenet_finetune" else "token",
    )  # fmt: skip
    model = model.to(case.device).train()
    if case.task != "imagenet_finetune":
        blocks = int(case.values()["model"]["tuned_blocks"]) if case.task == "imagenet_partial" else 0
        trained = {id(p) for block in model.blocks[len(model.blocks) - blocks :] for p in block.parameters()}
        trained |= {id(p) for p in model.head.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in trained)
    if case.task == "imagenet_linprobe":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1, momentum=0.9)
    else:
        groups = param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.65)
        optimizer = torch.optim.AdamW(groups, lr=1e-4, fused=True)
    batch = make_batch(case, classes)
    return Step(model, lambda: F.cross_entropy(model(batch.image).float(), batch.label), optimizer, case)


def transformers_step(case: Case) -> Step:
    """transformers' ViTForImageClassification, or ViTMAEForPreTraining with the recipe's decoder."""
    from transformers import ViTConfig, ViTForImageClassification, ViTMAEConfig, ViTMAEForPreTraining

    size, settings, classes = size_of(case), case.values()["model"], classes_of(case)
    shape = {
        "hidden_size": size.embed_dim, "num_hidden_layers": size.num_blocks, "num_attention_heads": size.num_heads,
        "intermediate_size": 4 * size.embed_dim, "image_size": case.side, "patch_size": size.patch_size,
        "attn_implementation": "sdpa",
    }  # fmt: skip
    torch.manual_seed(0)
    batch, model = make_batch(case, classes), nn.Module()
    if case.task == "mae_pretrain":
        decoder = {
            "decoder_hidden_size": settings["decoder_width"], "decoder_num_hidden_layers": settings["decoder_depth"],
            "decoder_num_attention_heads": settings["decoder_heads"],
            "decoder_intermediate_size": 4 * settings["decoder_width"], "norm_pix_loss": True,
        }  # fmt: skip
        own: Any = ViTMAEForPreTraining(ViTMAEConfig(**shape, **decoder, mask_ratio=settings["mask_ratio"]))
        loss = lambda: own(batch.image).loss  # noqa: E731
    else:
        own = ViTForImageClassification(ViTConfig(**shape, num_labels=classes))
        loss = lambda: F.cross_entropy(own(batch.image).logits.float(), batch.label)  # noqa: E731
    model = own.to(case.device).train()
    return Step(model, loss, torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True), case)


def mmsegmentation_step(case: Case) -> Step:
    """mmsegmentation's MAE with UperNet by its published configuration, at the case's size."""
    import ade20k_peer

    size, settings, classes = size_of(case), case.values()["model"], classes_of(case)
    torch.manual_seed(0)
    model, optimizer = ade20k_peer.build(
        0.0, size=size, side=case.side, taps=settings["taps"], classes=classes,
        channels=settings["head_channels"] or size.embed_dim, aux_channels=settings["aux_channels"],
    )  # fmt: skip
    model = model.to(case.device).train()
    batch = make_batch(case, classes)
    samples = ade20k_peer.samples(batch.label)
    return Step(model, lambda: model.parse_losses(model.loss(batch.image, samples))[0], optimizer, case)


def maekit_detector_step(case: Case) -> Step:
    """maekit's Mask R-CNN alone, on given maps: what torchvision's is compared with."""
    from maekit.detection.mask_rcnn.mask_rcnn import MaskRCNN
    from maekit.detection.mask_rcnn.settings import MaskRCNNSettings

    settings, classes = case.values()["model"], classes_of(case)
    torch.manual_seed(0)
    width = settings["pyramid_channels"]
    detector = MaskRCNN(width, classes, MaskRCNNSettings(**settings["mask_rcnn"])).to(case.device).train()
    batch, maps = make_batch(case, classes), given_maps(case, width)
    loss = lambda: torch.stack(list(detector.losses(maps, batch).values())).sum()  # noqa: E731
    return Step(detector, loss, torch.optim.AdamW(detector.parameters(), lr=1e-4, fused=True), case)


def torchvision_step(case: Case) -> Step:
    """torchvision's RegionProposalNetwork and RoIHeads on the same maps; its bitmaps are drawn beforehand."""
    import coco_torchvision

    settings, classes = case.values()["model"], classes_of(case)
    torch.manual_seed(0)
    width = settings["pyramid_channels"]
    model: Any = coco_torchvision.build(settings["mask_rcnn"], classes, width).to(case.device).train()
    maps = given_maps(case, width)
    truth = [
        {key: value.to(case.device) for key, value in one.items()}
        for one in coco_torchvision.targets(make_batch(replace(case, device="cpu"), classes))
    ]
    loss = lambda: torch.stack(list(coco_torchvision.losses(model, maps, truth, case.side).values())).sum()  # noqa: E731
    return Step(model, loss, torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True), case)


def given_maps(case: Case, width: int) -> list[Tensor]:
    """Maps p2 to p6 of noise, with gradients."""
    patch = size_of(case).patch_size
    sides = [case.side * 4 // (patch * factor) for factor in (1, 2, 4, 8, 16)]
    generator = torch.Generator().manual_seed(1)
    maps = (torch.randn(case.batch, width, side, side, generator=generator) for side in sides)
    return [one.to(case.device).requires_grad_() for one in maps]


def detectron2_step(case: Case) -> Step:
    """maekit's task with detectron2's modules behind the backbone: proposals, regions, masks, losses."""
    return maekit_step(case, "--model.detector=detectron2")


Builder = Callable[[Case], Step]
# The sides that are compared with maekit's whole step, and of detection with its detector on given maps.
PEERS: Mapping[str, Mapping[str, Builder]] = {
    "imagenet_finetune": {"timm": timm_step, "transformers": transformers_step},
    "imagenet_partial": {"timm": timm_step},
    "imagenet_linprobe": {"timm": timm_step},
    "mae_pretrain": {"transformers": transformers_step},
    "ade20k_upernet": {"mmsegmentation": mmsegmentation_step},
    "coco_maskrcnn": {"detectron2": detectron2_step},
}
DETECTOR: Mapping[str, Builder] = {"maekit": maekit_detector_step, "torchvision": torchvision_step}


def free() -> None:
    """Gives memory of dropped models back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
