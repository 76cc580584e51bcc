"""Masked pre-training beside transformers' ViTMAE, and what the paper says of it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maekit.base.data import TransferData
from maekit.base.spec import DataSpec
from maekit.data.images.batch import ImageBatch
from maekit.errors import UserError
from maekit.pretraining import model as of_pretrainer
from maekit.pretraining.masking import fixed_noise
from maekit.pretraining.model import Pretrainer
from maekit.pretraining.target import Components, Moments, NormalisedPixels, patchify, psnr, unpatchify
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import resolve
from maekit.recipes.tasks import find_task
from tests.helpers_model import optimisation
from tests.numeric import SEEDS, assert_float64, assert_fp32, assert_fp32_function, fp32_errors, moved
from tests.peers import newest_names
from tests.pretraining.helpers import MEAN, PATCH, STD, TASK, batch_of, images, pretrainer, values

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def peer() -> Any:
    """transformers' ViTMAEForPreTraining, 48 wide with 3 blocks, on images of 32 x 32."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config = ViTMAEConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=2, intermediate_size=192, image_size=32,
        patch_size=PATCH, decoder_hidden_size=32, decoder_num_hidden_layers=2, decoder_num_attention_heads=4,
        decoder_intermediate_size=128, mask_ratio=0.75, layer_norm_eps=1e-6,
    )  # fmt: skip
    model: nn.Module = ViTMAEForPreTraining(config)
    return model.eval()


def copy_to_peer(model: Pretrainer, peer: Any) -> None:
    """Gives transformers' model our weights, name by name, every one of them."""
    ours = {name.removeprefix("backbone.").removeprefix("head."): t for name, t in model.state_dict().items()}
    words = {
        "attn.qkv": ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
        "attn.proj": ["attention.o_proj"],
        "norm1": ["layernorm_before"],
        "norm2": ["layernorm_after"],
    }
    theirs = {}
    for name, tensor in ours.items():
        parts = name.split(".")
        if parts[0] in ("blocks", "decoder_blocks"):
            stem = f"vit.layers.{parts[1]}" if parts[0] == "blocks" else f"decoder.decoder_layers.{parts[1]}"
            module = ".".join(parts[2:-1])
            modules = words.get(module, [module])
            for word, part in zip(modules, tensor.chunk(len(modules)), strict=True):
                theirs[f"{stem}.{word}.{parts[-1]}"] = part
        else:
            theirs[name] = tensor
    once = {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj.weight": "vit.embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "vit.embeddings.patch_embeddings.projection.bias",
        "norm.weight": "vit.layernorm.weight",
        "norm.bias": "vit.layernorm.bias",
    }
    named = {once.get(name, name if "layers" in name else f"decoder.{name}"): t for name, t in theirs.items()}
    peer.load_state_dict(named, strict=True)


@newest_names
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("target", ["pixels", "normalised_pixels"])
def test_mask_latent_prediction_and_loss_are_transformers(target: str, peer: Any) -> None:
    spec = DataSpec((), (32, 32), mean=MEAN, std=STD, target="none")
    model = pretrainer(spec, target=target)
    for parameter in model.parameters():  # zero biases and unit scales would hide a mistake
        parameter.data += 0.05 * torch.randn(parameter.shape)
    peer = copy.deepcopy(peer).double()
    copy_to_peer(model, peer)
    peer.config.norm_pix_loss = target == "normalised_pixels"
    pictures, noise = torch.randn(4, 3, 32, 32), torch.rand(4, 16)
    expected = peer(pictures, noise=noise)
    expected.loss.backward()
    masking = model.draw_masking(pictures, noise)
    predicted, _ = model(pictures, noise)
    assert torch.equal(masking.masked, expected.mask.bool())
    assert torch.equal(masking.restore, expected.ids_restore)
    latent = peer.vit(pictures, noise=noise).last_hidden_state
    assert_float64(model.encode(pictures, masking), latent)
    assert_float64(predicted, expected.logits)
    assert model.head.mask_token is not None
    assert model.backbone.cls_token is not None
    mine = [model.head.mask_token, model.backbone.cls_token, model.backbone.patch_embed.proj.weight]
    theirs = [
        peer.decoder.mask_token,
        peer.vit.embeddings.cls_token,
        peer.vit.embeddings.patch_embeddings.projection.weight,
    ]

    def outcome(pictures: Tensor) -> dict[str, Tensor]:
        loss = model.patch_losses(pictures, model.draw_masking(pictures, noise))[
            0
        ].mean()  # the loss is computed in fp32
        return dict(zip(("loss", *"012"), (loss, *torch.autograd.grad(loss, mine)), strict=True))

    found = outcome(pictures)
    errors = fp32_errors(found, [outcome(moved(pictures, seed)) for seed in SEEDS])
    assert_fp32(found["loss"], expected.loss, errors["loss"])
    for number, parameter in enumerate(theirs):
        assert_fp32(found[str(number)], parameter.grad, errors[str(number)], str(number))


