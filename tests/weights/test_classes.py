"""Heads are matched by class: put in the data's order, refused where classes are others, or said to be unchecked."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import transformers
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.errors import UserError
from maekit.robustness.data.read import RobustnessSpec
from maekit.robustness.model import RobustnessClassifier
from maekit.weights.load.class_order import compare_classes, reorder
from maekit.weights.load.classes import Classes, file_classes
from maekit.weights.load.load import load_weights
from tests.numeric import assert_float64
from tests.weights.helpers import Small, images, load, peer, refusal, released

pytestmark = pytest.mark.numeric

NAMES = ("cat", "dog", "great white shark", "Äpfel", "bus")
SHUFFLED = (3, 0, 4, 2, 1)


def shuffled(names: tuple[str, ...] = NAMES) -> list[str]:
    return [names[place] for place in SHUFFLED]


def with_rows(tensors: dict[str, Tensor], order: tuple[int, ...] = SHUFFLED) -> dict[str, Tensor]:
    """The same classifier with its rows in another order."""
    return {n: t[list(order)] if n.startswith("head.") else t for n, t in tensors.items()}


def maekit_card(path: Path, tensors: dict[str, Tensor], names: list[str]) -> Path:
    torch.save({"model": tensors, "maekit": {"class_names": names, "class_ids": []}}, path)
    return path


def mmpretrain_meta(path: Path, tensors: dict[str, Tensor], names: list[str]) -> Path:
    torch.save({"model": tensors, "meta": {"CLASSES": tuple(names)}}, path)
    return path


def timm_json(path: Path, tensors: dict[str, Tensor], names: list[str]) -> Path:
    torch.save(tensors, path)
    text = f'{{"architecture": "vit_base_patch16_224", "label_names": {names!r}}}'.replace("'", '"')
    path.with_name(f"{path.name}.json").write_text(text, encoding="utf-8")
    return path


def class_names_beside(path: Path, tensors: dict[str, Tensor], names: list[str]) -> Path:
    torch.save({"model": tensors, "class_names": names}, path)
    return path


WRITERS = [maekit_card, mmpretrain_meta, timm_json, class_names_beside]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("pooling", ["mean", "class"])
def test_a_head_in_another_order_predicts_as_before(
    tmp_path: Path, write: Any, pooling: Literal["mean", "class"]
) -> None:
    tensors = dict(peer(pooling=pooling).state_dict())
    path = write(tmp_path / "a.pth", with_rows(tensors), shuffled())
    model = Small(pooling=pooling).eval()
    report = load(model, path, allow_new=(), classes=Classes(NAMES))
    batch = images(32, 32).double()
    assert_float64(model.double()(batch), peer(pooling=pooling).double()(batch))
    assert "another order" in report.classes
    assert any("another order" in line for line in report.lines())


def test_a_folder_of_transformers_in_another_order_predicts_as_before(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "num_labels": 5,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 192,
    }
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8, layer_norm_eps=1e-6)
    torch.manual_seed(0)
    network: Any = transformers.ViTForImageClassification(config)
    network.eval()
    expected = network.double()(images(32, 32).double()).logits.detach()
    network.float()
    order = list(SHUFFLED)
    for leaf in ("weight", "bias"):
        tensor = getattr(network.classifier, leaf).data
        getattr(network.classifier, leaf).data = tensor[order]
    network.config.id2label = dict(enumerate(shuffled()))
    network.save_pretrained(tmp_path / "other")
    model = Small(pooling="class").eval()
    load(model, tmp_path / "other", allow_new=(), allow_unused=(), classes=Classes(NAMES))
    assert_float64(model.double()(images(32, 32).double()), expected)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("allow_new", [(), ("head.*",)], ids=["validate", "fit"])
def test_other_classes_are_refused_with_the_first(tmp_path: Path, write: Any, allow_new: tuple[str, ...]) -> None:
    names = ["cat", "dog", "fox", "Äpfel", "bus"]
    path = write(tmp_path / "a.pth", dict(peer().state_dict()), names)
    text = refusal(Small(), path, allow_new=allow_new, classes=Classes(NAMES))
    assert "class 2 is 'fox' in its head and 'great white shark' in the data" in text
    assert "--model.new_head true" in text
    model = Small()
    report = load(model, path, leave_out=("head.*",), classes=Classes(NAMES))  # the advice, followed
    assert report.classes == ""


@pytest.mark.parametrize(
    "theirs",
    [
        [" Cat", "DOG", "great_white_shark", "A\u0308pfel", "bus"],
        ["cat", "dog", "Great-White-Shark", "äpfel", "Bus "],
        ["cat", "dog", "great white shark, Carcharodon carcharias", "Äpfel", "bus, coach"],
    ],
)
def test_spelling_does_not_matter(theirs: list[str]) -> None:
    same = compare_classes(Classes(tuple(theirs)), Classes(NAMES))
    assert (same.order, same.problem) == (None, "") and "same order" in same.outcome
    turned = compare_classes(Classes(tuple(theirs[::-1])), Classes(NAMES))
    assert turned.order == (4, 3, 2, 1, 0)


def test_names_with_a_part_in_common_are_other_classes() -> None:
    ours, theirs = Classes(("apple, green", "pear")), Classes(("apple, red", "pear"))
    assert "class 0" in compare_classes(theirs, ours).problem


@pytest.mark.parametrize("names", [None, [f"LABEL_{i}" for i in range(5)], ["0", "1", "2", "3", "4"]])
def test_what_no_names_tell_is_said_to_be_unchecked(tmp_path: Path, names: list[str] | None) -> None:
    path = released(tmp_path / "a.pth", dict(peer().state_dict()), **({"class_names": names} if names else {}))
    report = load(Small(), path, allow_new=(), classes=Classes(NAMES))
    assert report.classes.startswith("unchecked")


def test_numbers_that_both_sides_have_are_compared() -> None:
    digits = Classes(tuple("0123456789"))
    assert compare_classes(Classes(digits.names[::-1]), digits).order == tuple(range(9, -1, -1))
    assert compare_classes(digits, digits).order is None


def test_category_ids_that_are_numbers_do_not_hide_other_names() -> None:
    ours, theirs = Classes(("bus", "car"), ("1", "2")), Classes(("cat", "dog"), ("1", "2"))
    assert "'cat'" in compare_classes(theirs, ours).problem
    assert compare_classes(Classes(("car", "bus"), ("1", "2")), ours).order == (1, 0)


def test_ids_decide_where_names_are_spelt_otherwise() -> None:
    """Two classes of ImageNet are called crane: only the ids tell them apart."""
    ours = Classes(("crane", "crane", "tench"), ("n02012849", "n03126707", "n01440764"))
    theirs = Classes(("x", "y", "z"), ("n03126707", "n02012849", "n01440764"))
    assert compare_classes(theirs, ours).order == (1, 0, 2)


def imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
    info: Any = ImageNetInfo("imagenet-1k")
    ids = tuple(info.label_names())
    return ids, tuple(info.label_name_to_description(ident) for ident in ids)


def test_imagenets_ids_are_compared_with_words() -> None:
    ids, words = imagenet()
    assert compare_classes(Classes(words), Classes(ids, ids)).order is None
    first = tuple(word.split(",")[0] for word in words)
    assert compare_classes(Classes(first), Classes(ids, ids)).problem == ""
    swapped = (words[1], words[0], *words[2:])
    outcome = compare_classes(Classes(swapped), Classes(ids, ids))
    assert "class 0 is" in outcome.problem


def test_a_few_of_imagenets_words_may_be_spelt_otherwise_and_it_is_said() -> None:
    ids, words = imagenet()
    other = (*words[:134], "crane bird", *words[135:999], "bog roll")  # 517 is a crane too, of another kind
    outcome = compare_classes(Classes(other), Classes(ids, ids))
    assert outcome.problem == "" and "2 are spelt otherwise" in outcome.outcome and "crane bird" in outcome.outcome
    assert "differ" in compare_classes(Classes(tuple(f"thing {w}" for w in words)), Classes(ids, ids)).problem


@pytest.mark.parametrize(
    ("meta", "names"),
    [
        ({"maekit": {"class_names": ["a", "b"], "class_ids": ["1", "2"]}}, ("a", "b")),
        ({"meta": {"CLASSES": ("a", "b")}}, ("a", "b")),
        ({"class_names": ["a", "b"]}, ("a", "b")),
        ({"class_names": "ab"}, None),
        ({"meta": None, "maekit": 3}, None),
        ({}, None),
    ],
)
def test_where_names_are_read(meta: dict[str, object], names: tuple[str, ...] | None) -> None:
    found = file_classes(meta)
    assert (found.names if found else None) == names


def test_rows_of_every_head_follow_their_class() -> None:
    """A detector has one row a class and the background's, four rows a class, and a mask's channel a class.

    In a cascade's stages all classes share one box, whose rows stay.
    """
    stem = "head.detector.roi_heads."
    rows = {
        f"{stem}box_predictor.cls_score.bias": torch.tensor([0.0, 1, 2, 9]),
        f"{stem}box_predictor.bbox_pred.bias": torch.arange(12.0),
        f"{stem}mask_head.predictor.weight": torch.arange(3.0).view(3, 1, 1, 1),
        "head.decode.conv_seg.weight": torch.arange(3.0).view(3, 1, 1, 1),
        "head.auxiliary.conv_seg.bias": torch.arange(3.0),
        f"{stem}box_predictor.2.cls_score.weight": torch.tensor([[0.0], [1], [2], [9]]),
        f"{stem}box_predictor.2.bbox_pred.bias": torch.arange(4.0),
        "head.pyramid.weight": torch.arange(3.0),
    }
    found = reorder(rows, (2, 0, 1))
    assert found[f"{stem}box_predictor.cls_score.bias"].tolist() == [2, 0, 1, 9]
    assert found[f"{stem}box_predictor.2.cls_score.weight"].tolist() == [[2], [0], [1], [9]]
    assert found[f"{stem}box_predictor.2.bbox_pred.bias"].tolist() == [0, 1, 2, 3]
    assert found[f"{stem}box_predictor.bbox_pred.bias"].tolist() == [8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]
    for name in (f"{stem}mask_head.predictor.weight", "head.decode.conv_seg.weight", "head.auxiliary.conv_seg.bias"):
        assert found[name].flatten().tolist() == [2, 0, 1]
    assert found["head.pyramid.weight"].tolist() == [0, 1, 2]


class Segmenter(nn.Module):
    """The names of a segmenter's classifiers, and nothing else of it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ViT(load_size("vit_test_patch8"), image_size=(32, 32), final_norm=False)
        self.head = nn.ModuleDict(
            {part: nn.ModuleDict({"conv_seg": nn.Conv2d(4, 5, 1)}) for part in ("decode", "auxiliary")}
        )


