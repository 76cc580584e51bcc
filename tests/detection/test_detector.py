"""The whole detector: detectron2's Mask R-CNN on a ViT gives the same, and files go from one to the other."""

import copy
import pickle
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from maekit.backbone.sizes import Size
from maekit.base.spec import DataSpec, Draw
from maekit.cli import main
from maekit.detection.data.batch import DetBatch
from maekit.detection.data.coco.coco import COCO
from maekit.detection.data.coco.dataset import collate_objects
from maekit.detection.data.coco.scenes import object_scenes_root
from maekit.detection.data.transforms import DetEvalTransform
from maekit.detection.metrics.coco_masks import coco_results, decode_masks
from maekit.errors import UserError
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from maekit.system.size import HeightWidth
from tests.detection import detectron2_peer as peer
from tests.detection.golden import detection_case as case
from tests.detection.golden import vitdet_case
from tests.helpers_model import optimisation
from tests.numeric import SEEDS, assert_fp32, fp32_errors, moved
from tests.weights.helpers import encoder, released

SIDE, IDS = peer.SIDE, ("2", "3", "5", "7", "11")
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CASCADE: dict[str, Any] = {f"mask_rcnn.{key}": value for key, value in case.CASCADE.items()}
SPEC = DataSpec(("a", "b", "c", "d", "e"), (SIDE, SIDE), IDS)
SMALL: dict[str, Any] = {
    "backbone": "vit_test_patch8", "window": 3, "global_blocks": [1], "taps": [2], "pos_grid": [4, 4], "drop_path": 0.0,
    "pyramid_channels": case.CHANNELS, "mask_rcnn.head_channels": 16, "mask_rcnn.fc_channels": 32,
    "mask_rcnn.anchor_sizes": peer.ANCHORS, "gradient_checkpointing": False,
}  # fmt: skip


@pytest.fixture
def patch16(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small ViT gets patches of 16 px, for which detectron2 names the parts of its pyramid as we do."""
    monkeypatch.setattr("maekit.base.model.load_size", lambda name: Size(name, 48, 3, 2, 16))


def model(
    spec: DataSpec = SPEC, recipe: str = "base", *, small: bool = True, rcnn: dict[str, Any] | None = None, **more: Any
) -> Any:
    """A recipe's model, small unless told, from seed 0; `rcnn` and `more` are flags."""
    stacked = load_recipe(find_task("coco_maskrcnn"), recipe)
    module = stacked.task.load()
    values = (SMALL if small else {}) | {f"mask_rcnn.{key}": value for key, value in (rcnn or {}).items()} | more
    flags = [f"--model.{key}={str(value).replace(' ', '')}" for key, value in values.items()]
    torch.manual_seed(0)
    return module.Model.build(spec, resolve(stacked, module, flags, training=False).values["model"])


def checkpoint(net: nn.Module, path: Path) -> Path:
    """The model as a run keeps it."""
    state = {f"model.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"state_dict": state, "maekit": {"image_size": [SIDE, SIDE]}}, path)
    return path


def pickled(arrays: dict[str, Any], path: Path) -> Path:
    """A file as detectron2's model zoo has them."""
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "somebody"}))
    return path


@cache
def their_arrays(classes: int = case.CLASSES) -> dict[str, Any]:
    """Arrays by detectron2's names, for a model of so many classes: from ours, far from any start."""
    from maekit.weights.layouts.detectron2 import detectron2_name

    net = model(DataSpec(tuple(map(str, range(classes))), (SIDE, SIDE), tuple(map(str, range(classes)))))
    case.fill(net)
    arrays = {}
    for name, tensor in net.state_dict().items():
        theirs = detectron2_name(name.removeprefix("backbone."))
        assert theirs is not None, name
        arrays[theirs] = tensor.numpy()
    table = arrays["backbone.net.pos_embed"]
    arrays["backbone.net.pos_embed"] = np.concatenate([np.full_like(table[:, :1], 9), table], axis=1)
    return arrays


def photos() -> list[Image.Image]:
    """Two pictures of different shapes, one larger than the model's square and one smaller."""
    rng = np.random.default_rng(5)
    sizes = ((90, 200), (120, 85))
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8), "RGB") for h, w in sizes]


def found_by(net: Any, images: list[Image.Image]) -> list[Any]:
    """What the model finds in each, all in one batch."""
    samples = [DetEvalTransform(image_size=SIDE, mean=MEAN, std=STD)(image) for image in images]
    sizes = torch.tensor([size for _, size in samples])
    original = torch.tensor([(image.height, image.width) for image in images])
    found: list[Any] = net.eval().detect(torch.stack([pixels for pixels, _ in samples]), sizes, original)
    return found


