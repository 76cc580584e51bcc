"""`maekit reconstruct` as a user types it, with wrong input too: each is answered in one line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from maekit.cli import main
from tests.weights.helpers import decoder, encoder, peer, probe_peer, released

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in a folder with `images` (two, one below `sub`), `full.pth` and `empty`."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in ("images/a.png", "images/sub/b.png"):
        Path(name).parent.mkdir(parents=True)
        Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(name)
    Path("empty").mkdir()
    released(Path("full.pth"), full())

    def command(*words: str) -> tuple[int, str, str]:
        status = main(["reconstruct", *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


def full(scale: float = 0.1) -> dict[str, Tensor]:
    """Encoder and decoder with numbers small enough for attention to be what it is."""
    return {**encoder(), **{name: scale * tensor for name, tensor in decoder().items()}}


def fine_tuned(folder: Path) -> Path:
    return released(folder / "tuned.pth", dict(peer().state_dict()))


def probe(folder: Path) -> Path:
    return released(folder / "probe.pth", dict(probe_peer().state_dict()))


def alone(folder: Path) -> Path:
    return released(folder / "alone.pth", encoder())


def base_alone(folder: Path) -> Path:
    """The encoder of a ViT-Base, of zeros on a 2x2 grid."""
    from maekit.backbone.sizes import load_size
    from maekit.backbone.vit import ViT

    with torch.device("meta"):
        shapes = {
            name: t.shape for name, t in ViT(load_size("vit_base_patch16"), image_size=(32, 32)).state_dict().items()
        }
    return released(folder / "base.pth", {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()})


def half_a_decoder(folder: Path) -> Path:
    return released(folder / "half.pth", {name: t for name, t in full().items() if name != "decoder_pred.bias"})


def segmenter(folder: Path) -> Path:
    return of_a_run(folder / "seg.ckpt", "decode.conv_seg.weight")


def detector(folder: Path) -> Path:
    return of_a_run(folder / "det.ckpt", "detector.roi_heads.box_predictor.cls_score.weight")


def of_a_run(path: Path, head: str) -> Path:
    """A checkpoint with a card, and one tensor in its head."""
    tensors = {f"model.backbone.{name}": tensor for name, tensor in encoder().items()}
    torch.save({"state_dict": {**tensors, f"model.head.{head}": torch.ones(3, 3)}, "maekit": {"task": "mine"}}, path)
    return path


def other_size(folder: Path) -> Path:
    return released(folder / "other.pth", {name: t for name, t in full().items() if not name.startswith("blocks.2.")})


def test_images_and_folders_become_pictures(run: Run) -> None:
    status, out, err = run("images", "images/a.png", "--weights", "full.pth", "--norm_pix_loss", "true")
    assert (status, err) == (0, "maekit: 1 image named more than once, taken once\n")
    first, *_, caution, last = out.splitlines()
    assert caution.startswith("normalised pixels: each patch is drawn with its true mean and deviation")
    assert (
        first
        == "full.pth: the middle 32x32 px of images with a short side of 32, 12 of 16 patches hidden (random, seed 0)"
    )
    assert last.startswith("2 images -> reconstructions (mean PSNR of the hidden pixels ")
    folder = Path("reconstructions")
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    pictures = {"a_reconstruction.png", "sub/b_reconstruction.png"}
    assert found == pictures | {"contact_sheet.png", "reconstructions.csv", "reconstructions.json"}
    assert (folder / "reconstructions.csv").read_text().count("\n") == 3


def test_json_says_the_same(run: Run) -> None:
    words = ("images", "--weights", "full.pth", "--masking", "grid", "--seed", "5", "--image_size", "64")
    status, out, _ = run(*words, "--json", "--norm_pix_loss", "false", "--batch_size", "1")
    printed = json.loads(out)
    assert status == 0 and printed["left_out"] == [] and printed["norm_pix_loss"] is False
    assert (printed["image_size"], printed["masking"], printed["seed"]) == ([64, 64], "grid", 5)
    assert [row["file"] for row in printed["images"]] == ["images/a.png", "images/sub/b.png"]
    assert printed["psnr"] == pytest.approx(np.mean([row["psnr"] for row in printed["images"]]))
    for row in printed["images"]:
        kept = np.ones((8, 8), dtype=bool)
        kept.flat[row["masked_patches"]] = False
        assert (kept.reshape(4, 2, 4, 2).sum((1, 3)) == 1).all()


def test_what_the_file_does_not_say_is_tried_and_told(run: Run) -> None:
    status, out, _ = run("images", "--weights", "full.pth")
    line = out.splitlines()[1]
    assert status == 0 and line.startswith("norm_pix_loss ") and "the file does not say): of the hidden patches" in line
    assert line.count("PSNR") == 2
    again = run("images", "--weights", "full.pth", "--batch_size", "1")[1]
    assert again.splitlines()[1] == line


def test_the_authors_files_are_known_by_name(run: Run) -> None:
    released(Path("mae_pretrain_vit_base_full.pth"), full())
    printed = json.loads(run("images", "--weights", "mae_pretrain_vit_base_full.pth", "--json")[1])
    assert printed["norm_pix_loss"] is True and not any("the file does not say" in line for line in printed["said"])


def test_a_target_that_does_not_fit_is_doubted(run: Run) -> None:
    """Predictions near what every plain pixel is, in a file that calls them normalised."""
    tensors = full(0.0)
    tensors["decoder_pred.bias"] = torch.tensor([-2.1, -2.0, -1.8]).repeat(
        64
    )  # black, by ImageNet's mean and deviation
    released(Path("dark.pth"), tensors, args={"norm_pix_loss": True})
    Image.new("RGB", (32, 32), (3, 5, 2)).save("black.png")
    status, out, _ = run("black.png", "--weights", "dark.pth")
    line = out.splitlines()[1]
    assert status == 0 and line.startswith("norm_pix_loss true, but of the hidden patches of 1 image the predictions")
    assert line.endswith("; try --norm_pix_loss false")
    out = run("black.png", "--weights", "dark.pth", "--norm_pix_loss", "false")[1]
    lines = [line for line in out.splitlines() if not line.startswith("assumed: ")]
    assert len(lines) == 2 and "true mean" not in out


def test_an_unreadable_image_is_left_out_named_and_counted(run: Run) -> None:
    Path("images/broken.jpg").write_text("no picture")
    status, out, err = run("images", "--weights", "full.pth")
    assert status == 0 and "2 images -> " in out and "; 1 could not be read, see reconstructions/skipped.txt" in out
    assert err.startswith("maekit: left out: images/broken.jpg: is not an image") and err.count("\n") == 1
    printed = json.loads(run("images", "--weights", "full.pth", "--json")[1])
    assert printed["left_out"] == ["images/broken.jpg"] and len(printed["images"]) == 2
    status, out, _ = run("images/broken.jpg", "--weights", "full.pth")
    assert status == 2 and "0 images -> reconstructions; 1 could not be read, see" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("images --mask_ratio 0", "--mask_ratio: got 0, expected above 0 and below 1 (the paper: 0.75)"),
        ("images --mask_ratio 1", "--mask_ratio: got 1, expected above 0 and below 1 (the paper: 0.75)"),
        (
            "images --mask_ratio 0.95",
            "got a mask_ratio of 0.95 for 16 patches, which leaves none to see; set another --mask_ratio, or larger "
            "images",
        ),
        (
            "images --masking grid --mask_ratio 0.5",
            "got masking grid with a mask_ratio of 0.5 on 4x4 patches, expected 0.75 and even numbers: it keeps one "
            "patch of each 2x2; set --masking random, or change the ratio or size",
        ),
        ("images --image_size 30", "--image_size: got 30, expected a multiple of the patches' 8 px, such as 32"),
        ("images --image_size -8", "--image_size: got -8, expected a multiple of the patches' 8 px, such as 8"),
        ("images --batch_size 0", "--batch_size: got 0, expected 1 or more"),
        (
            "empty",
            "empty: no images in this folder, expected image files (.jpg, .png, .tif, .webp, ...)",
        ),
        ("image", "no image or folder image; did you mean 'images'?"),
        ("images --output full.pth", "--output full.pth: is a file, expected a folder; choose another"),
    ],
)
def test_wrong_words_are_answered_in_one_line(run: Run, words: str, line: str) -> None:
    status, out, err = run(*words.split(), "--weights", "full.pth")
    assert (status, out, err) == (2, "", f"maekit: {line}\n")


def test_results_do_not_go_among_the_images(run: Run, tmp_path: Path) -> None:
    status, out, err = run("images", "--weights", "full.pth", "--output", "images/out")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("maekit: --output images/out: lies in the images' folder images, where the next run would")
    status, _, err = run("images/a.png", "--weights", "full.pth", "--output", "images")
    assert status == 2 and "images/a.png: lies in the folder of the results, which could overwrite it" in err
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a.png", "sub"]


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (fine_tuned, "tuned.pth (facebookresearch/mae, classifier, mean pooling) @it holds no decoder"),
        (probe, "probe.pth (facebookresearch/mae, linear probe) @it holds no decoder"),
        (alone, "alone.pth (facebookresearch/mae, encoder alone) @it holds no decoder"),
        (
            segmenter,
            "seg.ckpt (a maekit run, segmentation with UperNet or another decode head) @its ViT has relative positions",
        ),
        (
            detector,
            "det.ckpt (a maekit run, detection of boxes with Faster R-CNN) @its ViT has windows and relative positions",
        ),
        (
            base_alone,
            "base.pth (facebookresearch/mae, encoder alone) @it holds no decoder; "
            "mae_pretrain_vit_base_full.pth has one of this size (name: mae_vit_base_full)",
        ),
        (half_a_decoder, "half.pth (facebookresearch/mae, pre-training with decoder) @it lacks decoder_pred.bias"),
        (
            other_size,
            "other.pth (facebookresearch/mae, pre-training with decoder) @its size is none of "
            "vit_base_patch16, ",
        ),
    ],
)  # fmt: skip
def test_weights_of_another_kind_are_told_from_those_wanted(
    run: Run, tmp_path: Path, write: Callable[[Path], Path], line: str
) -> None:
    status, out, err = run("images", "--weights", write(tmp_path).name)
    assert (
        (status, out) == (2, "")
        and err.startswith(f"maekit: {line.replace('@', 'cannot reconstruct: ')}")
        and err.count("\n") == 1
    )
    assert err.endswith("; give a file of a pre-training with its decoder\n")


def test_a_decoder_of_unknown_heads_is_refused(run: Run) -> None:
    tensors = full()
    for name, tensor in tensors.items():
        if name.startswith(("decoder_", "mask_token")):  # 77 wide: no multiple of any number of heads
            tensors[name] = torch.zeros([{64: 77, 192: 231, 256: 308}.get(side, side) for side in tensor.shape])
    tensors["decoder_pred.weight"], tensors["decoder_pred.bias"] = torch.zeros(192, 77), torch.zeros(192)
    released(Path("odd.pth"), tensors)
    status, _, err = run("images", "--weights", "odd.pth")
    assert status == 2 and err.count("\n") == 1
    assert (
        "odd.pth has a decoder 77 wide and does not say how many attention heads it has, expected a multiple of 32"
        in err
    )
