"""Weights load exactly, from every layout, and are accounted for; what does not fit is refused and changes nothing."""

from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.weights.load.load import load_weights, read_state
from maekit.weights.read.shorten import collapse
from tests.numeric import assert_float64
from tests.weights.helpers import Small, decoder, encoder, images, load, peer, refusal, released

pytestmark = pytest.mark.numeric

BLOCK_TENSORS = 12
ENCODER_TENSORS = 4 + 3 * BLOCK_TENSORS


# every layout


@pytest.mark.usefixtures("float64")
def test_a_pretrained_file_gives_timms_tokens(tmp_path: Path) -> None:
    model = Small(pooling="class").eval()
    report = load(model, released(tmp_path / "mae_pretrain.pth", encoder()))
    expected = peer(pooling="class", classes=0).forward_features(images(32, 32))
    assert_float64(model.backbone(images(32, 32)).tokens, expected)
    assert (report.layout, report.kind) == ("mae", "encoder")
    assert len(report.matched) == ENCODER_TENSORS + 2
    assert report.new == ("head.fc.weight", "head.fc.bias")
    assert (report.resized, report.unused, report.coverage) == ((), (), 1.0)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_a_finetuned_file_gives_timms_logits(tmp_path: Path, pooling: Literal["mean", "class"]) -> None:
    model = Small(pooling=pooling).eval()
    source = peer(pooling=pooling)
    report = load(model, released(tmp_path / "mae_finetuned.pth", dict(source.state_dict())), allow_new=())
    assert_float64(model(images(32, 32)), source(images(32, 32)))
    assert (report.layout, report.kind) == ("mae", f"classifier_{pooling}")
    assert (report.new, report.unused, report.coverage) == ((), (), 1.0)
    assert {"head.fc.weight", "head.fc.bias"} <= set(report.matched)


def test_a_full_file_leaves_its_decoder(tmp_path: Path) -> None:
    model = Small()
    extra = decoder()
    report = load(model, released(tmp_path / "full.pth", {**encoder(), **extra}))
    assert (report.layout, report.kind) == ("mae", "pretraining")
    assert set(report.unused) == {"norm.weight", "norm.bias", *extra}
    for name, tensor in encoder().items():
        if not name.startswith("norm."):
            assert torch.equal(model.state_dict()[f"backbone.{name}"], tensor), name


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_bare_state_dict_loads(tmp_path: Path, form: str) -> None:
    path = tmp_path / "weights"
    if form == "safetensors":
        save_file(encoder(), path)
    else:
        torch.save(encoder(), path, _use_new_zipfile_serialization=form == "zip")
    model = Small(pooling="class")
    assert load(model, path).layout == "state_dict"
    for name, tensor in encoder().items():
        assert torch.equal(model.state_dict()[f"backbone.{name}"], tensor), name


