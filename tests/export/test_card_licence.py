"""Under which terms a card says that weights can be passed on."""

from pathlib import Path

import pytest
import torch

from maekit.export.card.licence import licence_of
from maekit.export.card.write import model_card
from maekit.weights.get.find import find_weights
from tests.export.helpers import HOME, front, make_run, section
from tests.weights.helpers import encoder, released


@pytest.mark.parametrize(
    ("given", "start", "ident", "words"),
    [
        ("mae_vit_base", None, "cc-by-nc-4.0", "released these weights under CC-BY-NC 4.0"),
        ("a/mae_finetuned_vit_huge.pth", None, "cc-by-nc-4.0", "inherit that"),
        (
            "a.ckpt",
            "mae_vit_large_full",
            "cc-by-nc-4.0",
            "`mae_vit_large_full`, with which the training of these began",
        ),
        ("a.ckpt", "none", "", "Whoever trained these weights decides."),
        ("a.ckpt", "hf:owner/name@main", "", "page of `owner/name@main`"),
        ("a.ckpt", f"{HOME}/other.pth", "", "Those of `other.pth` hold for these as well; they are not recorded here."),
    ],
)
def test_terms_follow_the_starting_weights(given: str, start: str | None, ident: str, words: str) -> None:
    found = licence_of(given, start)
    assert found.ident == ident
    assert words in found.terms
    assert HOME not in found.terms + found.started_from


def test_terms_follow_a_chain_of_runs(tmp_path: Path) -> None:
    first = make_run(tmp_path / "runs" / "a") / "best.ckpt"
    second = make_run(tmp_path / "runs" / "b", weights=str(first)) / "best.ckpt"
    card = model_card(make_run(tmp_path / "runs" / "c", weights=str(second)) / "best.ckpt")
    assert section(card, "Starting weights and licence").splitlines()[0] == (
        "Started from: `runs/b/best.ckpt`, which was started from `mae_pretrain_vit_base.pth`."
    )
    assert front(card)["license"] == "cc-by-nc-4.0"
    alone = make_run(tmp_path / "runs" / "d", weights="none") / "best.ckpt"
    text = model_card(make_run(tmp_path / "runs" / "e", weights=str(alone)) / "best.ckpt")
    assert "`runs/d/best.ckpt`, whose own training began with random numbers" in text
    round_and_round = make_run(tmp_path / "runs" / "f", weights=str(tmp_path / "runs" / "f" / "best.ckpt"))
    assert "not recorded here" in model_card(round_and_round / "best.ckpt")


def test_the_shipped_weights_licence_is_known_and_no_published_data_is_claimed(tmp_path: Path) -> None:
    run = licence_of("best.ckpt", "mae_vit_smoke")
    assert (run.ident, run.authors) == ("apache-2.0", False) and "Apache-2.0" in run.terms
    card = model_card(find_weights("mae_vit_smoke"), given="mae_vit_smoke")
    assert "Apache-2.0" in section(card, "Starting weights and licence")
    assert "ImageNet-1K" not in section(card, "Biases and limits")
    published = released(tmp_path / "mae_pretrain_vit_base.pth", encoder())
    assert "have seen it" in section(model_card(published, given="mae_vit_base"), "Biases and limits")


@pytest.mark.parametrize(
    ("own", "block"),
    [
        ("Apache 2.0", {"license": "apache-2.0"}),
        ("CC-BY-NC 4.0", {"license": "cc-by-nc-4.0"}),
        ("Our terms", {"license": "other", "license_name": "our-terms"}),
    ],
)
def test_the_hub_knows_the_identifier_or_is_given_a_name(own: str, block: dict[str, str], tmp_path: Path) -> None:
    """The hub refuses a card with a `license` that is not on its list."""
    path = tmp_path / "w.pth"
    torch.save({"model": encoder(), "maekit": {"licence": own}}, path)
    card = model_card(path)
    assert {key: value for key, value in front(card).items() if key.startswith("license")} == block
    assert own in section(card, "Starting weights and licence")
