"""A study made before the optimizer's settings moved from `model` to `optim`: read, but not resumed."""

import json
from pathlib import Path

import pytest

from maekit import cli
from maekit.errors import UserError
from maekit.study.define.definition import Definition
from maekit.study.define.space import Choice
from maekit.study.queue.database import opened
from maekit.study.saved import read_study
from maekit.study.text_table import text_table
from maekit.study.work.engine import default_url, open_trials
from tests.study.helpers import FAST, definition, run, trial

OLD = definition(space=(Choice("model.layer_decay", (0.65, 0.75)),), fixed={"model.weight_decay": 0.05})
NOW = definition(space=(Choice("optim.layer_decay", (0.65, 0.75)),), fixed={"optim.weight_decay": 0.05})


def never() -> bool:
    return False


@pytest.fixture
def old_study(tmp_path: Path) -> Path:
    """A finished study with the files and the database that it was made with."""
    trials = [
        trial(decay, 0, 90 + decay) | {"values": {"model.layer_decay": decay}, "number": number}
        for number, decay in enumerate((0.65, 0.75))
    ]
    plain = {"format": 1, "definition": OLD.as_json(), "storage": "", "trials": trials, "halving": None, "updated": ""}
    (tmp_path / "study.json").write_text(json.dumps(plain))
    (tmp_path / "definition.json").write_text(json.dumps(OLD.as_json()))
    with opened(default_url(tmp_path), print, never, FAST) as database:
        open_trials(database, OLD, tmp_path, join=False)
    return tmp_path


def test_its_table_and_its_report_are_read(old_study: Path, tmp_path: Path) -> None:
    rows = [line.split() for line in text_table(read_study(old_study))]
    assert rows[0][:2] == ["rank", "layer_decay"]
    assert rows[1][:3] == ["1", "0.75", "90.750"]
    assert cli.main(["report", str(old_study), "--output", str(tmp_path / "pages")]) == 0
    assert any("model.layer_decay" in page.read_text() for page in (tmp_path / "pages").glob("*.html"))


@pytest.mark.parametrize("lost", ["nothing", "definition.json", "study.db"])
def test_going_on_names_the_new_key(old_study: Path, lost: str) -> None:
    (old_study / lost).unlink(missing_ok=True)
    before = {file.name: file.read_bytes() for file in old_study.glob("*.json")}
    with pytest.raises(UserError) as caught:
        run(NOW, old_study)
    line = str(caught.value)
    assert "model.layer_decay is optim.layer_decay now" in line and "--output" in line and "--name" in line
    assert "\n" not in line
    assert before == {file.name: file.read_bytes() for file in old_study.glob("*.json")}


def test_a_study_that_varies_something_else_says_so_too(tmp_path: Path) -> None:
    space = (Choice("data.crop_scale", ([0.2, 1.0], [0.5, 1.0])),)
    saved = definition(space=space, fixed={"model.lr": 0.001})
    (tmp_path / "definition.json").write_text(json.dumps(saved.as_json()))
    with pytest.raises(UserError, match=r"model\.lr is optim\.lr now"):
        run(definition(space=space, fixed={"optim.lr": 0.001}), tmp_path)


def test_a_definition_of_another_version_is_refused() -> None:
    values = {key: value for key, value in OLD.as_json().items() if key != "space"}
    with pytest.raises(UserError, match="space"):
        Definition.from_json(values)