@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_a_checkpoint_of_a_run_loads_whole(tmp_path: Path, pooling: Literal["mean", "class"]) -> None:
    source, model = Small(pooling=pooling), Small(pooling=pooling)
    own = {f"model.{name}": tensor for name, tensor in source.state_dict().items()}
    card = {"task": "t", "class_names": ["a"], "image_size": [32, 32]}
    contents = {"state_dict": {**own, "metrics.seen": torch.ones(1)}, "maekit": card, "optimizer_states": [{}]}
    torch.save(contents, tmp_path / "best.ckpt")
    report = load(model, tmp_path / "best.ckpt", allow_new=(), allow_unused=())
    assert report.layout == "maekit"
    assert report.matched == tuple(name.removeprefix("backbone.") for name in source.state_dict())
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_read_state_tells_what_a_file_says(tmp_path: Path) -> None:
    state = read_state(released(tmp_path / "a.pth", encoder()))
    assert state.meta == {"epoch": 799, "args": {"model": "mae_vit_base_patch16", "blr": 1.5e-4, "world_size": 64}}
    assert state.tensors.keys() == encoder().keys()
    own = {f"model.{name}": tensor for name, tensor in Small().state_dict().items()}
    torch.save({"state_dict": own, "maekit": {"task": "t"}, "loops": {}}, tmp_path / "b.ckpt")
    state = read_state(tmp_path / "b.ckpt")
    assert state.tensors.keys() == peer().state_dict().keys()  # released names: head.weight, fc_norm.weight
    assert state.meta == {"maekit": {"task": "t"}}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_floats_are_cast(tmp_path: Path, dtype: torch.dtype) -> None:
    cast = {name: tensor.to(dtype) for name, tensor in encoder().items()}
    model = Small(image_size=(48, 32))
    load(model, released(tmp_path / "a.pth", cast))
    found = model.state_dict()["backbone.blocks.1.attn.qkv.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, cast["blocks.1.attn.qkv.weight"].float())


def test_the_model_does_not_share_memory_with_the_file(tmp_path: Path) -> None:
    path = released(tmp_path / "a.pth", encoder())
    before = path.read_bytes()
    model = Small()
    load(model, path)
    path.write_bytes(b"\0" * len(before))  # in place, under any mapping
    assert torch.equal(model.backbone.blocks[0].norm1.weight, encoder()["blocks.0.norm1.weight"])  # type: ignore[union-attr,arg-type]


# positions


def resized(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Bicubic resizing by hand: the class token's row kept, the rest as an image."""
    picture = table[0, 1:].T.reshape(1, 48, *old)
    return torch.cat([table[0, :1], F.interpolate(picture, new, mode="bicubic")[0].reshape(48, -1).T])[None]


@pytest.mark.parametrize("size", [(48, 48), (24, 56), (16, 64), (8, 128)])
def test_positions_are_resized_to_the_models_grid(tmp_path: Path, size: tuple[int, int]) -> None:
    """Also where the number of patches is the same (16x64 px and 8x128 px: 16 patches, as 4x4)."""
    new = (size[0] // 8, size[1] // 8)
    model = Small(image_size=size)
    report = load(model, released(tmp_path / "a.pth", encoder()))
    assert torch.equal(model.backbone.get_parameter("pos_embed"), resized(encoder()["pos_embed"], (4, 4), new))
    assert report.resized == ("pos_embed",)
    assert report.grids == ((4, 4), new)
    assert report.coverage == 1.0


def test_a_run_on_oblong_images_says_its_grid(tmp_path: Path) -> None:
    source = Small(image_size=(16, 64))
    nn.init.normal_(source.backbone.get_parameter("pos_embed"))
    own = {f"model.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"state_dict": own, "maekit": {"image_size": [16, 64]}}, tmp_path / "a.ckpt")
    same, other = Small(image_size=(16, 64)), Small(image_size=(64, 16))
    assert load(same, tmp_path / "a.ckpt").resized == ()
    assert torch.equal(same.backbone.get_parameter("pos_embed"), source.backbone.get_parameter("pos_embed"))
    assert load(other, tmp_path / "a.ckpt").grids == ((2, 8), (8, 2))
    assert torch.equal(
        other.backbone.get_parameter("pos_embed"), resized(source.backbone.get_parameter("pos_embed"), (2, 8), (8, 2))
    )


def test_a_vit_without_class_token_takes_the_patches_positions(tmp_path: Path) -> None:
    model = nn.ModuleDict({"backbone": ViT(load_size("vit_test_patch8"), image_size=(48, 48), class_token=False)})
    path = released(tmp_path / "a.pth", encoder())
    assert "1 of its tensors have no place in the model: cls_token" in refusal(model, path)
    report = load(model, path, allow_unused=("cls_token",))
    expected = resized(encoder()["pos_embed"], (4, 4), (6, 6))[:, 1:]
    assert torch.equal(model.state_dict()["backbone.pos_embed"], expected)
    assert report.unused == ("cls_token",)


def test_resizing_must_be_allowed(tmp_path: Path) -> None:
    text = refusal(Small(image_size=(16, 64)), released(tmp_path / "a.pth", encoder()), allow_resized=())
    assert "pos_embed is of a 4x4 patch grid, expected 2x8" in text


def test_positions_of_no_square_grid_are_refused(tmp_path: Path) -> None:
    odd = {**encoder(), "pos_embed": torch.zeros(1, 1 + 15, 48)}
    text = refusal(Small(), released(tmp_path / "a.pth", odd))
    assert "pos_embed: got float32 [1, 16, 48], expected float32 [1, 17, 48]" in text


# what does not fit


def test_a_checkpoint_of_another_size_is_named(tmp_path: Path) -> None:
    large = {f"blocks.{index}.norm1.weight": torch.ones(1024) for index in range(24)}
    path = released(tmp_path / "l.pth", {**large, "patch_embed.proj.weight": torch.zeros(1024, 3, 16, 16)})
    assert refusal(Small(), path) == (
        f"{path} holds vit_large_patch16 (1024 wide, 24 blocks, 16 px patches), "
        "expected vit_test_patch8 (48 wide, 3 blocks, 8 px patches); "
        "add --recipe large or --model.backbone vit_large_patch16, or name weights of the model's size"
    )


def test_a_checkpoint_of_unknown_size_is_measured(tmp_path: Path) -> None:
    deeper = {**encoder(), "blocks.3.norm1.weight": torch.ones(48)}
    text = refusal(Small(), released(tmp_path / "a.pth", deeper))
    assert "a ViT of another kind (48 wide, 4 blocks, 8 px patches)" in text


def test_a_missing_tensor_is_refused_unless_expected(tmp_path: Path) -> None:
    tensors = encoder()
    del tensors["blocks.1.mlp.fc1.bias"]
    path = released(tmp_path / "a.pth", tensors)
    assert "1 of the model's tensors are not in it: blocks.1.mlp.fc1.bias" in refusal(Small(), path)
    report = load(Small(), path, allow_new=("head.*", "blocks.1.mlp.fc1.bias"))
    total = sum(tensor.numel() for name, tensor in encoder().items() if not name.startswith("norm."))
    assert report.coverage == pytest.approx((total - 4 * 48) / total)


def test_a_tensor_without_a_place_is_refused_unless_expected(tmp_path: Path) -> None:
    path = released(tmp_path / "a.pth", {**encoder(), "blocks.0.attn.rel_pos_h": torch.ones(7, 24)})
    assert "1 of its tensors have no place in the model: blocks.0.attn.rel_pos_h" in refusal(Small(), path)
    assert "norm.weight" in load(Small(), path, allow_unused=("norm.*", "*rel_pos*")).unused


def test_a_renamed_key_is_shown_beside_its_nearest(tmp_path: Path) -> None:
    renamed = {name.replace("attn.qkv", "attn.in_proj"): tensor for name, tensor in encoder().items()}
    text = refusal(Small(), released(tmp_path / "a.pth", renamed))
    assert "6 of the model's tensors are not in it: blocks.0-2.attn.qkv.*" in text
    assert "blocks.0.attn.in_proj.weight for blocks.0.attn.qkv.weight" in text
    assert "6 of its tensors have no place in the model: blocks.0-2.attn.in_proj.*" in text


@pytest.mark.parametrize("prefix", ["student.", "model.trunk."])
def test_a_prefix_that_is_no_wrapper_is_named(tmp_path: Path, prefix: str) -> None:
    path = released(tmp_path / "a.pth", {prefix + name: t for name, t in encoder().items()})
    chosen = f"{path}#{prefix[:-1]}"
    assert f"its names start with '{prefix}': name it {chosen}" in refusal(Small(), path)
    assert load(Small(), Path(chosen)).coverage == 1.0


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "a ResNet"),
        (["visual.class_embedding", "visual.conv1.weight", "logit_scale"], "a CLIP model"),
        (["vit.embeddings.cls_token", "vit.encoder.layer.0.output.dense.bias"], "a ViT or ViTMAE of transformers"),
        (["layers.0.blocks.0.attn.qkv.weight", "patch_embed.norm.weight"], "a Swin transformer"),
        (["backbone.layers.0.ln1.weight", "backbone.pos_embed"], "a ViT of mmpretrain"),
        (["module.base_encoder.cls_token"], "a MoCo training state"),
    ],
)
def test_a_foreign_model_is_recognised(tmp_path: Path, names: list[str], what: str) -> None:
    text = refusal(Small(), released(tmp_path / "a.pth", {name: torch.ones(2) for name in names}))
    assert "has none of the backbone's tensors: got " in text
    assert all(name in text for name in names)
    assert text.endswith(f"; the file seems to hold {what}")


def test_dino_files_are_recognised(tmp_path: Path) -> None:
    torch.save({"student": {"a": torch.ones(1)}, "teacher": {}, "epoch": 3}, tmp_path / "dino.pth")
    assert refusal(Small(), tmp_path / "dino.pth").endswith("the file seems to hold a DINO training state")
    scaled = {f"blocks.{index}.ls1.gamma": torch.ones(48) for index in range(3)}
    text = refusal(Small(), released(tmp_path / "dinov2.pth", {**encoder(), **scaled}))
    assert "3 of its tensors have no place in the model: blocks.0-2.gamma_1" in text


def test_a_head_of_other_classes_is_refused_until_it_is_left_out(tmp_path: Path) -> None:
    path = released(tmp_path / "a.pth", dict(peer(classes=1000).state_dict()))
    model = Small(classes=10)
    text = refusal(model, path)
    assert "got 1000 classes in its head, expected 10: " in text
    assert "--model.new_head true" in text
    assert "head.bias" not in text
    before = model.head.fc.weight.clone()
    report = load(model, path, leave_out=("head.*",))
    assert torch.equal(model.head.fc.weight, before)
    assert set(report.new) == {"head.fc_norm.weight", "head.fc_norm.bias", "head.fc.weight", "head.fc.bias"}
    assert set(report.unused) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}


