"""The fingerprint of a task's flags changes with every line that decides them, and with no other."""

from pathlib import Path

import pytest

from maekit.recipes import declared
from maekit.recipes.declared import NotFollowedError, fingerprint

FILES = {
    "tasks/page.py": """
from maekit.family.data import Folders as Data
from maekit.family.model import Base, Settings
class Model(Base):
    def __init__(self, spec, settings: "Settings"):
        self.rate = settings.rate
""",
    "family/model.py": """
import torch
from maekit.kinds import KINDS, Kind
from maekit.parent import Parent
from maekit.more import other, rate
def middle():
    return sorted(KINDS)[1]
class Base(torch.nn.Module):
    evaluates_only: bool = False
    def step(self):
        return 1
@dataclass(frozen=True)
class Settings(Parent):
    \"\"\"Args:
        kind: what it is.
    \"\"\"
    kind: Kind = field(default_factory=middle)
    number: ClassVar[int] = 3
    rate: "Rate" = 0.5
    def check(self):
        return 2
if True:
    Rate = float
unused = 4
""",
    "family/data.py": "@dataclass\nclass Folders:\n    root: str | None = None\n    def read(self): return 5\n",
    "kinds/__init__.py": "KINDS = ['a', 'b']\nKind = Literal['a', 'b']\n",
    "parent.py": "@dataclass\nclass Parent:\n    weights: str\n",
}
DECIDE = [
    ("tasks/page.py", "(Base)", "(Settings)"),
    ("family/model.py", "evaluates_only: bool = False", "evaluates_only: bool = True"),
    ("family/model.py", "what it is", "what it was"),
    ("family/model.py", "'Rate' = 0.5", "'Rate' = 0.6"),
    ("family/model.py", "Rate = float", "Rate = int"),
    ("family/model.py", "[1]", "[0]"),
    ("family/model.py", "Settings(Parent)", "Settings"),
    ("family/data.py", "None = None", "None = 'x'"),
    ("kinds/__init__.py", "['a', 'b']\nKind", "['a', 'c']\nKind"),
    ("kinds/__init__.py", "Literal['a', 'b']", "Literal['a']"),
    ("parent.py", "weights: str", "weight: str"),
]
DO_NOT = [
    ("family/model.py", "return 1", "return 7"),
    ("family/model.py", "return 2", "return 7"),
    ("family/model.py", "= 3", "= 7"),
    ("family/model.py", "unused = 4", "unused = 7"),
    ("family/data.py", "return 5", "return 7"),
    ("tasks/page.py", "settings.rate", "settings.kind"),
    ("family/model.py", "import other, rate", "import rate"),
    ("family/model.py", "import KINDS, Kind", "import KINDS, Kind, Other"),
]


def of(folder: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str, str] | None = None) -> str:
    place = folder / f"{len(list(folder.iterdir()))}" / "maekit"
    for name, text in FILES.items():
        if change is not None and change[0] == name:
            assert change[1].replace("'Rate'", '"Rate"') in text, change
            text = text.replace(change[1].replace("'Rate'", '"Rate"'), change[2].replace("'Rate'", '"Rate"'))
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    monkeypatch.setattr(declared, "PACKAGE", place)
    return fingerprint(place / "tasks/page.py")


def test_a_line_that_decides_a_flag_changes_the_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of(tmp_path, monkeypatch)
    changed = [of(tmp_path, monkeypatch, change) for change in DECIDE]
    assert before not in changed and len(set(changed)) == len(DECIDE)
    assert {of(tmp_path, monkeypatch, change) for change in DO_NOT} == {before}


def test_a_name_that_is_not_found_is_not_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFollowedError):
        of(tmp_path, monkeypatch, ("kinds/__init__.py", "Kind =", "Sort ="))