def test_a_segmenters_maps_are_put_in_order_or_refused(tmp_path: Path) -> None:
    source, model = Segmenter(), Segmenter()
    order = torch.tensor(SHUFFLED)
    state = {n: t[order] if "conv_seg" in n else t for n, t in source.state_dict().items()}
    for names in (shuffled(), [*shuffled()[:4], "moon"]):
        card = {"class_names": names, "task": "t"}
        torch.save({"state_dict": {f"model.{n}": t for n, t in state.items()}, "maekit": card}, tmp_path / "a.ckpt")
        allowed: dict[str, Any] = {"allow_new": (), "allow_unused": (), "allow_resized": ()}
        if names[-1] == "moon":
            with pytest.raises(UserError, match="moon"):
                load_weights(model, tmp_path / "a.ckpt", **allowed, classes=Classes(NAMES))
        else:
            load_weights(model, tmp_path / "a.ckpt", **allowed, classes=Classes(NAMES))
            for name, tensor in source.state_dict().items():
                assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize("names", ["words", "ids", "others"])
def test_robustness_takes_a_thousand_words_in_any_order_and_refuses_others(tmp_path: Path, names: str) -> None:
    """The words of two classes that share theirs (crane, maillot) tell no order, so ids are needed for another one."""
    ids, words = imagenet()
    given = {"words": words, "ids": ids[::-1], "others": tuple(f"thing {index} of mine" for index in range(1000))}[
        names
    ]
    tensors = dict(peer(classes=1000).state_dict())
    path = released(tmp_path / "a.pth", tensors, class_names=list(given))
    data = RobustnessSpec((ids[0],), (32, 32), (ids[0],))
    model = RobustnessClassifier.build(data, {"backbone": "vit_test_patch8", "weights": str(path), "pooling": "mean"})
    if names == "others":
        with pytest.raises(UserError, match="thing 0 of mine"):
            model.load_start(complete=True)
        return
    report = model.load_start(complete=True)
    assert report is not None and report.classes.startswith("1000 compared by name")
    rows = tensors["head.weight"] if names == "words" else tensors["head.weight"].flip(0)
    assert torch.equal(model.head.fc.weight, rows)  # type: ignore[union-attr,arg-type]