def test_a_pretrained_file_cannot_be_evaluated(tmp_path: Path) -> None:
    text = refusal(Small(), released(tmp_path / "a.pth", encoder()), allow_new=())
    assert "4 of the model's tensors are not in it: head.fc_norm.*, head.fc.*" in text
    assert "it holds no classifier: fine-tune it first" in text


def test_the_other_pooling_is_recognised(tmp_path: Path) -> None:
    """The second is the dangerous one: every pattern allows it, and the classifier would sit on a fresh norm."""
    mean = released(tmp_path / "mean.pth", dict(peer(pooling="mean").state_dict()))
    assert "it was fine-tuned with mean pooling: add --model.pooling mean" in refusal(Small(pooling="class"), mean)
    token = released(tmp_path / "class.pth", dict(peer(pooling="class").state_dict()))
    text = refusal(Small(pooling="mean"), token)
    assert "its head fits only in part, head.fc_norm.* would be new" in text
    assert "it was fine-tuned on the class token: add --model.pooling class" in text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_broken_numbers_are_refused_by_name(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in encoder().items()}
    tensors["blocks.2.mlp.fc2.weight"][3, 5] = value
    text = refusal(Small(), released(tmp_path / "a.pth", tensors))
    assert "NaN or infinite values in blocks.2.mlp.fc2.weight" in text