def assert_same(found: list[Any], theirs: list[Any], images: list[Image.Image]) -> None:
    """Boxes within 1e-2 pixel, scores within 1e-4, pixels of the masks."""
    for one, result, image in zip(found, theirs, images, strict=True):
        other, size = result["instances"], HeightWidth(image.height, image.width)
        assert len(one.boxes) == len(other) > 20
        columns = (one.boxes, other.pred_boxes.tensor, 1e-2), (one.scores, other.scores, 1e-4)
        far = torch.stack([(a.view(1, len(a), -1) - b.view(len(b), 1, -1)).abs().amax(2) / at for a, b, at in columns])
        nearest = far.amax(0).min(1)  # by rank, but that two of almost one score may have changed places
        assert nearest.values.max() <= 1
        assert sorted(nearest.indices.tolist()) == list(range(len(other)))
        assert (nearest.indices - torch.arange(len(other))).abs().max() <= 2
        assert torch.equal(one.labels[nearest.indices], other.pred_classes)
        if one.masks is None:
            assert not other.has("pred_masks")
            continue
        masks = decode_masks(coco_results(one, size).rles or [], size)[nearest.indices.numpy()]
        assert masks.any()
        assert (masks != other.pred_masks.numpy()).mean() < 1e-4


@cache
def scenes() -> COCO:
    """The made scenes in squares of this file's size."""
    return data_of(root=str(object_scenes_root()))


def data_of(**changes: Any) -> COCO:
    """Data by the Base recipe's numbers, but small."""
    numbers = load_recipe(find_task("coco_maskrcnn"), "base").values["data"]
    data = COCO(**(numbers | {"image_size": SIDE, "total_batch_size": 2, "device_batch_size": None} | changes))
    data.setup()
    return data


def batch(*, bitmaps: bool = True) -> DetBatch:
    """Two training scenes; where detectron2 would make bitmaps of polygons beside some, those can be left out."""
    images = scenes().train_dataset(0)
    samples = []
    for one in (images[Draw(0, index)] for index in (0, 3)):
        kept = [at for at, mask in enumerate(one.masks) if bitmaps or mask.bitmap is None]
        masks = [one.masks[at] for at in kept]
        samples.append(one._replace(boxes=one.boxes[kept], labels=one.labels[kept], masks=masks))
    made = collate_objects(samples)
    assert isinstance(made, DetBatch)
    assert all(len(boxes) for boxes in made.boxes)
    return made


# beside detectron2


@peer.live
@pytest.mark.parametrize(
    ("engine", "detector"),
    [("maekit", "mask"), ("detectron2", "mask"), ("maekit", "cascade"), ("detectron2", "cascade"), ("maekit", "boxes")],
)
@pytest.mark.usefixtures("patch16")
def test_a_file_of_detectron2s_gives_its_own_detections(engine: str, detector: str, tmp_path: Path) -> None:
    """Its own .pkl, read by either engine; from the pictures on, which both resize and pad."""
    theirs = peer.mask_rcnn(detector=detector)
    path = pickled({name: tensor.numpy() for name, tensor in theirs.state_dict().items()}, tmp_path / "a.pkl")
    flags = CASCADE if detector == "cascade" else {}
    net = model(replace(SPEC, masks=detector != "boxes"), weights=path, detector=engine, **flags)
    report = net.load_start(complete=True)
    assert (report.coverage, report.new, report.unused, report.resized) == (1.0, (), (), ())
    with torch.no_grad():
        assert_same(found_by(net, photos()), theirs(peer.inputs(photos())), photos())


@peer.live
@pytest.mark.parametrize("detector", ["mask", "cascade", "boxes"])
@pytest.mark.usefixtures("patch16")
def test_a_run_written_for_detectron2_loads_there_and_gives_the_same(detector: str, tmp_path: Path) -> None:
    spec, flags = replace(SPEC, masks=detector != "boxes"), CASCADE if detector == "cascade" else {}
    ours = model(spec, **flags)
    case.fill(ours)
    path = checkpoint(ours, tmp_path / "best.ckpt")
    assert main(["weights", "convert", "--to", "detectron2", str(path), str(tmp_path / "out.pkl")]) == 0
    theirs = peer.mask_rcnn(filled=False, detector=detector)
    assert peer.load(theirs, tmp_path / "out.pkl") == ([], [])
    with torch.no_grad():
        assert_same(found_by(ours, photos()), theirs(peer.inputs(photos())), photos())
    back = model(spec, weights=tmp_path / "out.pkl", **flags)
    back.load_start(complete=True)
    for name, tensor in ours.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor), name


