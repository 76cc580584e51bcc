"""detectron2's ViTDet files: read without running them, under our names, loaded whole, and written back."""

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.detection.pyramids import SimplePyramid
from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.weights.describe.inspect import inspect
from maekit.weights.describe.uses import uses
from maekit.weights.layouts.detectron2 import detectron2_name
from maekit.weights.read.safe_load import load_file
from maekit.weights.state.state_file import read_state
from tests.detection.golden import vitdet_case as case
from tests.weights.helpers import encoder, load, refusal, released

ROI, RPN = "roi_heads.", "proposal_generator.rpn_head."


class Detector(nn.Module):
    """The smallest detector by names: a ViT of windows, the simple pyramid, and some of what finds objects."""

    def __init__(self, classes: int = 5, pos_grid: tuple[int, int] = (4, 4)) -> None:
        super().__init__()
        self.backbone = ViT(
            load_size("vit_test_patch8"),
            image_size=(64, 64),
            pos_grid=pos_grid,
            class_token=False,
            final_norm=False,
            window=3,
            global_blocks=(1,),
            relative_position="decomposed",
        )
        predictor = nn.ModuleDict({"cls_score": nn.Linear(6, classes + 1), "bbox_pred": nn.Linear(6, 4 * classes)})
        mask_head = nn.ModuleDict({"deconv": nn.Conv2d(4, 4, 1), "predictor": nn.Conv2d(4, classes, 1)})
        roi = nn.ModuleDict({"box_predictor": predictor, "mask_head": mask_head})
        rpn = nn.ModuleDict({"rpn_head": nn.ModuleDict({"objectness_logits": nn.Conv2d(4, 3, 1)})})
        detector = nn.ModuleDict({"proposal_generator": rpn, "roi_heads": roi})
        self.head = nn.ModuleDict({"pyramid": SimplePyramid(48, 4), "detector": detector})


def theirs(classes: int = 5) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a file of detectron2's: names written out here, shapes by its rules for 48 wide and 3 blocks."""
    shapes: dict[str, tuple[int, ...]] = {"backbone.net.pos_embed": (1, 17, 48)}
    shapes |= {"backbone.net.patch_embed.proj.weight": (48, 3, 8, 8), "backbone.net.patch_embed.proj.bias": (48,)}
    for i in range(3):
        block = f"backbone.net.blocks.{i}."
        rows = 15 if i == 1 else 5
        shapes |= {f"{block}attn.rel_pos_{axis}": (rows, 24) for axis in "hw"}
        for layer, out, width in (("attn.qkv", 144, 48), ("attn.proj", 48, 48), ("mlp.fc1", 192, 48)):
            shapes |= {f"{block}{layer}.weight": (out, width), f"{block}{layer}.bias": (out,)}
        shapes |= {f"{block}mlp.fc2.weight": (48, 192), f"{block}mlp.fc2.bias": (48,)}
        shapes |= {f"{block}norm{n}.{leaf}": (48,) for n in (1, 2) for leaf in ("weight", "bias")}
    first = {"2.0": (48, 24, 2, 2), "2.3": (24, 12, 2, 2), "3.0": (48, 24, 2, 2)}
    shapes |= {f"backbone.simfp_{at}.weight": shape for at, shape in first.items()}
    shapes |= {f"backbone.simfp_{at}.bias": (shape[1],) for at, shape in first.items()}
    shapes |= {f"backbone.simfp_2.1.{leaf}": (24,) for leaf in ("weight", "bias")}
    for at, width, side in (("2.4", 12, 1), ("3.1", 24, 1), ("4.0", 48, 1), ("5.1", 48, 1)):
        shapes[f"backbone.simfp_{at}.weight"] = (4, width, side, side)
        nxt = f"{at[0]}.{int(at[2]) + 1}"
        shapes[f"backbone.simfp_{nxt}.weight"] = (4, 4, 3, 3)
        shapes |= {f"backbone.simfp_{x}.norm.{leaf}": (4,) for x in (at, nxt) for leaf in ("weight", "bias")}
    shapes |= {f"{RPN}objectness_logits.weight": (3, 4, 1, 1), f"{RPN}objectness_logits.bias": (3,)}
    for name, out in (("cls_score", classes + 1), ("bbox_pred", 4 * classes)):
        shapes |= {f"{ROI}box_predictor.{name}.weight": (out, 6), f"{ROI}box_predictor.{name}.bias": (out,)}
    for name, out in (("deconv", 4), ("predictor", classes)):
        shapes |= {f"{ROI}mask_head.{name}.weight": (out, 4, 1, 1), f"{ROI}mask_head.{name}.bias": (out,)}
    return {name: case.weight(name, shape).numpy() for name, shape in shapes.items()}