def test_shapes_and_types_are_refused(tmp_path: Path) -> None:
    tensors = {**encoder(), "cls_token": torch.zeros(1, 2, 48)}
    tensors["blocks.0.norm1.weight"] = torch.ones(48, dtype=torch.int8)
    text = refusal(Small(), released(tmp_path / "a.pth", tensors))
    assert "cls_token: got float32 [1, 2, 48], expected float32 [1, 1, 48]" in text
    assert "blocks.0.norm1.weight: got int8 [48], expected float32 [48]" in text


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    tensors = {**encoder(), "foo": torch.ones(1), "cls_token": torch.full((1, 1, 48), float("nan"))}
    del tensors["blocks.0.norm2.bias"]
    text = refusal(Small(), released(tmp_path / "a.pth", tensors))
    for part in (
        "(facebookresearch/mae, encoder alone) does not fit the model: ",
        "blocks.0.norm2.bias",
        "foo",
        "infinite values in cls_token",
    ):
        assert part in text


@pytest.mark.parametrize("contents", [{"epoch": 3}, [torch.ones(1)], {}, {"model": {}}])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, contents: object) -> None:
    torch.save(contents, tmp_path / "a.pth")
    assert "expected" in refusal(Small(), tmp_path / "a.pth")


def test_batchnorm_statistics_of_a_head_are_loaded_too(tmp_path: Path) -> None:
    source, model = Small(), Small()
    for each in (source, model):
        each.head.fc_norm = nn.BatchNorm1d(48, affine=False)  # type: ignore[assignment]
    nn.init.normal_(source.head.fc_norm.running_mean)  # type: ignore[arg-type]
    own = {f"model.{name}": tensor for name, tensor in source.state_dict().items()}
    torch.save({"state_dict": own}, tmp_path / "a.ckpt")
    load(model, tmp_path / "a.ckpt", allow_new=(), allow_unused=())
    assert torch.equal(model.head.fc_norm.running_mean, source.head.fc_norm.running_mean)  # type: ignore[arg-type]


