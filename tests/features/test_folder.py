"""`maekit knn`, `similar` and `cluster` on what `embed` wrote, against scikit-learn."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.metrics import average_precision_score, cohen_kappa_score, normalized_mutual_info_score, r2_score
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from maekit.features.files.listings import read_lines
from maekit.features.neighbours.clusters import find_clusters, purity
from tests.features.helpers import digits, pictures, refused, run, weights
from tests.numeric import LEAST


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of a few digits: `train` (80), `val` (20), and `flat` without labels (6)."""
    from maekit.cli import main

    folder = tmp_path_factory.mktemp("features")
    for split in ("train", "val"):
        digits(folder / "in", split)
    pictures(folder / "in/flat", 6)
    for name in ("train", "val", "flat"):
        words = ["embed", folder / "in" / name, "--weights", weights(folder), "--output", folder / name]
        assert main([str(word) for word in words]) == 0
    return folder


def damaged(place: Path, folder: Path, name: str = "val") -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(place / name, folder / "copy"))


def arrays(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.load(folder / "features.npy"), np.load(folder / "labels.npy")


def test_knn_is_scikit_learns(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["knn", "--train", place / "train", "--val", place / "val", "--neighbours", "3,11,11"]
    found = json.loads(run(capsys, *words, "--json"))
    (bank, labels), (queries, truth) = arrays(place / "train"), arrays(place / "val")
    assert (found["num_train"], found["num_val"], found["num_classes"]) == (80, 20, 10)
    assert list(found["neighbours"]) == ["3", "11"]
    for count in (3, 11):
        peer = KNeighborsClassifier(
            count, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
        ).fit(bank.astype(float), labels)
        shares = peer.predict_proba(queries.astype(float))
        ranks = (shares > shares[np.arange(20), truth][:, None]).sum(axis=1)
        top5 = np.mean((ranks < 5) & (shares[np.arange(20), truth] > 0))
        row = found["neighbours"][str(count)]
        assert row["top1"] == pytest.approx(np.mean(shares.argmax(axis=1) == truth))
        assert row["top5"] == pytest.approx(top5)
    printed = run(capsys, *words)
    assert f"         3   {100 * found['neighbours']['3']['top1']:7.2f}" in printed


def table(place: Path, folder: Path) -> Path:
    """A table of the digits that `place` embedded, all but the last of validation: names, parity, number, a grade."""
    lines = ["file,split,labels,number,grade"]
    for split in ("train", "val"):
        names = read_lines(place / split / "files.txt")
        for name in names if split == "train" else names[:-1]:
            digit = int(name.partition("/")[0].removeprefix("n"))
            labels = ";".join(["odd"] * (digit % 2) + ["large"] * (digit > 4))
            lines.append(f"{place / 'in' / split / name},{split},{labels},{digit},{min(digit // 3, 2)}")
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("task", "column", "kind"),
    [("multilabel", "labels", "labels"), ("regression", "number", "values"), ("ordinal", "grade", "grades")],
)
def test_knn_tells_what_a_table_says(
    task: str, column: str, kind: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = table(place, tmp_path)
    words = ["knn", "--train", place / "train", "--val", place / "val", "--neighbours", 5, "--task", f"{task}_finetune"]
    words += ["--data.table", file, "--data.label_column", column]
    found = json.loads(run(capsys, *words, "--json"))
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    cells = [row[column] for row in rows]
    names = sorted({part for cell in cells for part in cell.split(";") if part})
    told = np.array([[name in cell.split(";") for name in names] for cell in cells], float)
    told = told if kind == "labels" else np.array(cells, float)[:, None]
    bank, queries = (np.load(place / split / "features.npy").astype(float) for split in ("train", "val"))
    peer = KNeighborsRegressor(
        5, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(bank, told[:80])
    predicted, truth = peer.predict(queries[:19]), told[80:]
    row = found["neighbours"]["5"]
    assert (found["num_train"], found["num_val"]) == (80, 19)
    if kind == "labels":
        assert found["num_labels"] == 2
        assert row["map"] == pytest.approx(average_precision_score(truth, predicted), abs=1e-4)
    elif kind == "values":
        assert row["r2"] == pytest.approx(r2_score(truth, predicted), abs=1e-4)
        assert row["mae"] == pytest.approx(np.abs(truth - predicted).mean(), abs=1e-4)
    else:
        nearest = np.floor(predicted + 0.5)
        assert row["kappa"] == pytest.approx(cohen_kappa_score(truth, nearest, weights="quadratic"), abs=1e-4)
        assert row["accuracy"] == pytest.approx((truth == nearest).mean())
    assert f"1 image of {place / 'val'} left out: not in the data" in run(capsys, *words)


def test_knn_takes_classes_of_a_table_and_refuses_data_of_other_images(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = ["--task", "imagenet_finetune", "--data.table", table(place, tmp_path), "--data.label_column", "grade"]
    found = json.loads(run(capsys, "knn", "--features", place / "train", *task, "--json"))
    assert found["num_classes"] == 3 and 0 < found["neighbours"]["20"]["top1"] <= 1
    line = refused(capsys, "knn", "--features", place / "flat", *task)
    assert "the data have none of its 6 images" in line
    assert "without --task" in refused(capsys, "knn", "--features", place / "train", *task[2:])
    unlabelled = ["--task", "mae_pretrain", "--data.root", place / "in/flat"]
    assert "no label of a whole image" in refused(capsys, "knn", "--features", place / "flat", *unlabelled)


def test_knn_of_one_folder_leaves_the_image_itself_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["knn", "--features", place / "train", "--neighbours", 1, "--vote", "majority", "--json"]
    found = json.loads(run(capsys, *words))
    features, labels = arrays(place / "train")
    near = cosine_similarity(features.astype(float))
    np.fill_diagonal(near, -2)
    same = labels[:, None] == labels
    margin = np.where(same, near, -2).max(axis=1) - np.where(same, -2, near).max(axis=1)
    nearly = 2 * LEAST  # a neighbour that is not nearer than this may be either in fp32
    assert np.mean(margin > nearly) <= found["neighbours"]["1"]["top1"] + 1e-9
    assert found["neighbours"]["1"]["top1"] <= np.mean(margin > -nearly) + 1e-9
    assert np.mean(abs(margin) <= nearly) < 0.2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--features", "flat"], "flat: its features have no labels; embed a folder of two or more class folders"),
        (["--train", "train", "--val", "flat"], "flat: its features have no labels"),
        (["--train", "train"], "give --train DIR and --val DIR, or --features DIR alone"),
        (["--train", "train", "--val", "val", "--features", "val"], "or --features DIR alone"),
        ([], "give --train DIR"),
        (["--features", "nowhere"], "nowhere has no features.json"),
        (["--features", "w.pth"], "w.pth is a file, expected a folder of features"),
        (["--features", "val", "--neighbours", "20"], "neighbours: got 20, expected 1 to 19"),
        (["--features", "val", "--neighbours", "5,x"], "--neighbours: got '5,x'"),
        (["--features", "val", "--neighbours", "0"], "--neighbours: got '0'"),
        (["--features", "val", "--temperature", "0"], "--temperature: got 0.0"),
        (["--features", "val", "--device", "cuda:77"], "--device cuda:77 cannot be used"),
    ],
)
def test_what_knn_refuses(
    words: list[str], expected: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert expected in refused(capsys, "knn", *words)


def test_other_classes_and_other_weights_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    run(capsys, "embed", digits(tmp_path / "in", "val", 3), "--weights", weights(place), "--output", few)
    line = refused(capsys, "knn", "--train", place / "train", "--val", few)
    assert f"the classes differ: {place / 'train'} alone has 'n00000003'" in line
    other = tmp_path / "other"
    run(capsys, "embed", place / "in/val", "--weights", weights(place), "--output", other, "--pooling", "mean")
    line = refused(capsys, "knn", "--train", place / "train", "--val", other)
    assert "were embedded with another pooling (class and mean)" in line


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        ("cut", "features.npy is missing, cut short or damaged; remove"),
        ("gone", "features.npy is missing, cut short or damaged; remove"),
        ("text", "features.npy is missing, cut short or damaged; remove"),
        ("nan", "row 7 has NaN or infinite numbers; remove"),
        ("shape", "features.npy is [19, 48], expected [20, 48]"),
        ("files", "files.txt has 19 lines, expected 20"),
        ("labels", "labels outside 0 to 9"),
        ("open", "are not finished; give the same `maekit embed` command again"),
        ("json", "features.json is damaged"),
        ("patches", "holds the features of patches"),
        ("parquet", "holds features as Parquet, expected .npy"),
    ],
)
def test_damaged_features_are_one_line(
    spoil: str, expected: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = damaged(place, tmp_path)
    features, labels = arrays(folder)
    file, facts = folder / "features.npy", json.loads((folder / "features.json").read_text())
    if spoil == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif spoil == "gone":
        file.unlink()
    elif spoil == "text":
        file.write_text("no array")
    elif spoil == "nan":
        features[7, 3] = np.nan
        np.save(file, features)
    elif spoil == "shape":
        np.save(file, features[1:])
    elif spoil == "files":
        (folder / "files.txt").write_text("".join(f"{i}\n" for i in range(19)))
    elif spoil == "labels":
        np.save(folder / "labels.npy", labels + 1)
    changes = {"open": ("complete", False), "patches": ("pooling", "patches"), "parquet": ("format", "parquet")}
    if spoil in changes:
        facts |= [changes[spoil]]
        (folder / "features.json").write_text(json.dumps(facts))
    elif spoil == "json":
        (folder / "features.json").write_text("[]")
    for command in (["knn"], ["cluster", "--clusters", 2, "--output", tmp_path / "out"]):
        line = refused(capsys, *command, "--features", folder)
        assert expected in line
        assert str(folder) in line


def test_similar_images_are_the_nearest_by_cosine(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features, _ = arrays(place / "train")
    files = (place / "train/files.txt").read_text().splitlines()
    row = 33
    near = cosine_similarity(features.astype(float))[row]
    near[row] = -2  # the query itself, which is one of the images
    best = np.argsort(-near)[:5]
    query = place / "in/train" / files[row]
    words = ["similar", query, "--features", place / "train", "--top", 5]
    found = json.loads(run(capsys, *words, "--json"))["similar"]
    assert [image["file"] for image in found] == [str(place / "in/train" / files[i]) for i in best]
    assert [image["similarity"] for image in found] == pytest.approx(near[best].tolist(), abs=1e-5)
    sheet = tmp_path / "new/sheet.png"
    printed = run(capsys, *words, "--output", sheet)
    assert printed.splitlines()[0] == f"{near[best[0]]:.4f}  {place / 'in/train' / files[best[0]]}"
    with Image.open(sheet) as picture:
        assert picture.size == (6 * 172 + 12, 12 + 160 + 3 * 21 + 12)  # a title and two captions
    elsewhere = Path(shutil.copy(query, tmp_path / "elsewhere.jpg"))
    again = json.loads(run(capsys, "similar", elsewhere, *words[2:], "--json"))["similar"]
    assert again[0]["file"] == str(query)
    assert again[0]["similarity"] == pytest.approx(1, abs=1e-6)


def test_what_similar_refuses(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, features = next((place / "in/val").rglob("*.JPEG")), place / "val"
    text = tmp_path / "query.jpg"
    text.write_text("no image")
    words = ["similar", image, "--features", features]
    assert "query.jpg: is not an image" in refused(capsys, "similar", text, "--features", features)
    assert "no image nowhere.jpg" in refused(capsys, "similar", "nowhere.jpg", "--features", features)
    assert "--top: got 0" in refused(capsys, *words, "--top", 0)
    assert "--output: got out.txt" in refused(capsys, *words, "--output", "out.txt")
    assert "lies among the images in" in refused(capsys, *words, "--output", place / "in/val/sheet.png")
    folder = damaged(place, tmp_path)
    facts = json.loads((folder / "features.json").read_text())
    (folder / "features.json").write_text(json.dumps({**facts, "weights": str(tmp_path / "gone.pth")}))
    line = refused(capsys, "similar", image, "--features", folder)
    assert "gone.pth" in line
    assert line.endswith("if the weights have moved, give --weights")
    assert run(capsys, "similar", image, "--features", folder, "--weights", weights(place))
    (folder / "features.json").write_text(json.dumps({**facts, "weights_hash": "0"}))
    assert "does not hold the weights that" in refused(capsys, "similar", image, "--features", folder)


def test_clusters_are_scikit_learns(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    printed = run(capsys, "cluster", "--features", place / "train", "--clusters", 6, "--output", out)
    with (out / "clusters.csv").open() as file:
        rows = list(csv.DictReader(file))
    features, labels = arrays(place / "train")
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    peer = KMeans(6, n_init=4, random_state=0).fit(unit)
    assigned = np.array([int(row["cluster"]) for row in rows])
    assert len({(a, b) for a, b in zip(assigned, peer.labels_, strict=True)}) == 6  # the same groups, renumbered
    assert [row["file"] for row in rows] == (place / "train/files.txt").read_text().splitlines()
    assert [row["class"] for row in rows] == [f"n{label:08}" for label in labels]
    distances = [float(row["distance"]) for row in rows]
    assert distances == pytest.approx(np.linalg.norm(unit - peer.cluster_centers_[peer.labels_], axis=1), abs=2e-6)
    sizes = np.bincount(assigned)
    assert (np.diff(sizes) <= 0).all()
    mutual = normalized_mutual_info_score(labels, peer.labels_)
    pure = sum(np.bincount(labels[assigned == number]).max() for number in range(6)) / 80
    assert f"normalised mutual information {mutual:.3f}, purity {pure:.3f}" in printed
    assert {path.name for path in out.glob("*.png")} == {f"cluster_{i:03}.png" for i in range(6)} | {"overview.png"}
    run(capsys, "cluster", "--features", place / "train", "--clusters", 2, "--output", out)
    assert {path.name for path in out.glob("*.png")} == {"cluster_000.png", "cluster_001.png", "overview.png"}


def test_alike_images_make_fewer_clusters(tmp_path: Path, capsys: pytest.CaptureFixture[str], place: Path) -> None:
    folder = pictures(tmp_path / "in", 2)
    for number in range(3):
        shutil.copy(folder / "00.png", folder / f"copy{number}.png")
    run(capsys, "embed", folder, "--weights", weights(place), "--output", tmp_path / "f")
    (folder / "01.png").unlink()  # its tile says so
    words = ["cluster", "--features", tmp_path / "f", "--output", tmp_path / "out", "--clusters"]
    printed = run(capsys, *words, 4)
    assert "5 images in 2 clusters (of 4 asked for: there are no more distinct images)" in printed
    assert "purity" not in printed
    assert "--clusters: got 6, expected 1 to 5, the number of images" in refused(capsys, *words, 6)
    assert "--clusters: got 0" in refused(capsys, *words, 0)
    words[4] = folder / "out"
    assert "lies in the images' folder" in refused(capsys, *words, 2)


def test_many_images_are_clustered_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maekit.features.neighbours.clusters.MOST_FOR_FULL", 10)
    draws = np.random.RandomState(0)
    centres = np.eye(5, dtype=np.float32)
    labels = np.arange(200) % 5
    points = centres[labels] + draws.normal(0, 0.05, (200, 5)).astype(np.float32)
    found = find_clusters(points / np.linalg.norm(points, axis=1, keepdims=True), 5, seed=1)
    assert purity(found.assigned, labels) == 1
    assert np.bincount(found.assigned).tolist() == [40] * 5
    assert sorted(found.members(0).tolist()) == np.flatnonzero(found.assigned == 0).tolist()
