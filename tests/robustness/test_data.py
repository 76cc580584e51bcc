"""The robustness data sets on disk: found in any layout, read in a fixed order, made, checked, refused in one line."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as tv

from maekit.base.spec import Draw
from maekit.cli import main
from maekit.data.digits import digits
from maekit.errors import UserError
from maekit.robustness.data.corruptions import CORRUPTIONS, corrupt
from maekit.robustness.data.digits import DIGITS_FOLDER
from maekit.robustness.data.imagenet_variants import Robustness
from maekit.robustness.data.sets import alexnet_errors, cells, imagenet_synsets, published
from maekit.system.files import cache_folder
from tests.helpers_data import check, missing_from

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def made() -> Path:
    """The made data of this session."""
    data(synthetic="digits").setup()
    return cache_folder() / DIGITS_FOLDER


def data(root: Path | None = None, **changed: Any) -> Robustness:
    plain: dict[str, Any] = {
        "total_batch_size": 8,
        "device_batch_size": None,
        "image_size": 24,
        "eval_crop_fraction": 0.875,
        "corrupted_crop_fraction": 1.0,
        "mean": MEAN,
        "std": STD,
    }
    return Robustness(root=str(root) if root else None, **plain | changed)


def picture(path: Path, seed: int = 0, side: int = 40) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (side, side + 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)


def small(root: Path) -> Path:
    """One picture a class: ImageNet-A and ImageNet-C with two severities."""
    picture(root / "imagenet-a" / "n00000001" / "a.jpg", 1)
    picture(root / "imagenet-a" / "n00000002" / "b.jpg", 2)
    picture(root / "imagenet-c" / "snow" / "2" / "n00000002" / "c.JPEG", 3)
    picture(root / "imagenet-c" / "fog" / "5" / "n00000000" / "d.JPEG", 4)
    return root


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(UserError) as error:
        call()
    line = str(error.value)
    assert "\n" not in line
    return line


def test_the_made_sets_have_the_true_layouts(made: Path) -> None:
    assert sorted(child.name for child in made.iterdir()) == ["imagenet-a", "imagenet-c", "imagenet-r", "sketch"]
    found = Counter(path.relative_to(made).parts[:-1] for path in made.rglob("*") if path.is_file())
    corrupted = {parts: count for parts, count in found.items() if parts[0] == "imagenet-c"}
    expected = {(c, str(s), f"n{k:08}") for c in alexnet_errors() for s in range(1, 6) for k in range(10)}
    assert {parts[1:] for parts in corrupted} == expected
    assert set(corrupted.values()) == {2}
    assert {parts: count for parts, count in found.items() if parts[0] == "sketch"} == {
        ("sketch", f"n{k:08}"): 15 for k in range(10)
    }
    assert len([parts for parts in found if parts[0] == "imagenet-a"]) == 6
    with Image.open(next((made / "imagenet-c/snow/3/n00000004").iterdir())) as image:
        assert (image.size, image.format) == ((32, 32), "JPEG")
    held_out = {digit.sample for digit in digits() if digit.in_val}
    used = {int(path.stem.split("_")[-1]) for path in (made / "imagenet-c").rglob("*.JPEG")}
    assert used < held_out


def test_make_reports_what_it_writes(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of the line are those of the images; they are copied here, since writing them takes seconds."""
    monkeypatch.setattr(
        "maekit.robustness.data.imagenet_variants.write_robustness_digits",
        lambda part: shutil.copytree(made, part, dirs_exist_ok=True),
    )
    line = Robustness.make(tmp_path / "new")
    count = {child.name: sum(path.is_file() for path in child.rglob("*")) for child in (tmp_path / "new").iterdir()}
    assert line == (
        f"wrote {count['imagenet-a']} hard, {count['imagenet-r']} redrawn, {count['sketch']} sketched and "
        f"{count['imagenet-c']:,} corrupted images of 10 classes to {tmp_path / 'new'}"
    )
    assert "not an empty folder" in refusal(lambda: Robustness.make(tmp_path / "new"))