def test_a_hidden_patch_is_not_seen() -> None:
    model, noise = pretrainer(), torch.rand(3, 24)
    before = images()
    masking = model.draw_masking(before, noise)
    hidden = unpatchify(masking.masked[..., None].expand(-1, -1, 3 * PATCH**2), PATCH, (4, 6))
    after = torch.where(hidden, torch.randn_like(before), before)
    assert torch.equal(model(before, noise)[0], model(after, noise)[0])
    assert not torch.equal(model(before, noise)[0], model(after.flip(3), noise)[0])


@pytest.mark.usefixtures("float64")
def test_the_loss_is_of_hidden_patches_only() -> None:
    model, noise = pretrainer(target="pixels"), torch.rand(3, 24)
    predicted, masking = model(images(), noise)
    error = (predicted - patchify(images(), PATCH)).square().mean(-1)
    expected = (error * masking.masked).sum() / masking.masked.sum()
    assert_fp32_function(
        lambda pictures: model.patch_losses(pictures, model.draw_masking(pictures, noise))[0].mean(),
        [images()],
        expected,
    )


def test_patches_are_pixels_by_row_column_channel() -> None:
    picture = torch.arange(3 * 16 * 24, dtype=torch.float32).reshape(1, 3, 16, 24)
    patches = patchify(picture, 8)
    assert patches.shape == (1, 6, 192)
    assert patches[0, 4, (5 * 8 + 2) * 3 + 1] == picture[0, 1, 8 + 5, 8 + 2]
    assert torch.equal(unpatchify(patches, 8, (2, 3)), picture)


@pytest.mark.usefixtures("float64")
def test_normalised_pixels_have_the_unbiased_variance() -> None:
    patches = torch.randn(2, 5, 192) * 3 + 7
    normal = NormalisedPixels(192)(patches)
    by_hand = [[(p - p.mean()) / ((p - p.mean()).square().sum() / 191 + 1e-6).sqrt() for p in row] for row in patches]
    assert_float64(normal, torch.stack([torch.stack(row) for row in by_hand]))
    assert_float64(NormalisedPixels(192).pixels(normal, patches), patches)


def test_components_are_those_of_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(500, 12, generator=generator) @ torch.randn(12, 12, generator=generator) + 2
    target, moments = Components(12, 5), Moments(12)
    assert not target.basis.any()
    for start in range(0, 500, 150):
        moments.add(patches[start : start + 150])
    target.fit(moments)
    assert target.fitted
    expected = PCA(5).fit(patches.double().numpy())
    found = target(patches).double()
    theirs = torch.from_numpy(expected.transform(patches.double().numpy()))
    signs = (found * theirs).sum(0).sign()
    assert_fp32_function(target, [patches], theirs * signs)
    back = torch.from_numpy(expected.inverse_transform(theirs.numpy()))
    assert_fp32_function(lambda values: target.pixels(target(values), values), [patches], back)
    assert (target.basis.gather(1, target.basis.abs().argmax(1, keepdim=True)) > 0).all()


def test_principal_components_are_found_before_a_run_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_pretrainer, "FIT_IMAGES", 40)
    model = pretrainer(DataSpec((), (64, 64), mean=MEAN, std=STD, target="none"), target="pca", num_components=7)
    data: TransferData = find_task(TASK).load().Data(**data_values())
    data.setup()
    assert model.training_data(data, torch.device("cpu")) is data
    basis = components_of(model).clone()
    assert_fp32(basis @ basis.T, torch.eye(7))
    assert model.training_losses(ImageBatch(torch.randn(2, 3, 64, 64), torch.zeros(2), torch.arange(2)))["loss"] > 0
    again = pretrainer(DataSpec((), (64, 64), mean=MEAN, std=STD, target="none"), target="pca", num_components=7)
    again.load_state_dict(model.state_dict())
    again.training_data(data, torch.device("cpu"))
    assert torch.equal(components_of(again), basis), "a resumed run keeps its components"


