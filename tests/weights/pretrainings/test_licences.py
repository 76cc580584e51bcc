"""Names of released files, what is told of a file's pre-training, and licences: at download, in reports, in cards."""

from pathlib import Path

import pytest
import torch

from maekit.backbone.sizes import load_size
from maekit.cli import main
from maekit.export.card.licence import licence_of
from maekit.export.card.write import model_card
from maekit.weights.describe.inspect import inspect
from maekit.weights.get import find, hub
from maekit.weights.get.find import find_weights, official_of
from maekit.weights.get.official import hub_licence, official_weights
from maekit.weights.state.pretraining import WORDS
from tests.export.helpers import front, section
from tests.weights.helpers import encoder, released
from tests.weights.pretrainings.files import dinov2, dinov3
from tests.weights.pretrainings.models import hf_model, timm_model


def test_every_official_file_has_a_source_a_licence_and_a_vit_that_is_known() -> None:
    for name, official in official_weights().items():
        assert official.url.startswith("https://dl.fbaipublicfiles.com/"), name
        assert official.licence in ("CC-BY-NC 4.0", "Apache-2.0"), name
        assert official.source.startswith("github.com/facebookresearch/"), name
        assert official.pretraining in WORDS, name
        assert load_size(official.backbone).name == official.backbone, name
        assert official_of(official.file) == official_of(name) == official


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("facebook/dinov3-vitb16-pretrain-lvd1689m", "DINOv3 License"),
        ("timm/vit_base_patch16_dinov3.lvd1689m@main", "DINOv3 License"),
        ("facebook/dinov2-with-registers-base", "Apache-2.0"),
        ("facebook/ijepa_vith14_1k", "CC-BY-NC 4.0"),
        ("facebook/vit-mae-base", "CC-BY-NC 4.0"),
        ("owner/dinov3-like", None),
    ],
)
def test_licences_of_models_of_the_hub(
    name: str, licence: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = hub_licence(name)
    assert (found.licence if found else None) == licence
    monkeypatch.setattr(hub, "download_model", lambda _name: Path("there"))
    assert find_weights(f"hf:{name}") == Path("there")
    said = capsys.readouterr().err
    assert said.startswith(f"hf:{name}: {licence}") if licence else not said
    assert ("not a permissive one" in said) == (licence == "DINOv3 License")
    card = licence_of(f"hf:{name}", None)
    assert card.ident == (licence or "").lower().replace(" ", "-")
    assert ("not a permissive one" in card.terms) == (licence == "DINOv3 License")


def test_what_is_told_of_a_pretraining(tmp_path: Path) -> None:
    plain = released(tmp_path / "mine.pth", encoder())
    cases = {
        plain: ("", "nothing in it says it, and plain ViTs come from many"),
        released(tmp_path / "dino_deitsmall16_pretrain.pth", encoder()): (
            "dino",
            "by its name: dino_vit_small_patch16 of github.com/facebookresearch/dino",
        ),
        released(tmp_path / "linear-vit-s-300ep.pth.tar", encoder()): (
            "moco_v3",
            "by its name: mocov3_vit_small_linear of github.com/facebookresearch/moco-v3",
        ),
    }
    torch.save(dinov2()[0], tmp_path / "a.pth")
    cases[tmp_path / "a.pth"] = ("dinov2", "by its layout: facebookresearch/dinov2, encoder alone")
    torch.save(timm_model("dinov2").state_dict(), tmp_path / "b.pth")
    cases[tmp_path / "b.pth"] = ("dinov2", "by its parts: LayerScale")
    for path, expected in cases.items():
        facts = inspect(path)
        assert (facts.pretraining, facts.told_by) == expected, path


def test_the_licence_of_dinov3_is_said_of_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(dinov3()[0], tmp_path / "a.pth")
    assert main(["weights", "inspect", str(tmp_path / "a.pth")]) == 0
    text = capsys.readouterr().out
    assert "pre-training DINOv3 (by its layout: facebookresearch/dinov3, encoder alone)" in text
    assert "licence      perhaps DINOv3 License (Meta's own, not a permissive one" in text
    hf_model("dinov3").save_pretrained(tmp_path / "hf")
    card = model_card(tmp_path / "hf")
    assert "perhaps DINOv3 License" in section(card, "Starting weights and licence")
    named = model_card(tmp_path / "hf", given="hf:facebook/dinov3-vits16-pretrain-lvd1689m")
    assert {key: value for key, value in front(named).items() if key.startswith("licen")} == {
        "license": "other",
        "license_name": "dinov3-license",
    }


def test_an_unknown_name_says_where_the_others_are_listed() -> None:
    line = find._not_found("nothing_like_it", Path("nothing_like_it"))
    assert "mae_vit_base" in line
    assert line.endswith("and others, which docs/backbones.md lists")