def test_a_corruption_grows_with_its_severity_and_is_drawn_by_its_seed() -> None:
    assert list(CORRUPTIONS) == list(alexnet_errors())
    digit = next(digits())
    pixels = np.asarray(Image.fromarray(digit.pixels).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB"))
    for name in CORRUPTIONS:
        far = [np.abs(corrupt(pixels, name, s, 0).astype(float) - pixels).mean() for s in (1, 2, 3, 4, 5)]
        assert 0 < far[0] < far[2] < far[4], name
        assert np.array_equal(corrupt(pixels, name, 4, 7), corrupt(pixels, name, 4, 7))
    assert not np.array_equal(corrupt(pixels, "snow", 4, 7), corrupt(pixels, "snow", 4, 8))


def test_samples_know_where_they_belong(tmp_path: Path) -> None:
    ours = data(small(tmp_path))
    spec = ours.spec()
    assert spec.class_ids == ("n00000000", "n00000001", "n00000002")
    assert spec.candidates == {"imagenet_a": ("n00000001", "n00000002")}
    images = ours.val_dataset()
    samples = [images[Draw(0, index)] for index in range(len(images))]
    places = [(cells()[cell], label, index) for _, label, cell, index in samples]
    assert places == [
        (("imagenet_a", "", 0), 1, 0),
        (("imagenet_a", "", 0), 2, 1),
        (("imagenet_c", "snow", 2), 2, 2),
        (("imagenet_c", "fog", 5), 0, 3),
    ]
    padding = images[Draw(0, -1)]
    assert padding[1:] == (0, 0, -1)
    assert torch.equal(padding[0], samples[0][0])
    batch = ours.collate([*samples, padding])
    assert batch.image.shape == (5, 3, 24, 24)
    assert batch.label.tolist() == [1, 2, 2, 0, 0]
    assert batch.cell.tolist() == [0, 0, cells().index(places[2][0]), cells().index(places[3][0]), 0]
    assert batch.index.tolist() == [0, 1, 2, 3, -1]
    assert ours.summary().startswith("ImageNet-A (2 images), ImageNet-C (2 images); not there: ImageNet-R, ")
    assert "snow 1 3 4 5" in ours.summary()
    assert len(ours.train_dataset(0)) == 0


@pytest.mark.parametrize("fraction", [1.0, 0.75])
def test_pictures_are_torchvisions(tmp_path: Path, fraction: float) -> None:
    """ImageNet-C's files are resized to the crop alone, or as asked for; the others as in fine-tuning's evaluation."""
    images = data(small(tmp_path), corrupted_crop_fraction=fraction).val_dataset()
    for index, name, share in (
        (1, "imagenet-a/n00000002/b.jpg", 0.875),
        (3, "imagenet-c/fog/5/n00000000/d.JPEG", fraction),
    ):
        reference = tv.Compose(
            [
                tv.Resize(int(24 / share), tv.InterpolationMode.BICUBIC),
                tv.CenterCrop(24),
                tv.ToTensor(),
                tv.Normalize(MEAN, STD),
            ]
        )
        assert torch.equal(images[Draw(0, index)][0], reference(Image.open(tmp_path / name).convert("RGB")))


def test_a_file_of_224_pixels_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "imagenet-c" / "fog" / "1" / "n00000000" / "a.png"
    path.parent.mkdir(parents=True)
    pixels = np.random.RandomState(0).randint(0, 256, (224, 224, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    image = data(tmp_path, image_size=224, mean=[0.0] * 3, std=[1.0] * 3).val_dataset()[Draw(0, 0)][0]
    assert np.array_equal((image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize(
    ("a", "sketch", "c"),
    [
        ("imagenet-a", "sketch", "imagenet-c/snow"),
        ("ImageNet-A", "ImageNet-Sketch/sketch", "ImageNet-C/weather/Snow"),
        ("imagenet_a/imagenet-a", "imagenet_sketch", "imagenet_c/imagenet-c/weather/snow"),
    ],
)
def test_folders_are_found_however_unpacked_and_spelt(tmp_path: Path, a: str, sketch: str, c: str) -> None:
    for folder in (a, sketch, f"{c}/4"):
        picture(tmp_path / folder / "n00000007" / "x.JPEG")
    listed = data(tmp_path).val_dataset().parts
    assert [cells()[part.cell] for part in listed] == [
        ("imagenet_a", "", 0),
        ("imagenet_sketch", "", 0),
        ("imagenet_c", "snow", 4),
    ]


def test_sets_given_each_by_itself_go_before_the_root(tmp_path: Path) -> None:
    root, other = small(tmp_path / "root"), tmp_path / "other"
    picture(other / "n00000009" / "x.jpg")
    assert data(imagenet_r=str(other)).spec().class_ids == ("n00000009",)
    assert data(root, imagenet_a=str(other)).spec().candidates == {"imagenet_a": ("n00000009",)}
    assert data(imagenet_c=str(root / "imagenet-c")).spec().class_ids == ("n00000000", "n00000002")


def test_a_partial_copy_keeps_the_published_classes(tmp_path: Path) -> None:
    own = published("imagenet_r").classes
    for ident in own[:3]:
        picture(tmp_path / "imagenet-r" / ident / "x.jpg")
    assert data(tmp_path).spec().candidates == {"imagenet_r": own}
    picture(tmp_path / "imagenet-r" / "n01440764" / "x.jpg")  # ImageNet's tench is not among ImageNet-R's classes
    line = refusal(data(tmp_path).setup)
    assert line.startswith(f"{tmp_path}/imagenet-r/n01440764: 'n01440764' is none of ImageNet-R's 200 classes")


def test_bad_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    root = small(tmp_path / "root")
    a, c = root / "imagenet-a", root / "imagenet-c"
    assert refusal(data().setup).startswith("no data given; add --data.root DIR")
    assert not missing_from(refusal(data(tmp_path).setup), f"{tmp_path}: no data set", f"--data.root {root}?")
    assert not missing_from(refusal(data(c).setup), f"{c}: ", f"--data.imagenet_c {c}", f"--data.root {root}")
    assert refusal(data(a).setup).startswith(f"{a}: these are the class folders of one data set; say which")
    assert "no such folder" in refusal(data(tmp_path / "rot").setup)
    assert refusal(data(imagenet_a=str(c)).setup).endswith(f"give it as --data.imagenet_c {c}")
    assert not missing_from(refusal(data(imagenet_r=str(root)).setup), "ImageNet-A", f"--data.root {root}")
    assert not missing_from(refusal(data(imagenet_c=str(a)).setup), f"{a}: ", "gaussian_noise")
    assert refusal(data(imagenet_c=str(c / "fog")).setup).endswith(f"give the folder above it: {c}")
    (c / "frost").mkdir()
    assert refusal(data(root).setup).startswith(f"{c / 'frost'}: no folders 1 to 5 in it, expected frost's severities")
    (c / "frost").rmdir()
    shutil.copytree(c / "fog", c / "weather" / "fog")
    assert "fog is also in" in refusal(data(root).setup)
    shutil.rmtree(c / "weather")
    shutil.copytree(a, root / "ImageNet-A")
    assert not missing_from(refusal(data(root).setup), f"{root}: ", "'ImageNet-A' and 'imagenet-a'")
    (c / "fog" / "5" / "n00000001").mkdir()
    assert "no images in this class folder" in refusal(data(imagenet_c=str(c)).setup)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "imagenet-a.tar").touch()
    assert "imagenet-a.tar is still packed" in refusal(data(tmp_path / "packed").setup)
    assert "imagenet-a.tar is still packed" in refusal(data(imagenet_a=str(tmp_path / "packed")).setup)
    assert refusal(lambda: data(corrupted_crop_fraction=0.0)).startswith("data.corrupted_crop_fraction: got 0.0")


def test_check_reports_which_sets_are_there(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Path(__file__).resolve().parents[2] / "tasks"
    name = next(path.stem for path in task.glob("*robustness.py"))
    assert main(["data", "check", "--task", name, "--root", str(made)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["ImageNet-A: 90 images of 6 classes", "ImageNet-R: 180 images of 6 classes"]
    assert out[3:] == [
        "ImageNet-C: 1,500 images of 10 classes of 15 corruptions in 75 severities",
        "files: 1,920 of 1,920 read",
        "ok",
    ]


def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    for ident in imagenet_synsets()[:2]:
        picture(tmp_path / "sketch" / ident / "sketch_1.JPEG")
        for corruption in list(alexnet_errors())[:14]:
            picture(tmp_path / "imagenet-c" / corruption / "1" / ident / "x.JPEG")
    bad = tmp_path / "sketch" / imagenet_synsets()[0] / "bad.JPEG"
    bad.write_bytes(b"no picture")
    findings = check(Robustness, tmp_path, classes=1)
    assert findings.facts[0] == "ImageNet-A: not there"
    assert findings.facts[2:4] == [
        "ImageNet-Sketch: 3 images of 2 classes",
        "ImageNet-C: 28 images of 2 classes of 14 corruptions in 14 severities",
    ]
    problems = findings.problems
    assert problems[0].startswith("the head has 1 classes, the data needs 2;")
    assert problems[1].startswith("ImageNet-C: gaussian_noise 2 3 4 5 is not there, so there is no mCE;")
    assert problems[15].startswith("ImageNet-C: jpeg_compression is not there")
    assert f"ImageNet-Sketch: 3 of 50,889 published images; unpack {tmp_path}/sketch again" in problems
    snow = f"unpack {tmp_path}/imagenet-c/snow/1 again"
    assert f"snow 1: 2 of 1,000 published class folders; {snow}" in problems
    assert f"snow 1: 2 of 50,000 published images; {snow}" in problems
    assert str(bad) in problems[-1]
    assert check(Robustness, tmp_path / "none").problems[0].startswith(f"{tmp_path}/none: no such folder")