@peer.live
@pytest.mark.usefixtures("patch16")
def test_both_engines_have_the_same_losses_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64: an activation within a rounding of 0 in fp32 may have its gradient in one engine alone."""
    from detectron2.modeling.proposal_generator import proposal_utils
    from torchvision.ops import batched_nms

    def nms(boxes: Tensor, scores: Tensor, *rest: Any) -> Tensor:
        kept: Tensor = batched_nms(boxes.to(scores.dtype), scores, *rest)  # detectron2's boxes are always fp32
        return kept

    monkeypatch.setattr(proposal_utils, "batched_nms", nms)
    values = []
    for engine in ("maekit", "detectron2"):
        net = model(scenes().spec(), detector=engine, rcnn={"rpn_batch": 2**15, "roi_batch": 2**11})
        case.fill(net)
        made = batch(bitmaps=False)
        losses = net.double().train().training_losses(made._replace(image=made.image.double()))
        losses["loss"].backward()
        gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
        values.append(({name: loss.detach() for name, loss in losses.items()}, gradients))
    (ours, our_gradients), (theirs, their_gradients) = values
    assert ours.keys() == theirs.keys()
    for name, loss in theirs.items():
        torch.testing.assert_close(ours[name].double(), loss.double(), rtol=1e-5, atol=0)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=0, atol=1e-5 * gradient.abs().max().item())


@peer.live
@pytest.mark.parametrize(("recipe", "rate", "depth"), [("base", 0.7, 12), ("large", 0.8, 24), ("huge", 0.9, 32)])
def test_learning_rates_and_weight_decay_are_detectron2s(recipe: str, rate: float, depth: int) -> None:
    """By its own functions, with the numbers of its projects/ViTDet configurations."""
    from functools import partial

    from detectron2.modeling.backbone.vit import get_vit_lr_decay_rate
    from detectron2.solver import get_default_optimizer_params

    theirs = peer.mask_rcnn(filled=False, depth=depth, window_block_indexes=list(range(1, depth)))
    exempt: dict[str, Any] = {"weight_decay_norm": 0.0, "overrides": {"pos_embed": {"weight_decay": 0.0}}}
    groups = get_default_optimizer_params(
        theirs, base_lr=1e-4, weight_decay=0.1, **({} if recipe == "huge" else exempt),
        lr_factor_func=partial(get_vit_lr_decay_rate, lr_decay_rate=rate, num_layers=depth),
    )  # fmt: skip
    names = {id(parameter): name for name, parameter in theirs.named_parameters()}
    expected = {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    rows = rows_of(recipe)
    assert rows.keys() == expected.keys()
    for name, (lr, decay) in expected.items():
        assert rows[name] == (pytest.approx(lr), decay), name


def rows_of(recipe: str) -> dict[str, Any]:
    """Peak lr and weight decay of each parameter of a recipe's whole model, by detectron2's names."""
    from maekit.weights.layouts.detectron2 import detectron2_name

    with torch.device("meta"):
        net = model(COCO.published, recipe, small=False)
    rows = optimisation("coco_maskrcnn", recipe).rows(net, net.backbone, 64)
    named = {detectron2_name(row.name.removeprefix("backbone.")): (row.lr, row.weight_decay) for row in rows}
    return {name: numbers for name, numbers in named.items() if name is not None}


# without it


def test_learning_rates_and_weight_decay_of_base() -> None:
    rows = rows_of("base")
    facts = {
        "backbone.net.pos_embed": (0.7**13, 0.0),
        "backbone.net.patch_embed.proj.weight": (0.7**13, 0.1),
        "backbone.net.blocks.0.norm1.weight": (0.7**12, 0.0),
        "backbone.net.blocks.3.attn.rel_pos_h": (0.7**9, 0.1),
        "backbone.net.blocks.11.mlp.fc2.bias": (0.7, 0.1),
        "backbone.simfp_2.1.weight": (1.0, 0.1),  # of its own LayerNorm, which is no torch.nn.LayerNorm
        "backbone.simfp_5.2.norm.bias": (1.0, 0.1),
        "roi_heads.box_head.conv1.norm.weight": (1.0, 0.1),
        "proposal_generator.rpn_head.anchor_deltas.bias": (1.0, 0.1),
    }
    for name, (scale, decay) in facts.items():
        assert rows[name] == pytest.approx((1e-4 * scale, decay)), name
    assert {decay for _, decay in rows_of("huge").values()} == {0.1}


def test_a_released_file_gives_detectron2s_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The features of golden/vitdet_arrays.npz, from a .pkl of their weights and a whole detector."""
    with np.load(Path(__file__).parent / "golden/vitdet_arrays.npz") as stored:
        arrays = dict(stored)
    size = Size("case", vitdet_case.EMBED_DIM, vitdet_case.NUM_BLOCKS, vitdet_case.NUM_HEADS, vitdet_case.PATCH)
    monkeypatch.setattr("maekit.base.model.load_size", lambda name: size)
    grid = vitdet_case.STORED_SIDE // vitdet_case.PATCH
    net = model(
        window=vitdet_case.WINDOW, global_blocks=[vitdet_case.GLOBAL_BLOCK], pos_grid=[grid, grid],
        pyramid_channels=vitdet_case.CHANNELS,
    )  # fmt: skip
    shapes = [[int(side) for side in sides.split(",")] for sides in arrays["shapes"].tolist()]
    named = {n: vitdet_case.weight(n, s).numpy() for n, s in zip(arrays["names"].tolist(), shapes, strict=True)}
    heads = {name.removeprefix("detector."): tensor for name, tensor in net.head.state_dict().items()}
    named |= {name: tensor.numpy() for name, tensor in heads.items() if not name.startswith("pyramid.")}
    net.weights = str(pickled(named, tmp_path / "a.pkl"))
    report = net.load_start(complete=True)
    assert (report.coverage, report.new, report.unused, report.resized) == (1.0, (), (), ())
    whole = copy.deepcopy(net).double()
    for name in vitdet_case.IMAGES:
        image = vitdet_case.drawn(name, 3, *vitdet_case.IMAGES[name])[None]
        with torch.no_grad():
            double = levels(whole.maps(image.double()))
            errors = fp32_errors(double, [levels(net.maps(moved(image, seed))) for seed in SEEDS])
        for level, expected in double.items():
            assert_fp32(torch.from_numpy(arrays[f"{name} {level}"]), expected, errors[level], msg=f"{name} {level}")


