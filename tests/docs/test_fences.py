"""What the runner of pages reads and how it judges: a page that says what is not so fails."""

import subprocess
from pathlib import Path

import pytest

from tests.docs.fences import TOP, Fence, fences, prints
from tests.docs.pages import PAGES
from tests.docs.runner import WrongPageError, run_page, runs
from tests.docs.stand_ins import Page, stand_in, variables

PAGE = """
# A page

```bash
echo one; echo "two  words"
```

```text
one
```

- a list
    ```bash title="needs a GPU"
    exit 1
    ```

```text
only shown
```

```python
print(3)
```
"""


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tests.docs.runner.TOP", tmp_path)
    return tmp_path


def test_blocks_of_a_page() -> None:
    first, printed, needs, shown, python = fences(PAGE)
    assert first == Fence("bash", "", 'echo one; echo "two  words"', 5, None)
    assert printed == Fence("text", "", "one", 9, 0)
    assert needs == Fence("bash", "needs a GPU", "exit 1", 14, None)
    assert shown.follows == 2
    assert [runs(fence) for fence in (first, printed, needs, shown, python)] == [True, False, False, False, True]
    with pytest.raises(ValueError, match="line 1"):
        fences("```bash\necho")


def test_a_page_runs_and_is_held_to_what_it_says_is_printed(inside: Path) -> None:
    assert run_page(write(inside, PAGE), Page(), inside, inside) == 2
    with pytest.raises(WrongPageError, match=r"page\.md:9"):
        run_page(write(inside, PAGE.replace("\none\n", "\nthree\n")), Page(), inside, inside)
    with pytest.raises(WrongPageError, match="exit status 7"):
        run_page(write(inside, PAGE.replace("echo one;", "echo one; (exit 7);")), Page(), inside, inside)
    with pytest.raises(WrongPageError, match="exit status 1"):
        run_page(write(inside, PAGE.replace("print(3)", "print(three)")), Page(), inside, inside)


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        ("a 1\nb  2\n", None),
        ("a ...\n...\nd", None),
        ("b ...\nc", None),
        ("a 1\nc", "c"),  # b is between them
        ("c\n...\na 1", "a 1"),  # another order
        ("a", "a"),  # a part of a line
        ("e", "e"),
    ],
)
def test_what_is_printed(expected: str, missing: str | None) -> None:
    assert prints(expected, "a 1\n\n  b 2 \nc\nd\n") == missing


def test_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(flags={"predict": "--top 1"}, words={"few": "smoke"})
    for name, value in variables(page).items():
        monkeypatch.setenv(name, value)
    typed = [
        "fit",
        "--recipe",
        "few",
        "--model.weights=mae_vit_base_full",
        "--run.name",
        "base",
        "--data.num_workers=2",
    ]
    assert stand_in(typed) == [
        "fit", "--recipe", "smoke", "--model.weights=mae_vit_smoke", "--run.name", "base", "--data.num_workers=2",
        "--trainer.max_steps", "3", "--trainer.limit_val_batches", "2",
    ]  # fmt: skip
    assert stand_in(["report", "runs/mae_pretrain/base/0"]) == ["report", "runs/mae_pretrain/smoke/0"]
    assert stand_in(["fit", "--ckpt_path", "last"]) == ["fit", "--ckpt_path", "last"]
    assert stand_in(["predict", "a.jpg"]) == ["predict", "a.jpg", "--top", "1"]


def test_pages_that_are_run_exist() -> None:
    assert [name for name in PAGES if not (TOP / "docs" / name).is_file()] == []


def test_nothing_is_left_over_of_a_shell(inside: Path) -> None:
    """A variable of one block is not there in the next: a reader may have closed the terminal."""
    page = write(inside, '```bash\nA=1\n```\n\n```bash\necho "$A"\n```\n')
    with pytest.raises(WrongPageError, match=r"page\.md:6"):
        run_page(page, Page(), inside, inside)
    assert subprocess.run(["bash", "-c", "true"], check=False).returncode == 0
