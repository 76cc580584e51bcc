"""The verdict on a study and on runs that are compared: it names a best one only where seeds or images tell it."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from scipy import stats  # type: ignore[import-untyped]

from maekit.report.document import Code, Findings
from maekit.report.page.render import render_html
from maekit.report.runs.overview import overview_document
from maekit.report.significance import difference, sign_test, t_quantile
from maekit.report.studies.report import study_document
from maekit.report.studies.several import studies_document
from maekit.report.studies.verdict.edges import edge_of
from maekit.runs.find import find_runs
from maekit.study.define.space import Choice, Interval
from maekit.study.saved import read_study
from tests.report.helpers import blocks, make_run, make_study, table, write_csv

DECAY = "optim.layer_decay"
Values = dict[tuple[Any, ...], list[float | None]]


def sentences(document: Any) -> str:
    return " ".join(one.text for found in blocks(document, Findings, "Verdict") for one in found.items)


def commands(document: Any) -> str:
    return "\n".join(code.text for code in blocks(document, Code, "Verdict"))


def study(folder: Path, values: Values, key: str = DECAY, **options: Any) -> Any:
    axes = {key: [cell[0] for cell in values]}
    return study_document(read_study(make_study(folder, values, axes=axes, **options)), None, "now")


RISING: Values = {(0.5,): [80.0, 81, 82], (0.7,): [85.0, 86, 87], (0.9,): [90.0, 91, 92.5]}
PEAKED: Values = {(0.5,): [80.0, 80.2, 80.1], (0.7,): [85.0, 85.1, 85.3], (0.9,): [81.0, 81.5, 81.2]}
FLAT: Values = {(0.5,): [80.0, 83, 82], (0.7,): [83.0, 82, 81], (0.9,): [82.0, 81, 82.5]}


def test_a_best_value_at_the_end_is_widened_in_that_direction(tmp_path: Path) -> None:
    document = study(tmp_path / "s", RISING)
    assert "The best layer_decay, 0.9, is the highest that was tried: a better one may lie above." in sentences(
        document
    )
    words = shlex.split(commands(document).splitlines()[1])
    assert words[words.index("--grid") + 1] == "optim.layer_decay=0.9,0.95,1.0"
    assert words[words.index("--output") + 1] == str(tmp_path / "by_hand_wider")
    assert "is the lowest" in sentences(study(tmp_path / "low", {(1 - decay,): v for (decay,), v in RISING.items()}))
    assert "that was tried" not in sentences(study(tmp_path / "peak", PEAKED))


@pytest.mark.parametrize(
    ("key", "values", "best", "wider"),
    [
        ("optim.lr", (1e-4, 1e-3), 1e-3, (1e-3, 3.2e-3, 1e-2)),
        ("optim.base_lr", (1e-3, 2e-3, 4e-3), 1e-3, (2.5e-4, 5e-4, 1e-3)),
        ("optim.layer_decay", (0.55, 0.65, 0.75), 0.55, (0.35, 0.45, 0.55)),
        ("model.drop_path", (0.1, 0.2), 0.1, (0.0, 0.05, 0.1)),
        ("trainer.max_epochs", (50, 100), 100, (100, 150, 200)),
        ("optim.layer_decay", (0.9, 1.0), 1.0, None),
    ],
)
def test_values_beyond_an_end(
    key: str, values: tuple[float, ...], best: float, wider: tuple[float, ...] | None
) -> None:
    edge = edge_of(Choice(key, values), best)
    assert edge is not None
    assert edge.upwards == (best == max(values))
    assert (edge.wider is None) == (wider is None)
    if isinstance(edge.wider, Choice):
        assert edge.wider.values == pytest.approx(wider)
    assert edge_of(Choice(key, (*values, best * 1.01, best * 0.99)), best) is None


def test_the_end_of_a_range_that_is_drawn_from() -> None:
    edge = edge_of(Interval("optim.lr", 1e-5, 1e-3, log=True), 9e-4)
    assert edge is not None
    assert isinstance(edge.wider, Interval)
    assert edge.wider.low == pytest.approx(1e-4)
    assert edge.wider.high > 1e-3
    assert edge_of(Interval("optim.lr", 1e-5, 1e-3, log=True), 1e-4) is None


def test_a_best_cell_is_named_only_where_seeds_tell_it(tmp_path: Path) -> None:
    clear = study(tmp_path / "clear", PEAKED)
    low, high = stats.t.interval(0.95, 2, loc=3.9, scale=stats.sem([4.0, 3.6, 4.1]))
    assert "layer_decay=0.7 is better than layer_decay=0.9, the next: top1 85.13 and 81.23, 3.9 apart" in sentences(
        clear
    )
    assert table(clear, "behind").rows[0] == (0.9, *map(pytest.approx, (3.9, low, high)), 3)
    unclear = study(tmp_path / "flat", FLAT)
    assert "Cannot tell layer_decay=0.7 from the next, layer_decay=0.9" in sentences(unclear)
    assert " is better" not in sentences(unclear)
    two = study(tmp_path / "two", {(0.5,): [80.0, 80.0], (0.9,): [90.0, 90.0]})  # the same difference twice is no proof
    assert "2 seeds of each are too few" in sentences(two)
    assert table(two, "behind").rows[0][2:4] == (None, None)


def test_the_curve_is_flat_or_has_a_peak(tmp_path: Path) -> None:
    assert (
        "top1 is flat over layer_decay as far as 3 seeds can tell: between 81.67 and 82 from 0.5 to 0.9"
        in sentences(study(tmp_path / "f", FLAT))
    )
    peak = sentences(study(tmp_path / "p", PEAKED))
    assert "top1 has a peak over layer_decay at 0.7: 0.5 is 5.033 worse and 0.9 is 3.9 worse." in peak


def test_one_seed_tells_nothing_and_more_are_offered(tmp_path: Path) -> None:
    document = study(tmp_path / "s", {(0.5,): [80.0], (0.7,): [85.0], (0.9,): [79.0]})
    assert "Each cell has a single run" in sentences(document)
    assert "better" not in sentences(document)
    assert "--grid optim.layer_decay=0.7,0.5 --seeds 3 --name by_hand_seeds" in commands(document)


def test_failed_and_missing_runs(tmp_path: Path) -> None:
    values: Values = {(0.5,): [80.0, 81, 82], (0.7,): [None, None, None]}
    document = study(tmp_path / "s", values)
    assert "3 runs of 6 failed: loss is NaN (3). All are of layer_decay=0.7." in sentences(document)
    assert "--retry_failed" not in commands(document)  # NaN comes again
    file = tmp_path / "s/study.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "trials": told["trials"][:2]}))
    begun = study_document(read_study(tmp_path / "s"), None, "now")
    assert "4 runs of 6 did not begin or did not end yet" in sentences(begun)
    assert commands(begun).splitlines()[1].endswith(f"--seeds 3 --name by_hand --output {tmp_path / 's'}")


def test_runs_that_halving_stopped(tmp_path: Path) -> None:
    document = study(tmp_path / "s", PEAKED, rungs=(33, 100), kept=(((0.7,),),))
    assert "6 runs stopped early by the successive halving" in sentences(document)


def test_every_sentence_of_a_study_links_to_a_section_that_is_there(tmp_path: Path) -> None:
    failing: Values = {(0.5,): [80.0, None], (0.7,): [79.0, 80.0]}
    for at, values in enumerate((RISING, FLAT, failing)):
        document = study(tmp_path / str(at), values)
        titles = [section.title for section in document.sections]
        (found,) = blocks(document, Findings, "Verdict")
        page = render_html(document)
        for one in found.items:
            assert f'<a href="#part-{titles.index(one.section) + 1}">{one.section}</a>' in page


def test_two_studies_of_one_task_are_compared_on_the_same_data_alone(tmp_path: Path) -> None:
    def made(name: str, values: Values, mark: str) -> Path:
        folder = make_study(tmp_path / name, values, axes={DECAY: [cell[0] for cell in values]})
        for trial in json.loads((folder / "study.json").read_text())["trials"]:
            run = make_run(folder / trial["folder"])
            known = json.loads((run / "environment.json").read_text())
            data = {"folder": "d", "classes": ["a"], "splits": {"val": {"images": 9, "fingerprint": mark}}}
            (run / "environment.json").write_text(json.dumps({**known, "data": data}))
        return folder

    folders = [made("one", RISING, "x"), made("two", PEAKED, "x"), made("three", PEAKED, "y")]
    document = studies_document([read_study(folder) for folder in folders], "now")
    found = sentences(document)
    assert found.startswith("flowers base one is better than flowers base two: best cells top1 91.17 and 85.13")
    assert found.count(" is better than ") + found.count("annot tell") == 1
    assert table(document, "differences").rows[0][:3] == ("both", "flowers base one", "flowers base two")


def runs(tmp_path: Path, wrong: dict[str, set[int]], count: int = 40) -> Any:
    for name, places in wrong.items():
        folder = make_run(tmp_path / "runs" / name, top1=100 - len(places), changed={"optim.lr": 0.1 + len(name)})
        rows = [
            {"image": at, "file": f"{at}.png", "label": "cat", "predicted": "dog" if at in places else "cat"}
            for at in range(count)
        ]
        write_csv(folder / "image_scores.csv", rows)
    return overview_document(find_runs([tmp_path / "runs"]), "now")


def test_two_runs_are_told_apart_by_their_images(tmp_path: Path) -> None:
    clear = runs(tmp_path / "a", {"a": {0}, "bb": {*range(1, 12)}})
    assert sentences(clear).startswith(
        "runs/a is better than runs/bb: top1 of best.ckpt 99.5 and 89.5; of 40 images 11 are right in"
    )
    assert [row[-1] for row in table(clear, "compared_flowers").rows] == [11, 1]
    assert f"maekit compare {tmp_path / 'a/runs/a'}" in commands(clear)
    near = runs(tmp_path / "b", {"a": {0}, "bb": {1, 2, 3}})
    assert sentences(near).startswith("Cannot tell runs/a from runs/bb")
    assert "probability of 0.62" in sentences(near)  # 1 against 3: 2 (1 + 4) / 16


def test_without_images_intervals_tell_runs_apart(tmp_path: Path) -> None:
    for name, value, ends in (("a", 80.0, [75, 85]), ("bb", 70.0, [66, 74])):
        folder = make_run(tmp_path / "runs" / name, top1=value, changed={"optim.lr": float(len(name))})
        intervals = {"level": 0.95, "resamples": 1000, "images": 36, "values": {"top1": ends}}
        (folder / "evaluation.json").write_text(json.dumps({"intervals": intervals}))
    found = sentences(overview_document(find_runs([tmp_path / "runs"]), "now"))
    assert found.startswith(
        "runs/a is better than runs/bb: top1 of best.ckpt 80.5 and 70.5; their 95 % intervals over 36 images do not"
    )


def test_settings_with_several_seeds_are_told_apart_by_these(tmp_path: Path) -> None:
    for lr, values in ((0.1, (90.0, 91.0, 92.0)), (0.2, (80.0, 81.5, 82.0))):
        for seed, value in enumerate(values):
            make_run(tmp_path / f"runs/{lr}_{seed}", top1=value, seed=seed, changed={"optim.lr": lr})
    found = sentences(overview_document(find_runs([tmp_path / "runs"]), "now"))
    assert "The 3 runs like runs/0.1_0 are better than the 3 runs like runs/0.2_0: top1, mean 91 and 81.17" in found
    make_run(tmp_path / "runs/cut", status="", changed={"optim.lr": 0.3})
    (tmp_path / "runs/cut/metrics.json").unlink()
    assert "1 run of 7 did not come to the end" in sentences(overview_document(find_runs([tmp_path / "runs"]), "now"))


def test_the_statistics_are_scipys() -> None:
    for freedom in (1, 2, 3, 10, 31, 100):
        assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)
    for first, second in ((0, 5), (3, 11), (40, 40)):
        assert sign_test(first, second) == pytest.approx(stats.binomtest(first, first + second).pvalue, rel=1e-9)
    found = difference({0: 3.0, 1: 4.0, 2: 7.0}, {5: 1.0, 6: 1.5})
    assert found is not None
    assert not found.paired
    assert found.mean == pytest.approx(14 / 3 - 1.25)
    assert difference({0: 3.0}, {0: 1.0}) is None