def levels(maps: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {str(level): found for level, found in zip(vitdet_case.LEVELS, maps, strict=True)}


POSITIONS = [f"blocks.{block}.attn.position.rel_pos_{axis}" for block in range(3) for axis in "hw"]


@pytest.mark.parametrize(
    ("recipe", "file", "resized"),
    [
        ("base", {}, set()),
        ("base", {"grid": 5}, {"pos_embed"}),
        ("huge", {"grid": 5, "patch": 7}, {"pos_embed", "patch_embed.proj.weight"}),
    ],
)
def test_a_pretrained_encoder_starts_a_detector(
    recipe: str, file: dict[str, int], resized: set[str], tmp_path: Path
) -> None:
    """The class token's row goes, positions stay at the stored grid; Huge's filters come from smaller patches."""
    path = pretrained(tmp_path / "mae.pth", **file)
    net = model(recipe=recipe, weights=path, pos_grid=[4, 4])
    report = net.load_start(complete=False)
    assert set(report.new) == {*POSITIONS, *(name for name in net.state_dict() if name.startswith("head."))}
    assert set(report.unused) == {"cls_token", "norm.weight", "norm.bias"}
    assert set(report.resized) == resized
    assert report.grids == (((5, 5), (4, 4)) if "grid" in file else None)
    assert report.patches == ((7, 8) if "patch" in file else None)
    assert all((net.backbone.get_parameter(name) == 0).all() for name in POSITIONS)
    if not resized:
        assert torch.equal(net.backbone.pos_embed, encoder()["pos_embed"][:, 1:])
    assert torch.equal(net.backbone.blocks[1].attn.qkv.weight, encoder()["blocks.1.attn.qkv.weight"])


def pretrained(path: Path, grid: int = 4, patch: int = 8) -> Path:
    """A MAE's encoder whose positions are those of a grid x grid image, of patches of so many pixels."""
    tensors = encoder()
    generator = torch.Generator().manual_seed(3)
    if grid != 4:
        tensors["pos_embed"] = torch.randn(1, 1 + grid**2, 48, generator=generator)
    if patch != 8:
        tensors["patch_embed.proj.weight"] = torch.randn(48, 3, patch, patch, generator=generator)
    return released(path, tensors)


OF_CLASSES = {
    f"head.detector.roi_heads.{layer}.{leaf}"
    for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor")
    for leaf in ("weight", "bias")
}


def test_a_file_of_other_classes_is_refused_or_gives_all_but_their_layers(tmp_path: Path) -> None:
    path = pickled(their_arrays(3), tmp_path / "a.pkl")
    with pytest.raises(UserError) as caught:
        model(weights=path).load_start(complete=False)
    assert "got 3 classes in its detector, expected 5" in str(caught.value)
    assert "--model.new_head true" in str(caught.value)
    assert "\n" not in str(caught.value)
    net = model(weights=path, new_head="true")
    report = net.load_start(complete=False)
    assert set(report.new) == set(report.unused) == OF_CLASSES
    assert report.coverage == 1.0
    assert np.array_equal(net.head.pyramid.simfp_5[1].weight.detach(), their_arrays(3)["backbone.simfp_5.1.weight"])
    rpn = net.head.detector.proposal_generator.rpn_head.anchor_deltas.weight.detach()
    assert np.array_equal(rpn, their_arrays(3)["proposal_generator.rpn_head.anchor_deltas.weight"])
    with pytest.raises(UserError, match="got 3 classes in its detector, expected 5"):
        net.load_start(complete=True)


STAGED_CLASSES = {
    f"head.detector.roi_heads.{layer}.{leaf}"
    for layer in (*(f"box_predictor.{stage}.cls_score" for stage in range(3)), "mask_head.predictor")
    for leaf in ("weight", "bias")
}


def saved(path: Path, spec: DataSpec = SPEC, **flags: Any) -> Path:
    """A run's checkpoint of a small detector with weights no start would give."""
    net = model(spec, **flags)
    case.fill(net)
    return checkpoint(net, path)


def test_a_new_head_on_a_cascade_keeps_the_boxes_of_all_classes(tmp_path: Path) -> None:
    """Its stages have one box for all classes, which other classes share as well."""
    path = saved(tmp_path / "a.ckpt", SPEC, **CASCADE)
    three = DataSpec(("x", "y", "z"), (SIDE, SIDE), ("1", "2", "3"))
    net = model(three, weights=path, new_head="true", **CASCADE)
    report = net.load_start(complete=False)
    assert set(report.new) == set(report.unused) == STAGED_CLASSES
    name = "head.detector.roi_heads.box_predictor.2.bbox_pred.weight"
    assert torch.equal(net.state_dict()[name], torch.load(path, weights_only=True)["state_dict"][f"model.{name}"])
    with pytest.raises(UserError, match="got 5 classes in its detector, expected 3"):
        model(three, weights=path, **CASCADE).load_start(complete=False)


@pytest.mark.parametrize("complete", [False, True])
def test_a_cascade_and_a_plain_detector_are_told_apart_in_one_line(tmp_path: Path, complete: bool) -> None:
    flags: dict[str, dict[str, Any]] = {"plain": {}, "cascade": CASCADE}
    files = {name: saved(tmp_path / f"{name}.ckpt", **given) for name, given in flags.items()}
    expected = {
        "plain": "it is of a cascade of 3 stages, expected one stage (no cascade): give a recipe such as "
        "cascade_base, or model.mask_rcnn.cascade_iou and cascade_box_weights",
        "cascade": "it is of one stage (no cascade), expected a cascade of 3 stages: give "
        "--model.mask_rcnn.cascade_iou [] --model.mask_rcnn.cascade_box_weights []",
    }
    for name, other in (("plain", "cascade"), ("cascade", "plain")):
        with pytest.raises(UserError) as caught:
            model(weights=files[other], **flags[name]).load_start(complete=complete)
        assert expected[name] in str(caught.value)
        assert "\n" not in str(caught.value)
        assert model(weights=files[name], **flags[name]).load_start(complete=complete).coverage == 1.0


def test_boxes_alone_start_from_a_detector_of_masks_and_not_the_reverse(tmp_path: Path) -> None:
    """The mask head is left over, as the report says."""
    boxes = replace(SPEC, masks=False)
    report = model(boxes, weights=saved(tmp_path / "masks.ckpt")).load_start(complete=True)
    assert report.new == ()
    assert {name.rsplit(".", 2)[0] for name in report.unused} >= {"head.detector.roi_heads.mask_head"}
    with pytest.raises(UserError) as caught:
        model(weights=saved(tmp_path / "boxes.ckpt", boxes)).load_start(complete=False)
    assert "it is of a detector of boxes alone, expected one of masks too: give --data.masks false" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("masks", [False, True])
def test_a_cascade_is_planned_with_all_its_parameters(masks: bool) -> None:
    """Losses of made images, drawn and planned, depend on every parameter; so does what an evaluation holds."""
    net = model(replace(scenes().spec(), masks=masks), **CASCADE).train()
    for losses in (net.planned_losses(net.example_batch(2)), net.training_losses(net.example_batch(2))):
        net.zero_grad()
        losses["loss"].backward()
        missing = [name for name, value in net.head.named_parameters() if value.grad is None]
        assert not missing
    net.evaluate_example(1)


def test_a_new_head_takes_no_part_that_fits_by_half(tmp_path: Path) -> None:
    arrays = {name: array for name, array in their_arrays(3).items() if "mask_fcn4" not in name}
    with pytest.raises(UserError, match=r"its head fits only in part, .*mask_fcn4.* would be new"):
        model(weights=pickled(arrays, tmp_path / "a.pkl"), new_head="true").load_start(complete=False)


def test_a_seed_decides_the_losses_and_every_part_learns() -> None:
    losses = []
    for _ in range(2):
        net = model(scenes().spec(), drop_path=0.1).train()
        losses.append(net.training_losses(batch()))
    assert losses[0] == losses[1]
    assert losses[0].keys() == {"loss", "rpn_cls", "rpn_loc", "cls", "box_reg", "mask"}
    assert losses[0]["loss"].item() == pytest.approx(sum(v.item() for k, v in losses[0].items() if k != "loss"))
    losses[0]["loss"].backward()


@pytest.mark.parametrize("position", ["decomposed", "shared", "null"])
def test_an_image_alone_that_skips_blocks_trains_all_the_same(position: str) -> None:
    """Stochastic depth may leave no image of a device batch of one; DDP wants gradients of zero then."""
    net = model(drop_path=0.99, relative_position=position).train()
    net.backbone(torch.randn(1, 3, SIDE, SIDE), taps=net.taps).maps[0].sum().backward()
    attention = net.backbone.blocks[2].attn
    assert (attention.qkv.weight.grad == 0).all()
    assert all(parameter.grad is not None for parameter in net.backbone.parameters())


def test_bfloat16_on_a_cpu_trains_and_detects() -> None:
    net = model(scenes().spec(), rcnn={"min_score": 0.0})
    exact = net.training_losses(batch())["loss"]
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = net.train().training_losses(batch())["loss"]
        found = found_by(net, photos())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=0.1)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(len(one.boxes) == 100 and one.boxes.dtype == one.scores.dtype == torch.float32 for one in found)