def pickled(path: Path, arrays: dict[str, Any], protocol: int = 4, **more: object) -> Path:
    """As detectron2's model zoo saves."""
    contents = {"model": arrays, "__author__": "somebody", "matching_heuristics": True, **more}
    path.write_bytes(pickle.dumps(contents, protocol=protocol))
    return path


def dumped(path: Path, arrays: dict[str, Any]) -> Path:
    """As its trainer saves."""
    state = OrderedDict((name, torch.from_numpy(array)) for name, array in arrays.items())
    torch.save({"model": state, "optimizer": {"state": {}}, "iteration": 7}, path)
    return path


def one_line(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def check(model: Detector, arrays: dict[str, Any]) -> None:
    """Every tensor of the model is the array of its name, and none of these is left."""
    left = dict(arrays)
    for name, tensor in model.state_dict().items():
        key = name.replace("head.pyramid.", "backbone.").removeprefix("head.detector.")
        if name.startswith("backbone."):
            key = name.replace("backbone.", "backbone.net.", 1).replace("attn.position.", "attn.")
        array = left.pop(key)
        expected = torch.from_numpy(array[:, 1:] if key.endswith("pos_embed") else array)
        assert torch.equal(tensor, expected), name
    assert not left


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_released_pickle_is_loaded_whole(tmp_path: Path, protocol: int) -> None:
    model = Detector()
    report = load(model, pickled(tmp_path / "a.pkl", theirs(), protocol), allow_new=(), allow_unused=())
    check(model, theirs())
    assert (report.layout, report.kind) == ("detectron2", "detector")
    assert (report.new, report.unused, report.resized, report.coverage) == ((), (), (), 1.0)


def test_a_trainers_file_is_loaded_whole_and_its_buffers_are_left(tmp_path: Path) -> None:
    buffers = {f"proposal_generator.anchor_generator.cell_anchors.{i}": np.zeros((3, 4), np.float32) for i in range(5)}
    buffers |= {"pixel_mean": np.zeros((3, 1, 1), np.float32), "pixel_std": np.ones((3, 1, 1), np.float32)}
    model = Detector()
    report = load(model, dumped(tmp_path / "a.pth", theirs() | buffers), allow_new=(), allow_unused=())
    check(model, theirs())
    assert sorted(report.unused) == sorted(
        name.replace("proposal_generator", "head.detector.proposal_generator") for name in buffers
    )


def test_a_fresh_head_takes_the_backbone_alone(tmp_path: Path) -> None:
    model = Detector(classes=9)
    path = pickled(tmp_path / "a.pkl", theirs())
    text = refusal(model, path, allow_new=(), allow_unused=())
    assert "got 5 classes in its detector, expected 9: evaluate on the data it was trained on" in text
    assert "box_predictor" not in text
    report = load(model, path, allow_new=("head.*",), allow_unused=(), leave_out=("head.*",))
    assert report.coverage == 1.0
    assert all(name.startswith("head.") for name in report.new)


def test_what_a_file_lacks_or_has_too_much_is_told(tmp_path: Path) -> None:
    arrays = theirs()
    del arrays["backbone.simfp_4.1.norm.bias"]
    arrays["roi_heads.box_head.fc2.weight"] = np.zeros((2, 2), np.float32)
    text = refusal(Detector(), pickled(tmp_path / "a.pkl", arrays), allow_new=(), allow_unused=())
    assert "1 of the model's tensors are not in it: head.pyramid.simfp_4.1.norm.bias" in text
    assert "1 of its tensors have no place in the model: head.detector.roi_heads.box_head.fc2.weight" in text


def test_positions_of_another_grid_are_resized(tmp_path: Path) -> None:
    model = Detector(pos_grid=(3, 3))
    report = load(
        model, pickled(tmp_path / "a.pkl", theirs()), allow_new=(), allow_unused=(), allow_resized=("pos_embed",)
    )
    assert report.grids == ((4, 4), (3, 3))


def test_the_class_token_of_a_pretrained_file_is_left_over(tmp_path: Path) -> None:
    tensors, model = encoder(), Detector()
    new = ("head.*", "blocks.*.attn.position.rel_pos_*")
    report = load(
        model,
        released(tmp_path / "a.pth", tensors),
        allow_new=new,
        allow_unused=("norm.*", "cls_token"),
        allow_resized=(),
    )
    assert torch.equal(model.backbone.get_parameter("pos_embed"), tensors["pos_embed"][:, 1:])
    assert report.grids is None
    assert "cls_token" in report.unused
    assert "pos_embed" in report.matched
    text = refusal(Detector(), released(tmp_path / "b.pth", tensors), allow_new=new, allow_unused=())
    assert "3 of its tensors have no place in the model: cls_token, norm.*" in text


def test_a_file_without_a_heads_tensors_is_an_encoder(tmp_path: Path) -> None:
    arrays = {name: array for name, array in theirs().items() if name.startswith("backbone.net.")}
    state = read_state(pickled(tmp_path / "a.pkl", arrays))
    assert state.layout == "detectron2"
    assert state.tensors["blocks.1.attn.position.rel_pos_h"].shape == (15, 24)


@pytest.mark.parametrize("source", ["pkl", "pth", "run"])
def test_written_for_detectron2_it_is_what_was_read(tmp_path: Path, source: str) -> None:
    arrays = theirs()
    if source == "run":
        model = Detector()
        load(model, pickled(tmp_path / "b.pkl", arrays), allow_new=(), allow_unused=())
        state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
        torch.save({"state_dict": state, "maekit": {}}, tmp_path / "a.run")
        assert read_state(tmp_path / "a.run").kind == "detector"
    else:
        {"pkl": pickled, "pth": dumped}[source](tmp_path / f"a.{source}", arrays)
    lines = convert(tmp_path / f"a.{source}", "detectron2", tmp_path / "out.pkl")
    assert lines[-1] == f"wrote {tmp_path / 'out.pkl'} ({len(arrays)} tensors)"
    found = pickle.loads((tmp_path / "out.pkl").read_bytes())
    assert found["__author__"] == "maekit"
    assert found["model"].keys() == arrays.keys()
    for name, array in arrays.items():
        expected = array.copy()
        if name.endswith("pos_embed"):
            expected[:, 0] = 0
        np.testing.assert_array_equal(found["model"][name], expected)


def test_what_detectron2_cannot_hold_is_not_written(tmp_path: Path) -> None:
    plain = released(tmp_path / "a.pth", encoder())
    text = one_line(lambda: convert(plain, "detectron2", tmp_path / "out.pkl"))
    assert "is facebookresearch/mae, encoder alone, which cannot be written as detectron2" in text
    detector = pickled(tmp_path / "a.pkl", theirs())
    text = one_line(lambda: convert(detector, "mae", tmp_path / "out.pth"))
    assert "is detectron2, detection with Mask R-CNN, which cannot be written as mae" in text
    taps = {f"model.{name}".replace("simfp_", "fpn_output"): t for name, t in Detector().state_dict().items()}
    torch.save({"state_dict": taps, "maekit": {}}, tmp_path / "b.ckpt")
    text = one_line(lambda: convert(tmp_path / "b.ckpt", "detectron2", tmp_path / "out.pkl"))
    assert "tensors that detectron2's ViTDet has no place for: head.pyramid.fpn_output2.0" in text
    arrays = theirs()
    del arrays["backbone.net.blocks.2.mlp.fc1.bias"]
    text = one_line(lambda: convert(pickled(tmp_path / "c.pkl", arrays), "detectron2", tmp_path / "out.pkl"))
    assert "lacks 1 tensors" in text
    assert not (tmp_path / "out.pkl").exists()


def test_names_that_detectron2_lacks() -> None:
    names = ("cls_token", "norm.weight", "head.fc.weight", "head.pyramid.rescale_2.0.weight", "shared_bias.grid.table")
    assert [detectron2_name(name) for name in names] == [None] * 5


def test_an_inspection_says_what_it_is(tmp_path: Path) -> None:
    facts = inspect(pickled(tmp_path / "a.pkl", theirs()))
    assert facts.in_words == "detectron2, detection with Mask R-CNN"
    assert (facts.size, facts.num_heads, facts.coverage) == ("vit_test_patch8", 2, 1.0)
    assert (facts.missing, facts.unused, facts.seems, facts.pos_grid) == ((), (), "", (4, 4))
    table = uses(facts)
    assert table["validation"].possible
    assert "windows and relative positions" in table["features"].how


# pickles


class Runs:
    """Unpickling it creates a file: the proof that something was executed."""

    def __init__(self, marker: Path, call: Callable[..., object] = os.system) -> None:
        self.call, self.marker = call, marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return self.call, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(("call", "name"), [(os.system, "posix.system"), (eval, "eval"), (exec, "exec")])
def test_a_malicious_pickle_is_one_line_and_runs_nothing(
    tmp_path: Path, protocol: int, call: Callable[..., object], name: str
) -> None:
    path = pickled(tmp_path / "a.pkl", theirs(), protocol, more=[{"x": Runs(tmp_path / "executed", call)}])
    text = one_line(lambda: load(Detector(), path))
    assert name in text
    assert "it was not executed" in text
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x04cnumpy\ndtype\n(N}\x8c\x04code\x8c\x02f8stb.",  # sets an attribute of what stands for numpy.dtype
        b"\x80\x04cnumpy\ndtype\n)\x81.",  # makes an object of it without calling it
        b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n}b.",
        b"\x80\x04c_codecs\nencode\n\x8c\x01a\x8c\x05utf-8\x86R.",
        b"\x80\x04cbuiltins\ngetattr\n.",
        b"\x80\x04cnumpy\nload\n.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
    ],
)
def test_pickles_written_by_hand_are_one_line(tmp_path: Path, code: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(code)
    assert str(tmp_path / "a.pkl") in one_line(lambda: load_file(tmp_path / "a.pkl"))


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    text = one_line(lambda: load_file(pickled(tmp_path / "a.pkl", {"x": np.array([None, "a"])})))
    assert "numpy type '|O8'" in text or "numpy type 'O8'" in text


def test_arrays_of_every_kind_are_the_same_tensors(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {
        "float64": np.linspace(0, 1, 5),
        "half": np.ones((2, 3), np.float16),
        "swapped": np.arange(6, dtype=">f4").reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "scalar": np.array(7, np.int64),
        "empty": np.zeros((0, 4), np.float32),
        "bool": np.array([True, False]),
    }
    for protocol in (2, 4, 5):
        contents: Any = load_file(pickled(tmp_path / "a.pkl", arrays, protocol, number=np.float64(0.5)))
        assert contents["number"] == 0.5
        assert contents["matching_heuristics"] is True
        for name, array in arrays.items():
            found: Tensor = contents["model"][name]
            assert found.dtype == torch.from_numpy(array.astype(array.dtype.newbyteorder("="))).dtype
            np.testing.assert_array_equal(found.numpy(), array)


def test_a_pickle_cut_short_is_named_so(tmp_path: Path) -> None:
    data = pickled(tmp_path / "a.pkl", theirs()).read_bytes()
    for share in (0.001, 0.3, 0.9, 0.9999):
        (tmp_path / "b.pkl").write_bytes(data[: int(share * len(data))])
        assert "is cut short or damaged" in one_line(lambda: load_file(tmp_path / "b.pkl"))


def test_a_damaged_pickle_is_one_line_or_another_number(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pickle.dump({"model": {"a": np.ones(3, np.float32), "b": [1, "x"]}}, buffer, protocol=4)
    data = buffer.getvalue()
    for position in range(2, len(data)):
        for flip in (0xFF, 0x01):
            (tmp_path / "b.pkl").write_bytes(bytes([*data[:position], data[position] ^ flip, *data[position + 1 :]]))
            try:
                load_file(tmp_path / "b.pkl")
            except UserError as error:
                assert "\n" not in str(error)
