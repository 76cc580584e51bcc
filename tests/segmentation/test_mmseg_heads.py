"""mmsegmentation's decode heads in the place of ours: the same numbers, what they are given, and what is refused."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maekit.base.memory_format import use_channels_last
from maekit.errors import UserError
from maekit.segmentation.head.mmseg.library import mmseg_module
from tests.numeric import assert_float64
from tests.segmentation import helpers, mmseg_peer
from tests.segmentation.helpers_mmseg import FIVE, OTHERS, SPEC, batch, model


def scramble(module: torch.nn.Module) -> None:
    """Weights and statistics that no initialisation gives, so that a mix-up shows."""
    generator = torch.Generator().manual_seed(5)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            draws = torch.randn(value.shape, generator=generator, dtype=value.dtype)
            value.copy_(value + 0.1 * (draws.abs() if name.endswith("running_var") else draws))


@pytest.mark.numeric
@pytest.mark.usefixtures("float64")
def test_their_upernet_gives_our_upernets_numbers_with_the_same_weights() -> None:
    """Weights load strictly both ways; logits, both losses and all gradients, dropout included."""
    ours = helpers.model(SPEC, window_stride=32, dropout=0.1)
    theirs = model("UPerHead", dropout=0.1)
    scramble(ours)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = batch()
    assert_float64(ours.eval()(images.image), theirs.eval()(images.image))
    found = []
    for each in (ours.train(), theirs.train()):
        torch.manual_seed(6)
        losses = each.training_losses(images)
        losses["loss"].backward()
        found.append({name: p.grad for name, p in each.named_parameters()} | {n: v.detach() for n, v in losses.items()})
    assert set(found[0]) >= {"loss", "decode", "auxiliary", "head.decode.conv_seg.weight", "backbone.pos_embed"}
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-5, atol=1e-5)  # the loss is computed in fp32


@pytest.mark.numeric
@pytest.mark.usefixtures("float64")
def test_heads_are_given_the_maps_they_take() -> None:
    """Each head by itself, as its authors call it, on what the backbone gives."""
    images = batch().image
    fcn = model("FCNHead", taps="[0,2]", aux_index=0).eval()
    last = fcn.backbone(images, taps=[2]).maps
    assert_float64(fcn.head(fcn.maps(images)), fcn.head.decode(list(last)))
    joined = model("FCNHead", "{input_transform: resize_concat}", taps="[0,2]", aux_index=0).eval()
    both = torch.cat(joined.backbone(images, taps=[0, 2]).maps, 1)
    joined.head.decode.input_transform, joined.head.decode.in_index = None, 0
    expected = joined.head.decode([both])
    joined.head.decode.input_transform, joined.head.decode.in_index = "resize_concat", [0, 1]
    assert_float64(joined.head(joined.maps(images)), expected)
    dpt = model("DPTHead", FIVE["DPTHead"]).eval()
    found = dpt.backbone(images, taps=dpt.taps)
    assert len(found.class_tokens) == 4
    pairs = [list(pair) for pair in zip(found.maps, found.class_tokens, strict=True)]
    logits = dpt.head(dpt.maps(images))
    assert_float64(logits, dpt.head.decode(pairs))
    assert not torch.allclose(logits, dpt.head.decode([[image, 2 * token] for image, token in pairs]))
    assert_float64(dpt.head.both(dpt.maps(images))[1], dpt.head.auxiliary(found.maps[2]))


def learns(head: str, args: str) -> tuple[Any, list[float]]:
    module, images = model(head, args), batch()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss: Tensor = module.training_losses(images)["loss"]
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return module, losses


@pytest.mark.parametrize("head", FIVE)
def test_five_heads_learn(head: str, capfd: pytest.CaptureFixture[str]) -> None:
    module, losses = learns(head, FIVE[head])
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad), "DDP waits for each gradient"
    assert module.eval()(batch(1).image).shape == (1, helpers.CLASSES, *SPEC.image_size)
    assert capfd.readouterr() == ("", "")  # neither a warning nor a line of theirs


@pytest.mark.slow
@pytest.mark.parametrize("head", OTHERS)
def test_other_heads_learn(head: str) -> None:
    module, losses = learns(head, OTHERS[head])
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in module.parameters() if p.requires_grad)


def test_all_their_heads_are_known_here() -> None:
    """A newer mmsegmentation with another head shows up."""
    refused = {line[0] for line in REFUSED} | {"KernelUpdator", "MaskFormerHead", "Mask2FormerHead"}
    names = set(mmseg_peer.mmseg_module("mmseg.models.decode_heads").__all__)
    assert names == set(FIVE) | set(OTHERS) | STDC | {name for name in refused if name in names}


STDC = {"STDCHead"}  # FCNHead with a loss of its own, on boundaries, which is not used here
REFUSED = [
    ("PSAHead", "{mask_size: [4, 6]}", r"needs mmcv's compiled operator psamask_forward.*such as mmseg:UPerHead"),
    ("PointHead", "{}", r"made to refine another head's logits"),
    ("OCRHead", "{ocr_channels: 8}", r"made to refine another head's logits"),
    ("IterativeDecodeHead", "{}", r"made to refine the kernels"),
    ("DAHead", "{pam_channels: 8}", r"gives 3 outputs in training, expected the logits \[B, 7, h, w\] alone"),
    ("EncHead", "{}", r"gives 2 outputs in training"),
    ("LRASPPHead", "{}", r"made for three maps of MobileNet"),
    ("DDRHead", "{}", r"made for the two branches"),
    ("PIDHead", "{}", r"made for the three branches"),
    ("VPDDepthHead", "{}", r"made for depth"),
    ("SideAdapterCLIPHead", "{}", r"made for CLIP"),
    ("KernelUpdateHead", "{}", r"whose outputs are not the logits of pixels"),
    ("UperHead", "{}", r"expected mmseg: and one of .*did you mean 'UPerHead'\?"),
    ("PSPHead", "{pool_scale: [1]}", r"model.head_args.pool_scale: .*did you mean 'pool_scales'\? \(PSPHead takes"),
    ("PSPHead", "{pool_scales: 3}", r"model.head_args.pool_scales: got 3, expected a list, as its default"),
    ("FCNHead", "{num_convs: two}", r"model.head_args.num_convs: got 'two', expected a whole number"),
    ("FCNHead", "{num_convs: true}", r"model.head_args.num_convs: got True, expected a whole number"),
    ("FCNHead", "{concat_input: 1}", r"model.head_args.concat_input: got 1, expected true or false"),
    ("FCNHead", "{in_channels: 48}", r"in_channels: got 48, expected none: it is decided by the backbone's width"),
    ("FCNHead", "{channels: 48}", r"channels: got 48, .*decided by --model.head_channels"),
    ("FCNHead", "{loss_decode: {type: DiceLoss}}", r"the losses are maekit's"),
    ("FCNHead", "{num_convs: 0}", r"FCNHead refuses them, .*AssertionError: assert self.in_channels == self.channels"),
    ("FCNHead", "{norm_cfg: {type: SyncBN}}", r"norm_cfg: got SyncBN, expected BN: --trainer.sync_batchnorm"),
    ("FCNHead", "{norm_cfg: {type: NoNorm}}", r"norm_cfg.type: got NoNorm, expected a layer that mmcv knows"),
    ("FCNHead", "{input_transform: multiple_select}", r"input_transform: got multiple_select, expected resize_concat"),
    ("ISAHead", "{}", r"got no isa_channels, which ISAHead needs; add --model.head_args.isa_channels VALUE"),
    ("DPTHead", "{embed_dims: 48}", r"embed_dims: got 48, expected none"),
]


@pytest.mark.parametrize(("head", "args", "line"), REFUSED)
def test_what_cannot_be_built_is_one_line_before_any_step(head: str, args: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        model(head, args)
    assert "\n" not in str(caught.value)


def test_taps_that_do_not_fit_the_head_are_one_line() -> None:
    with pytest.raises(UserError, match=r"UPerHead, which takes 4 maps, expected a head for the 3 that"):
        model("UPerHead", taps="[0,1,2]")
    with pytest.raises(
        UserError, match=r"model.aux_index: got 3, expected 0 to 2: one of the 3 maps .*--model.aux_ind"
    ):
        model("FCNHead", taps="[0,1,2]", aux_index=3)
    with pytest.raises(UserError, match=r"model.aux_index: got 4, expected 0 to 3"):
        helpers.model(SPEC, aux_index=4)
    with pytest.raises(UserError, match=r"model.taps: got \[0, 1, 2\], expected 4 numbers"):
        helpers.model(SPEC, taps="[0,1,2]", window_stride=32)


def test_arguments_without_their_head_and_heads_without_their_prefix_are_one_line() -> None:
    with pytest.raises(UserError, match=r"model.head_args: got num_convs with model.head maekit"):
        helpers.model(SPEC, head_args="{num_convs: 1}")
    with pytest.raises(UserError, match=r"got PSPHead, expected maekit, or mmseg:NAME.*did you mean 'mmseg:PSPHead'\?"):
        helpers.model(SPEC, head="PSPHead")


def test_without_mmsegmentation_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mmseg.models.decode_heads", None)
    with pytest.raises(
        UserError, match=r"expected it installed.*run `python -m pip install 'maekit\[mmseg\]'`"
    ) as caught:
        model("UPerHead")
    assert "\n" not in str(caught.value)


def test_it_is_imported_only_where_it_is_asked_for() -> None:
    """No import statement names it: a run with our own head waits for none of it."""
    for file in Path(helpers.__file__).parents[2].joinpath("maekit").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) (mmseg|mmcv|mmengine)\b", file.read_text(), re.MULTILINE), file


def test_the_placeholder_answers_python_and_refuses_calls() -> None:
    compiled = mmseg_module("mmcv._ext")
    with pytest.raises(AttributeError):
        _ = compiled.__wrapped__
    with pytest.raises(RuntimeError, match="nms"):
        compiled.nms()


@pytest.mark.parametrize("head", ["UPerHead", "FCNHead"])
def test_channels_last_changes_no_number(head: str) -> None:
    module, images = model(head, FIVE[head]).double().eval(), batch().image.double()
    before = module(images)
    assert use_channels_last(module) >= 1
    torch.testing.assert_close(module(images), before)


def test_a_head_is_built_without_memory_for_a_plan() -> None:
    """Also one that computes while it is built, which tensors without values cannot."""
    with torch.device("meta"):
        module = model("SegmenterMaskTransformerHead", OTHERS["SegmenterMaskTransformerHead"])
    assert {p.device.type for p in module.parameters()} == {"meta"}


@pytest.mark.parametrize(
    "backbone", ["vit_test_patch8_reg4_dinov2", "vit_test_plus_patch8_dinov3", "vit_test_patch8_ijepa"]
)
def test_heads_go_on_the_vits_of_other_pre_trainings(backbone: str) -> None:
    """With registers, with rotary positions and SwiGLU, and without a class token, of which DPT reads none."""
    token = "ijepa" not in backbone
    for head, args in (
        ("UPerHead", "{}"),
        ("DPTHead", FIVE["DPTHead"] if token else "{post_process_channels: [8, 8, 8, 8]}"),
    ):
        module = model(head, args, backbone=backbone)
        assert len(module.maps(batch().image)) == (8 if token and head == "DPTHead" else 4)
        assert module.training_losses(batch())["loss"].isfinite()
    if not token:
        with pytest.raises(
            UserError, match=r"readout_type: got project, expected ignore: the backbone has no class token"
        ):
            model("DPTHead", FIVE["DPTHead"], backbone=backbone)


def test_the_linear_task_takes_heads_of_one_map() -> None:
    """They are given the last map after the final norm; a head of more maps is refused in one line."""
    probe = model("FCNHead", task="ade20k_linear", freeze="backbone", head_channels=16).double().eval()
    images = batch().image.double()
    assert_float64(probe.head(probe.maps(images)), probe.head.decode([probe.last_map(images)]))
    assert not any(p.requires_grad for p in probe.backbone.parameters())
    with pytest.raises(UserError, match=r"UPerHead, which takes 4 maps, expected a head for the 1 that there are"):
        model("UPerHead", task="ade20k_linear")
    with pytest.raises(UserError, match=r"model.head_channels: got 16, expected null: the linear head has none"):
        helpers.model(SPEC, task="ade20k_linear", window_stride=32, head_channels=16)


def test_how_many_images_batch_norm_needs_is_known_from_the_head() -> None:
    assert [model(head, FIVE[head]).least_images for head in ("PSPHead", "FCNHead")] == [2, 1]
    with pytest.raises(UserError, match="got a device batch of 1, expected 2 or more"):
        model("PSPHead").training_losses(batch(1))