def test_an_evaluation_has_a_picture_and_tables_and_counts_no_padding() -> None:
    data = scenes()
    net = model(data.spec(), rcnn={"min_score": 0.05}).eval()
    images = data.val_dataset()
    metrics = net.new_metrics()
    samples = [images[Draw(0, index)] for index in (0, 1)]
    padding = images[Draw(0, -1)]
    net.update_metrics(metrics, data.collate([*samples, padding]))
    values = metrics.compute()
    assert len(values) == 24
    assert net.headlines(dict.fromkeys(values, 1.0)).keys() == {"box_AP", "box_AP50", "mask_AP", "mask_AP50"}
    seen = {result["image_id"] for result in net.results(metrics)["coco_results.json"]}
    assert seen == {sample.image_id for sample in samples}
    table = net.table(metrics)
    assert table[0].split() == ["label", "class", "box", "AP", "mask", "AP", "objects"]
    header, box, mask = (line.split() for line in table[-3:])
    assert (header[:3], box[0], mask[0]) == (["AP", "AP50", "AP75"], "box", "mask")
    assert float(mask[12]) == pytest.approx(values["mask_ARl"].item(), abs=0.01, nan_ok=True)
    picture = net.shown().picture(data)
    assert picture.mode == "RGB"
    assert min(picture.size) > 300


def test_categories_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="category ids that are whole numbers"):
        model(DataSpec(("a", "b"), (SIDE, SIDE)))


def test_one_tap_or_four_are_asked_for() -> None:
    with pytest.raises(UserError, match=r"model.taps: got \[1, 2\], expected 1 for the pyramid 'simple'"):
        model(taps=[1, 2])