def components_of(model: Pretrainer) -> Tensor:
    assert isinstance(model.head.target, Components)
    return model.head.target.basis


def data_values() -> dict[str, Any]:
    stacked = load_recipe(find_task(TASK), "smoke")
    return dict(resolve(stacked, stacked.task.load(), [], training=True).values["data"])


def test_sizes_are_the_published_ones() -> None:
    """Parameters of encoder and decoder with both fixed tables, as in mmpretrain's metafile."""
    for recipe, expected in (("base", 111_907_840), ("large", 329_541_888), ("huge", 657_074_508)):
        with torch.device("meta"):
            module = find_task(TASK).load()
            model = module.Model.build(module.Data.published, values(recipe))
        assert sum(p.numel() for p in model.parameters()) == expected


def test_initial_weights_are_drawn_as_published() -> None:
    model = pretrainer(DataSpec((), (64, 64), mean=MEAN, std=STD, target="none"), decoder_width=128, decoder_depth=1)
    head = model.head
    bound = (6 / (128 + 48)) ** 0.5
    assert 0.98 * bound < head.decoder_embed.weight.abs().max() <= bound
    assert not head.decoder_embed.bias.any()
    assert not head.decoder_pred.bias.any()
    assert head.mask_token is not None
    assert 0.015 < head.mask_token.std() < 0.025
    assert not head.decoder_pos_embed.requires_grad
    assert not model.backbone.get_parameter("pos_embed").requires_grad
    assert not head.decoder_pos_embed[:, 0].any(), "the class token has no position"


def test_class_and_mask_token_are_decayed_and_tables_are_not_trained() -> None:
    model = pretrainer()
    rows = {row.name: row for row in optimisation(TASK).rows(model, model.backbone, 64)}
    decayed = {name for name, row in rows.items() if row.weight_decay == 0.05}
    assert {"backbone.cls_token", "head.mask_token", "head.decoder_embed.weight"} <= decayed
    assert not {name for name in decayed if name.endswith(".bias") or "norm" in name}
    assert not {"backbone.pos_embed", "head.decoder_pos_embed"} & set(rows)
    assert {row.lr_scale for row in rows.values()} == {1.0}


def test_an_encoder_with_mask_tokens_sees_their_places_and_not_their_pixels() -> None:
    model, noise = pretrainer(encoder_mask_tokens=True), torch.rand(3, 24)
    masking = model.draw_masking(images(), noise)
    assert model.encode(images(), masking).shape == (3, 25, 48)
    hidden = unpatchify(masking.masked[..., None].expand(-1, -1, 3 * PATCH**2), PATCH, (4, 6))
    other = torch.where(hidden, torch.randn_like(images()), images())
    assert torch.equal(model(images(), noise)[0], model(other, noise)[0])
    model.training_losses(batch_of(2))["loss"].backward()  # type: ignore[no-untyped-call]
    unused = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused, "DDP stops at a parameter without gradient"
    assert model.head.mask_token is None


def test_every_parameter_gets_a_gradient() -> None:
    model = pretrainer()
    model.training_losses(batch_of(2))["loss"].backward()  # type: ignore[no-untyped-call]
    assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


@pytest.mark.usefixtures("float64")
def test_recomputed_blocks_give_the_same_gradients() -> None:
    plain, recomputed = pretrainer(), pretrainer(gradient_checkpointing=True)
    for model in (plain, recomputed):
        masking = model.draw_masking(images(), fixed_noise("random", [0, 1, 2], (4, 6), 0.75))
        model.patch_losses(images(), masking)[0].mean().backward()  # type: ignore[no-untyped-call]
    for (name, mine), theirs in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            assert_float64(mine.grad, theirs.grad)