# the report


def test_the_report_is_short(tmp_path: Path) -> None:
    path = released(tmp_path / "mae.pth", {**encoder(), **decoder()})
    assert load(Small(image_size=(48, 32)), path).lines() == [
        f"weights {path} (facebookresearch/mae, pre-training with decoder): 100.0% of the backbone's parameters",
        "  matched   39: cls_token, patch_embed.proj.*, blocks.0-2.*",
        "  resized    1: pos_embed (4x4 -> 6x4 patches)",
        "  new        4: head.fc_norm.*, head.fc.*",
        "  unused    34: norm.*, mask_token, decoder_pos_embed, decoder_embed.*, decoder_norm.*, decoder_pred.*, "
        "decoder_blocks.0-1.*",
        "  assumed 2 attention heads, as the model has: the file does not say how many it was trained with",
    ]


def test_names_collapse_where_they_repeat() -> None:
    assert collapse(["norm.weight"]) == ["norm.weight"]
    assert collapse(["a", "b", "norm.weight", "norm.bias"]) == ["a", "b", "norm.*"]
    assert collapse([f"blocks.{i}.x" for i in (0, 1, 2, 5, 7, 8)]) == ["blocks.0-2,5,7-8.x"]
    assert collapse(["blocks.0.attn.q.w", "blocks.0.attn.q.b"]) == ["blocks.0.attn.q.*"]
    assert collapse(["blocks.0.a.w", "blocks.0.b.w", "blocks.1.a.w"]) == ["blocks.0-1.a.w", "blocks.0.b.w"]
    assert collapse([]) == []


def test_what_is_no_vit_is_a_programming_error(tmp_path: Path) -> None:
    model = nn.ModuleDict({"backbone": nn.Linear(1, 1)})
    with pytest.raises(TypeError, match="Linear"):
        load_weights(model, released(tmp_path / "a.pth", encoder()), allow_new=(), allow_unused=(), allow_resized=())


def test_patch_filters_are_resampled_where_that_is_allowed(tmp_path: Path) -> None:
    """As ViT-H's, from 14 to 16 px: filters and positions both change, and the report says so."""
    smaller = {**encoder(), "patch_embed.proj.weight": torch.randn(48, 3, 6, 6)}
    path, model = released(tmp_path / "a.pth", smaller), Small(image_size=(48, 48))
    assert "6 px patches" in refusal(model, path)
    report = load(model, path, allow_resized=("pos_embed", "patch_embed.proj.weight"))
    expected = F.interpolate(smaller["patch_embed.proj.weight"], (8, 8), mode="bicubic")
    torch.testing.assert_close(model.backbone.patch_embed.proj.weight.data, expected, rtol=0, atol=0)
    assert report.resized == ("patch_embed.proj.weight", "pos_embed")
    assert report.lines()[2].endswith("patch_embed.proj.weight, pos_embed (4x4 -> 6x6 patches) (patches of 6 -> 8 px)")
    assert report.coverage == 1.0
