"""Checkpoints that hold only what a run changed: what is in them, what completes them, and runs with adapters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.base.checkpoint_card import read_card
from maekit.commands.shared.loaded_model import load_model
from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.features.source import find_source
from maekit.weights.describe.inspect import inspect
from maekit.weights.load.backbone import load_backbone
from maekit.weights.state.state_file import read_state
from tests.helpers_run import losses, tiny

ADAPTED: dict[str, Any] = {"model__lora_rank": 4, "run__checkpoint_content": "changed", "trainer__max_steps": 4}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start_file(tmp_path_factory.mktemp("start") / "pre.pth", 5)


def start_file(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    torch.save({"model": ViT(load_size("vit_test_patch8"), image_size=(32, 32)).state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def run(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with adapters, whose checkpoints hold what changed."""
    session = tiny(tmp_path_factory.mktemp("run"), model__weights=start, **ADAPTED)
    return Path(session.fit()["folder"])


@pytest.fixture(scope="module")
def whole(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with whole checkpoints."""
    values = ADAPTED | {"run__checkpoint_content": "whole"}
    return Path(tiny(tmp_path_factory.mktemp("whole"), model__weights=start, **values).fit()["folder"])


def state(file: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(file, weights_only=True)["state_dict"]
    return found


def equal(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_it_holds_the_adapters_and_the_head_and_names_the_rest(run: Path, whole: Path, start: Path, name: str) -> None:
    kept, card = state(run / name), read_card(run / name)
    assert {key for key in kept if ".lora_" not in key} == {
        "model.head.fc_norm.weight", "model.head.fc_norm.bias", "model.head.fc.weight", "model.head.fc.bias"
    }  # fmt: skip
    full = state(whole / name)
    assert card.start is not None and (card.start["weights"], card.start["path"]) == (str(start), str(start))
    assert {*kept, *card.start["tensors"]} == {*full}
    equal(kept, {key: full[key] for key in kept})
    assert read_card(whole / name).start is None


def test_whatever_reads_it_sees_the_whole_model(run: Path, whole: Path) -> None:
    files = [folder / "best.ckpt" for folder in (run, whole)]
    equal(*(load_model(file, "cpu")[0].state_dict() for file in files))  # predict
    equal(*(read_state(file).tensors for file in files))  # inspect, convert, embed, attention, --model.weights
    equal(*(load_backbone(file, image_size=32).state_dict() for file in files))
    facts = inspect(files[0])
    assert (facts.kind, facts.coverage, facts.unused, facts.lora_rank) == ("classifier_mean", 1.0, (), 4)
    assert find_source(str(run)).mean_pooled


def test_a_validation_measures_it_as_the_whole_one(run: Path, whole: Path, tmp_path: Path) -> None:
    found = [tiny(tmp_path, **ADAPTED).validate(folder / "best.ckpt") for folder in (run, whole)]
    assert found[0] == found[1]


def test_merged_and_exported_weights_give_the_unmerged_models_logits(run: Path, tmp_path: Path) -> None:
    model, _ = load_model(run / "best.ckpt", "cpu")
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    lines = convert(run / "best.ckpt", "mae", tmp_path / "merged.pth")
    assert any("LoRA" in line and "rank 4" in line for line in lines)
    named = torch.load(tmp_path / "merged.pth", weights_only=True)["model"]
    assert "blocks.0.attn.qkv.weight" in named and not any("lora" in name for name in named)
    plain = tiny(tmp_path, model__weights=tmp_path / "merged.pth").model
    plain.load_start(complete=True)
    with torch.no_grad():
        expected, found = model(images), plain.eval()(images)
        untrained = tiny(tmp_path).model.eval()(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (untrained - expected).abs().max() > 1e-3


def test_a_run_with_adapters_goes_on_bit_for_bit(run: Path, start: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {"model__weights": start, "model__lora_dropout": 0.3, "model__ema_decay": 0.5}
    straight = Path(tiny(tmp_path / "straight", **ADAPTED | values).fit()["folder"])
    paused = tiny(tmp_path / "paused", **ADAPTED | values | {"run__stop_at_step": 2})
    folder = Path(paused.fit()["folder"])
    assert read_card(folder / "last.ckpt").step == 2
    tiny(tmp_path / "paused", **ADAPTED | values).fit(folder)
    equal(state(straight / "last.ckpt"), state(folder / "last.ckpt"))
    assert losses(straight) == losses(folder)


def test_other_weights_in_that_place_are_refused_in_one_line(run: Path, start: Path, tmp_path: Path) -> None:
    copy, other = tmp_path / "best.ckpt", start_file(tmp_path / "other.pth", 6)
    copy.write_bytes((run / "best.ckpt").read_bytes())
    readers: tuple[Callable[[Path], object], ...] = (read_state, lambda file: load_model(file, "cpu"))
    for read in readers:
        read(copy)
    held = start.read_bytes()
    try:
        start.write_bytes(other.read_bytes())
        for read in (*readers, tiny(tmp_path, **ADAPTED).validate):
            with pytest.raises(UserError, match=r"holds only what training changed of .*holds other weights") as caught:
                read(copy)
            assert "\n" not in str(caught.value)
        start.unlink()
        with pytest.raises(UserError, match=r"expected that file at .* or beside the checkpoint, and it is at neither"):
            read_state(copy)
        (tmp_path / "pre.pth").write_bytes(held)  # beside the checkpoint
        read_state(copy)
    finally:
        start.write_bytes(held)


def test_other_weights_that_a_flag_names_are_refused_before_the_first_step(run: Path, tmp_path: Path) -> None:
    other = start_file(tmp_path / "other.pth", 6)
    before = (run / "last.ckpt").read_bytes()
    given = ADAPTED | {"model__weights": other, "trainer__max_steps": 6, "run__extend": True}
    for act in ("fit", "validate"):
        with pytest.raises(UserError, match=r"other.pth holds other weights"):
            getattr(tiny(tmp_path, **given), act)(run / "last.ckpt")
    assert (run / "last.ckpt").read_bytes() == before


def test_without_weights_there_is_nothing_to_leave_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"got --run.checkpoint_content changed with --model.weights none"):
        tiny(tmp_path, **ADAPTED).fit()
    assert not [*tmp_path.rglob("config.yaml")]


def test_what_was_resized_to_the_model_stays_in_the_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    large = ViT(load_size("vit_test_patch8"), image_size=(64, 64)).state_dict()
    torch.save({"model": large}, tmp_path / "pre.pth")
    values = ADAPTED | {"model__lora_rank": None, "model__tuned_blocks": 1, "trainer__max_steps": 1}
    folder = Path(tiny(tmp_path, model__weights=tmp_path / "pre.pth", **values).fit()["folder"])
    kept = state(folder / "best.ckpt")
    assert "model.backbone.pos_embed" in kept and "model.backbone.cls_token" not in kept
    assert {name.split(".")[3] for name in kept if ".blocks." in name} == {"2"}
    assert read_state(folder / "best.ckpt").tensors["pos_embed"].shape == (1, 17, large["pos_embed"].shape[2])


@pytest.mark.parametrize(("key", "value"), [("lora_rank", 8), ("lora_alpha", 2), ("freeze", "embeddings")])
def test_what_is_trained_stays_when_a_run_goes_on(run: Path, tmp_path: Path, key: str, value: Any) -> None:
    values = {**ADAPTED, **({"model__lora_rank": None} if key == "freeze" else {}), f"model__{key}": value}
    with pytest.raises(UserError, match=r"got model\..* of the checkpoint, which a resumed run cannot change"):
        tiny(tmp_path, **values, run__extend=True).fit(run / "last.ckpt")


@pytest.mark.parametrize("weights", ["pre.pth", "none"])
def test_the_start_line_says_how_much_is_trained(
    start: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = start if weights == "pre.pth" else weights
    values: dict[str, Any] = {"model__lora_rank": 4, "trainer__max_steps": 1, "trainer__limit_val_batches": 0}
    tiny(tmp_path, model__weights=given, **values).fit()
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("layers"))
    assert "; trained: 0.0" in line and " M parameters (" in line
    assert ("the frozen blocks are random" in line) == (weights == "none")


@pytest.mark.parametrize("kinds", [("changed", "whole"), ("whole", "changed")])
def test_a_run_that_goes_on_may_keep_the_other_kind_of_checkpoint(
    start: Path, kinds: tuple[str, str], tmp_path: Path
) -> None:
    values = {**ADAPTED, "model__weights": start, "trainer__max_steps": 2}
    folder = Path(tiny(tmp_path, **values | {"run__checkpoint_content": kinds[0]}).fit()["folder"])
    first = read_state(folder / "last.ckpt").tensors
    tiny(tmp_path, **values | {"run__checkpoint_content": kinds[1], "trainer__max_steps": 3, "run__extend": True}).fit(
        folder
    )
    card, second = read_card(folder / "last.ckpt"), read_state(folder / "last.ckpt").tensors
    assert card.step == 3 and (card.start is None) == (kinds[1] == "whole")
    assert first.keys() == second.keys() and torch.equal(first["pos_embed"], second["pos_embed"])
