"""Features of the patches of whole images, and segmentation by the nearest of them, against scikit-learn and OpenCV."""

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import KNeighborsRegressor
from torch import Tensor, nn
from torch.nn import functional

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.base.pixel_labels import PixelLabels
from maekit.data.images.decode import read_image
from maekit.errors import UserError
from maekit.features import embedding
from maekit.features.extractor import make_extractor
from maekit.features.files.row_file import RowFile
from maekit.features.neighbours import knn
from maekit.features.patches import segment
from maekit.features.patches.folder import PatchFolder, read_patches
from maekit.features.patches.labels import class_shares, kept_patches
from maekit.features.patches.segment import TakenRows, label_map, make_bank, measure
from maekit.features.patches.view import grid_of
from maekit.features.source import IMAGENET, Source
from maekit.segmentation.metrics import SegmentationMetrics
from maekit.system.size import HeightWidth
from maekit.weights.load.backbone import load_backbone
from tests.features.helpers import own_scenes, pictures, refused, run, weights
from tests.numeric import assert_fp32_model
from tests.weights.helpers import peer

pytestmark = pytest.mark.numeric

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def squeezed(path: Path, height: int, width: int) -> Tensor:
    pixels = np.asarray(read_image(path).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    return torch.from_numpy((pixels - MEAN) / STD).permute(2, 0, 1).float()


def turned(folder: Path) -> None:
    """Adds a picture that lies on its side by its EXIF orientation: 40 wide and 90 high when it is upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(folder / "00.png").resize((90, 40)).save(folder / "turned.jpg", exif=exif)


def test_every_patch_of_whole_images_in_their_own_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = pictures(tmp_path / "in", 4), tmp_path / "out"
    turned(folder)
    (folder / "01.png").write_bytes(b"broken")
    words = ["embed", folder, "--weights", weights(tmp_path), "--patches", "--output", output, "--batch_size", 3]
    printed = run(capsys, *words)
    assert "4 images -> " in printed
    found = read_patches(output)
    grids = {"00.png": (4, 5), "deep/er/02.png": (4, 6), "deep/er/03.png": (4, 6), "turned.jpg": (9, 4)}
    assert dict(zip(found.files, map(tuple, found.grids.tolist()), strict=True)) == grids
    assert tuple(found.size(3)) == (90, 40)
    assert f"{4 * 5 + 2 * 4 * 6 + 9 * 4:,} patches of 5 images, 48 numbers of 32 bits each: 0.0 MiB" in printed
    for image, name in enumerate(found.files):
        if name == "turned.jpg":
            continue  # JPEG: read by another decoder here
        height, width = (8 * side for side in grids[name])
        vit = load_backbone(weights(tmp_path), image_size=(height, width))
        given = squeezed(folder / name, height, width)[None]
        assert_fp32_model(found.patches(image)[None], vit, given, lambda vit, x: vit(x).tokens[:, 1:])


def test_squeezed_into_one_size_they_are_timms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = pictures(tmp_path / "in", 3), tmp_path / "out"
    words = ["embed", folder, "--weights", weights(tmp_path), "--patches", "--image_size", "32x32", "--half"]
    run(capsys, *words, "--output", output)
    found = read_patches(output)
    assert found.features.shape == (3 * 16, 48)
    assert found.features.dtype == torch.float16
    given = torch.stack([squeezed(folder / name, 32, 32) for name in found.files])

    def patches(model: nn.Module, images: Tensor) -> Tensor:
        tokens: Tensor = model.forward_features(images)[:, 1:]  # type: ignore[operator]
        return tokens

    assert_fp32_model(found.features.reshape(3, 16, 48), peer(pooling="class", classes=0), given, patches)


def test_killed_between_two_images_it_goes_on_to_the_same_bytes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "in", 9)
    (folder / "04.png").write_bytes(b"broken")
    words = ["embed", folder, "--weights", weights(tmp_path), "--patches", "--batch_size", 3, "--num_workers", 0]
    run(capfd, *words, "--output", tmp_path / "whole")
    append, calls = RowFile.append, iter(range(2))

    def dies(self: RowFile, rows: np.ndarray) -> None:
        if next(calls, None) is None:
            self.file.write(rows.tobytes()[: rows.nbytes // 2])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, rows)

    child = os.fork()
    if child == 0:  # as `kill -9` would end the command
        monkeypatch.setattr(embedding, "SAVE_SECONDS", -1)
        monkeypatch.setattr(RowFile, "append", dies)
        run(capfd, *words, "--output", tmp_path / "killed")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert "resumed: 6 of 9 images were done" in run(capfd, *words, "--output", tmp_path / "killed")
    both = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")]
    assert both[0] == both[1]
    assert "nothing to do" in run(capfd, *words, "--output", tmp_path / "killed")


def test_an_image_of_another_shape_under_its_old_name_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pictures(tmp_path / "in", 3)
    words = ["embed", folder, "--weights", weights(tmp_path), "--patches", "--output", tmp_path / "out"]
    run(capsys, *words)
    Image.open(folder / "00.png").resize((90, 44)).save(folder / "00.png")
    assert "holds features that were computed otherwise (grids " in refused(capsys, *words)


def test_a_disk_without_room_is_refused_before_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["embed", pictures(tmp_path / "in", 3), "--weights", weights(tmp_path), "--patches", "--output"]
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 100})())
    line = refused(capsys, *words, tmp_path / "new/out")
    assert "the features need 0.0 MiB, the disk has 0.0 MiB free; make room" in line and "--half" in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("image", "size", "expected"),
    [
        ((427, 640), 224, (14, 21)),
        ((100, 200), 48, (3, 6)),
        ((1000, 10), 32, (8, 2)),
        ((10, 10), 3, (1, 1)),
        ((427, 640), HeightWidth(96, 160), (6, 10)),
    ],
)
def test_how_many_patches_an_image_has(
    image: tuple[int, int], size: int | HeightWidth, expected: tuple[int, int]
) -> None:
    assert grid_of(HeightWidth(*image), size, 16) == expected


@pytest.mark.parametrize("shape", [(16, 24), (17, 23), (3, 50), (2, 2)])
def test_class_shares_are_counted_pixel_by_pixel(shape: tuple[int, int]) -> None:
    label = np.random.default_rng(0).choice([0, 1, 3, 255], shape).astype(np.uint8)
    grid = HeightWidth(2, 3)
    expected = np.zeros((2, 3, 4))
    for y in range(shape[0]):
        for x in range(shape[1]):
            if label[y, x] != 255:
                expected[int((y + 0.5) / shape[0] * 2), int((x + 0.5) / shape[1] * 3), label[y, x]] += 1
    total = expected.sum(axis=2, keepdims=True)
    shares = np.divide(expected, total, out=np.zeros_like(expected), where=total > 0)
    np.testing.assert_allclose(class_shares(label, grid, 4).reshape(2, 3, 4), shares, atol=1e-6)


def test_patches_of_rare_classes_stay_and_those_without_a_class_do_not() -> None:
    shares = np.zeros((60, 3), dtype=np.float32)
    shares[:40, 0] = 1
    shares[40:42, 1] = 1  # two rare patches; 42.. have none
    assert kept_patches(shares, None, np.random.default_rng(0)).tolist() == list(range(42))
    chosen = [kept_patches(shares, 10, np.random.default_rng(seed)) for seed in range(20)]
    assert all(len(rows) == 10 and (np.diff(rows) > 0).all() and rows.max() < 42 for rows in chosen)
    assert sum({40, 41} <= set(rows.tolist()) for rows in chosen) > 15  # at random one in 19 would have both


def scenes(count: int = 6, classes: int = 3) -> tuple[PatchFolder, PixelLabels]:
    """Features [R, 5] of images of several shapes that mix their classes' directions, and their label maps."""
    draws = np.random.default_rng(0)
    grids = np.array([(3 + image % 2, 4 + image % 3) for image in range(count)])
    maps, features = [], []
    ways = draws.normal(size=(classes, 5))
    for height, width in grids:
        label = np.kron(draws.integers(0, classes, (height // 2 + 1, width // 2 + 1)), np.ones((11, 9)))
        label = label[: 5 * height + 2, : 4 * width + 1].astype(np.uint8)
        shares = class_shares(label, HeightWidth(height, width), classes)
        label[0, :7] = 255
        maps.append(label)
        features.append(shares @ ways + draws.normal(size=(height * width, 5)) * 0.6)
    rows = torch.from_numpy(np.concatenate(features)).float()
    starts = np.concatenate([[0], grids.prod(axis=1).cumsum()])
    sizes = np.array([label.shape for label in maps])
    names = [f"{image}.png" for image in range(count)]
    folder = PatchFolder(Path("f"), {}, rows, names, grids, sizes, starts)  # type: ignore[typeddict-item]
    metric = lambda: SegmentationMetrics(classes)  # noqa: E731
    return folder, PixelLabels(tuple("abc"), {}, {}, lambda number: maps[number], metric)


@pytest.mark.parametrize(("soft", "temperature"), [(True, 0.1), (True, None), (False, 0.1)])
@pytest.mark.parametrize("parts", [(7, 10), (16384, 131072)])
def test_segmentation_is_that_of_scikit_learn_and_opencv(
    soft: bool, temperature: float | None, parts: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "BANK_ROWS", parts[0])
    monkeypatch.setattr(segment, "QUERY_ROWS", parts[1])
    monkeypatch.setattr(segment, "STRIP_NUMBERS", 100 * parts[1])
    folder, labels = scenes()
    images, asked = [0, 1, 2, 3], [4, 5]
    bank = make_bank(folder, images, images, labels, soft=soft, most=10**9)
    shares = np.concatenate([class_shares(labels.read(image), folder.grid(image), 3) for image in images])
    weigh = "uniform" if temperature is None else lambda distance: np.exp((1 - distance) / temperature)
    model = KNeighborsRegressor(6, metric="cosine", algorithm="brute", weights=weigh)
    whole = folder.features[: folder.starts[4]].double().numpy()
    model.fit(whole, shares if soft else np.eye(3)[shares.argmax(axis=1)])
    seen = np.zeros((3, 3))
    for image in asked:
        scores = model.predict(folder.patches(image).double().numpy()).reshape(*folder.grid(image), 3)
        height, width = folder.size(image)
        large = cv2.resize(scores, (width, height), interpolation=cv2.INTER_LINEAR)
        label = labels.read(image)
        counted = label != 255
        seen += confusion_matrix(label[counted], large.argmax(axis=2)[counted], labels=range(3))
    both = np.diag(seen)
    expected = {
        "mIoU": 100 * np.mean(both / (seen.sum(0) + seen.sum(1) - both)),
        "mAcc": 100 * np.mean(both / seen.sum(1)),
        "aAcc": 100 * both.sum() / seen.sum(),
    }
    search = lambda k: segment.segment(folder, asked, bank, k, device=torch.device("cpu"), batch=9)  # noqa: E731
    found = measure(folder, {4: 4, 5: 5}, bank, labels, [6], temperature, search)[6]
    assert 30 < expected["mIoU"] < 95
    pixel = 100 * 2 / seen.sum(1).min()  # two pixels whose classes are as likely up to rounding
    assert found == pytest.approx(expected, abs=pixel)


def test_the_bank_is_read_in_parts_and_no_more_queries_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "BANK_ROWS", 8)
    monkeypatch.setattr(segment, "QUERY_ROWS", 20)
    folder, labels = scenes(12)
    bank = make_bank(folder, range(8), range(8), labels, soft=True, most=10**9)
    read: list[int] = []
    taken = TakenRows.__getitem__

    def part(self: TakenRows, place: slice) -> Tensor:
        read.append(place.stop - place.start)
        return taken(self, place)

    monkeypatch.setattr(TakenRows, "__getitem__", part)
    asked: list[int] = []
    search = knn.nearest_neighbours

    def counted(queries: Tensor, *rest: object, **more: object) -> object:
        asked.append(len(queries))
        return search(queries, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("maekit.features.patches.segment.nearest_neighbours", counted)
    found = segment.segment(folder, [8, 9, 10, 11], bank, 3, device=torch.device("cpu"), batch=4)
    assert [image for image, _ in found] == [8, 9, 10, 11]
    assert max(read) == 8 and len(read) == len(asked) * -(-len(bank.features) // 8)
    assert max(asked) <= 20 + folder.grids.prod(axis=1).max() and sum(asked) == folder.starts[12] - folder.starts[8]


def test_a_smaller_bank_has_an_even_part_of_each_image() -> None:
    folder, labels = scenes()
    bank = make_bank(folder, [0, 1, 2], [0, 1, 2], labels, soft=True, most=18)
    owner = np.searchsorted(folder.starts, bank.features.rows.numpy(), side="right") - 1
    assert np.bincount(owner).tolist() == [6, 6, 6]
    assert bank.num_known == folder.starts[3]
    whole = make_bank(folder, [0, 1, 2], [0, 1, 2], labels, soft=True, most=10**9)
    assert torch.equal(bank.shares, whole.shares[torch.from_numpy(np.isin(whole.features.rows, bank.features.rows))])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [(17, 40), (4, 5), (3, 2), (1, 7)])
@pytest.mark.parametrize("strip", [1, 10**6])
def test_label_maps_are_torchs_bilinear_ones(
    size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "STRIP_NUMBERS", strip)
    scores = torch.rand(20, 6, generator=torch.Generator().manual_seed(0))
    large = functional.interpolate(scores.T.reshape(1, 6, 4, 5), size, mode="bilinear", align_corners=False)[0]
    assert torch.equal(label_map(scores, (4, 5), size), large.argmax(dim=0))


def test_scores_are_interpolated_and_not_their_labels() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    assert label_map(scores, (1, 2), (1, 8)).tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]]


def test_the_command_on_two_folders_and_on_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own_scenes(tmp_path / "data")
    given = ["--weights", weights(tmp_path), "--patches", "--image_size", 64]
    for name, images in (("t", "images/train"), ("v", "images/val"), ("all", "images")):
        run(capsys, "embed", root / images, "--output", tmp_path / name, *given)
    told = ["--task", "ade20k_upernet", "--data.root", root, "--json", "--neighbours", "3,9"]
    two = json.loads(run(capsys, "knn", "--train", tmp_path / "t", "--val", tmp_path / "v", *told))
    one = json.loads(run(capsys, "knn", "--features", tmp_path / "all", *told))
    assert (two["num_train"], two["num_val"], two["num_patches"], two["temperature"]) == (6, 2, 6 * 8 * 12, 0.02)
    assert one["neighbours"] == two["neighbours"]  # the data's own splits
    assert 90 < two["neighbours"]["9"]["mIoU"] <= 100
    printed = run(capsys, "knn", "--train", tmp_path / "t", "--val", tmp_path / "v", *told[:4], "--bank_size", 60)
    assert "60 of 576 patches vote: --bank_size 60" in printed
    assert printed.splitlines()[-2].split() == ["neighbours", "mIoU", "%", "mAcc", "%", "aAcc", "%"]
    again = run(capsys, "knn", "--train", tmp_path / "all", "--val", tmp_path / "v", *told[:4])
    assert "2 images in both: their own patches vote for them" in again
    (root / "masks/val/7.png").unlink()
    (root / "images/val/7.png").unlink()
    printed = run(capsys, "knn", "--train", tmp_path / "t", "--val", tmp_path / "v", *told[:4])
    assert f"1 image of {tmp_path / 'v'} left out: not in the data" in printed


def test_what_cannot_be_segmented_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = own_scenes(tmp_path / "data"), pictures(tmp_path / "in", 3)
    given = ["--weights", weights(tmp_path), "--output"]
    run(capsys, "embed", root / "images", *given, tmp_path / "patches", "--patches")
    run(capsys, "embed", folder, *given, tmp_path / "other", "--patches", "--image_size", 24)
    run(capsys, "embed", folder, *given, tmp_path / "strange", "--patches")
    run(capsys, "embed", folder, *given, tmp_path / "whole")
    told = ["--task", "ade20k_upernet", "--data.root", root]
    features = ["knn", "--features", tmp_path / "patches"]
    assert "got features of patches and no --task" in refused(capsys, *features)
    assert "data have no label maps" in refused(capsys, *features, "--task", "imagenet_finetune", "--data.root", root)
    both = ["knn", "--train", tmp_path / "patches", "--val"]
    assert "embedded with another patch_view ([32] and [24])" in refused(capsys, *both, tmp_path / "other", *told)
    assert "no label map for any of its 3 images" in refused(capsys, *both, tmp_path / "strange", *told)
    assert "holds other features than" in refused(capsys, *both, tmp_path / "whole", *told)
    assert "got 999, expected 1 to 144" in refused(capsys, *features, *told, "--neighbours", "999")
    assert "--labels: got it for features of images" in refused(
        capsys, "knn", "--features", tmp_path / "whole", "--labels", "soft"
    )
    assert "embed with --pooling class" in refused(
        capsys, "cluster", "--features", tmp_path / "patches", "--clusters", 2, "--output", tmp_path / "c"
    )
    Image.new("L", (30, 32)).save(root / "masks/val/7.png")
    assert "val/7.png: its label map is 30 x 32 pixels, expected 48 x 32" in refused(capsys, *features, *told)
    np.save(tmp_path / "patches/grids.npy", np.ones((8, 2), dtype=np.int64))
    assert "grids.npy has 8 patches, expected 192; remove" in refused(capsys, *features, *told)
    embed = ["embed", folder, *given, tmp_path / "new"]
    assert "add --patches for whole images" in refused(capsys, *embed, "--image_size", "32x48")
    assert "multiples of the patch size 8" in refused(capsys, *embed, "--image_size", "30x48", "--patches")
    assert "--crop_fraction 0.5: got it with --patches" in refused(capsys, *embed, "--patches", "--crop_fraction", 0.5)
    assert "--pooling mean: got it with --patches" in refused(capsys, *embed, "--patches", "--pooling", "mean")
    assert "not --patches; use --format npy" in refused(capsys, *embed, "--patches", "--format", "parquet")


def test_a_bank_without_a_class_is_refused() -> None:
    folder, labels = scenes()
    empty = PixelLabels(labels.class_names, {}, {}, lambda n: np.full_like(labels.read(n), 255), labels.new_metric)
    with pytest.raises(UserError, match="no pixel of the 2 label maps counts"):
        make_bank(folder, [0, 1], [0, 1], empty, soft=True, most=99)


class Held(Source):
    """Weights that are a backbone already."""

    name = "vit_test_patch8_ijepa"

    def load(self, image_size: int | HeightWidth) -> ViT:
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        torch.manual_seed(0)
        vit = ViT(load_size(self.name), image_size=(height, width))
        for parameter in vit.parameters():
            nn.init.normal_(parameter, std=0.2)
        return vit.eval()


def test_without_a_class_token_the_mean_is_taken_and_registers_are_no_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    source = Held("held", Path("held"), {**IMAGENET, "image_size": 32})
    extractor = make_extractor(source, device="cpu")
    tokens = extractor.vit(images).tokens
    assert extractor.pooling == "mean" and tokens.shape == (2, 16, 48)
    torch.testing.assert_close(extractor(images), tokens.mean(1))
    with pytest.raises(UserError, match="--pooling class: held has no class token, expected mean or patches"):
        make_extractor(source, pooling="class", device="cpu")
    monkeypatch.setattr(Held, "name", "vit_test_patch8_dinov3")
    extractor = make_extractor(source, device="cpu", whole=32)
    wide = torch.randn(1, 3, 32, 56, generator=torch.Generator().manual_seed(0))
    tokens = extractor.vit(wide).tokens
    assert tokens.shape == (1, 1 + 4 + 28, 48)
    torch.testing.assert_close(extractor(wide), tokens[:, 5:])


def test_positions_of_one_grid_are_said_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, "name", "vit_test_patch8_beit")
    extractor = make_extractor(Held("held", Path("held"), {**IMAGENET, "image_size": 32}), device="cpu", whole=32)
    extractor.try_grids(np.array([[0, 0], [4, 4]]))
    with pytest.raises(UserError, match=r"relative position table; .*: --image_size 32x32 squeezes every image"):
        extractor.try_grids(np.array([[4, 4], [4, 5]]))