@pytest.mark.usefixtures("float64")
def test_metrics_are_the_same_under_any_split_and_padding_does_not_count() -> None:
    model = pretrainer().eval()
    whole, parts = model.new_metrics(), model.new_metrics()
    with torch.no_grad():
        model.update_metrics(whole, batch_of(5))
        for chunk in (slice(0, 2), slice(2, 3), slice(3, 5)):
            part = ImageBatch(*(field[chunk] for field in batch_of(5)))
            model.update_metrics(parts, part)
        padding = batch_of(2)._replace(index=torch.tensor([-1, -1]))
        model.update_metrics(parts, padding)
    first, second = whole.compute(), parts.compute()
    assert first.keys() == {"loss", "psnr"}
    for name in first:
        assert_fp32(first[name], second[name])
    with torch.no_grad():
        masking = model.draw_masking(batch_of(5).image, fixed_noise("random", range(5), (4, 6), 0.75))
        losses, predicted, true = model.patch_losses(batch_of(5).image, masking)
    assert_fp32(first["loss"], losses.mean())
    scale, shift = torch.tensor(STD).repeat(64), torch.tensor(MEAN).repeat(64)
    rgb = [(part * scale + shift) for part in (predicted, true)]
    error = (rgb[0].clamp(0, 1) - rgb[1]).square().mean((1, 2))
    assert_fp32(first["psnr"], (-10 * error.log10()).mean())


@pytest.mark.usefixtures("float64")
def test_psnr_of_a_known_error() -> None:
    true = torch.full((1, 2, 12), 0.5)
    assert_float64(psnr(true + 0.1, true), torch.tensor([20.0]))
    assert_float64(psnr(true + 3, true), psnr(torch.ones_like(true), true))


@pytest.mark.usefixtures("float64")
def test_a_reconstruction_pastes_what_was_hidden() -> None:
    model, noise = pretrainer(target="normalised_pixels").eval(), torch.rand(3, 24)
    found = model.reconstruct(images(), noise)
    rgb = images() * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    assert_fp32(found.original, rgb)
    hidden = found.masked_patches.reshape(3, 4, 6).repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    hidden = hidden.expand_as(rgb)
    assert torch.equal(found.masked[~hidden], found.original[~hidden])
    assert (found.masked[hidden] == 0.5).all()
    assert torch.equal(found.pasted[hidden], found.prediction[hidden])
    assert torch.equal(found.pasted[~hidden], found.original[~hidden])


@pytest.mark.parametrize("size", [(32, 32), (64, 32)])
def test_another_image_size_resizes_both_tables(size: tuple[int, int]) -> None:
    model = pretrainer()
    predicted, masking = model(torch.randn(2, 3, *size))
    patches = size[0] * size[1] // 64
    assert predicted.shape == (2, patches, 192)
    assert masking.masked.sum(1).tolist() == [patches - patches // 4] * 2


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"mask_ratio": 0.0}, "got a mask_ratio of 0.0"),
        ({"backbone": "vit_test_patch8_ijepa"}, "got model.backbone vit_test_patch8_ijepa, which has no class token"),
        ({"mask_ratio": 1.0}, "got a mask_ratio of 1.0"),
        ({"mask_ratio": 0.98}, "leaves none to see"),
        ({"decoder_depth": 0}, "got a decoder_depth of 0, expected 1 or more"),
        ({"decoder_heads": 5}, "expected a multiple of them"),
        ({"decoder_heads": 0}, "expected a multiple of them"),
        ({"decoder_width": 30, "decoder_heads": 3}, "and of 4"),
        ({"masking": "grid", "mask_ratio": 0.5}, "got masking grid"),
        ({"target": "pca"}, "expected a number for pca"),
        ({"num_components": 4}, "null for the others"),
        ({"target": "pca", "num_components": 193}, "expected 1 to 192"),
    ],
)
def test_wrong_numbers_are_refused_in_one_line(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError, match=line) as error:
        pretrainer(**changed)
    assert "\n" not in str(error.value)


def test_a_size_the_patch_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="expected sides that are multiples of the patch size 8"):
        pretrainer(DataSpec((), (60, 60), mean=MEAN, std=STD, target="none"))
    with pytest.raises(UserError, match="expected sides that are multiples of the patch size 8"):
        pretrainer()(torch.randn(1, 3, 60, 64))
