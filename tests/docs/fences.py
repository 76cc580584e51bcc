"""The fenced blocks of a page: its commands, what they print, its Python, and what is only shown."""

import re
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).parents[2]
NOT_RUN = "needs "  # a title that begins so, as in title="needs ImageNet and 8 GPUs": what a test does not have
_OPENING = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[\w+-]*)(?P<rest>.*)$")


class Fence(NamedTuple):
    """One block.

    Attributes:
        language: `bash`, `python`, `text`, ...; empty where the page names none.
        title: what stands in `title="..."`, else empty.
        text: its lines.
        line: number of its first line of text, from 1.
        follows: number of the block of the page that ends right before it, with empty lines alone between, else None.
    """

    language: str
    title: str
    text: str
    line: int
    follows: int | None


def pages() -> list[Path]:
    """The pages of the site, in order of their paths."""
    return sorted((TOP / "docs").rglob("*.md"))


def name_of(page: Path) -> str:
    """`tasks/mae_pretrain.md` of a page."""
    return page.relative_to(TOP / "docs").as_posix()


def fences(text: str) -> list[Fence]:
    """The blocks of a page in order.

    Raises:
        ValueError: a block is not closed.
    """
    found: list[Fence] = []
    inside: tuple[re.Match[str], int] | None = None
    lines, ended = text.splitlines(), -1
    for number, line in enumerate(lines):
        if inside is None:
            if opening := _OPENING.match(line):
                inside = opening, number
            elif line.strip():
                ended = -1
        elif line.strip() == inside[0]["ticks"]:
            opening, first = inside
            title = re.search(r'title="([^"]*)"', opening["rest"])
            body = "\n".join(row.removeprefix(opening["indent"]) for row in lines[first + 1 : number])
            found.append(
                Fence(opening["language"], title[1] if title else "", body, first + 2, ended if ended >= 0 else None)
            )
            inside, ended = None, len(found) - 1
    if inside is not None:
        raise ValueError(f"line {inside[1] + 1}: a block is not closed")
    return found


def prints(expected: str, printed: str) -> str | None:
    """The first line of `expected` that `printed` has not, in this order; None if all are there.

    `...` in a line stands for any text, a line of `...` for any lines. How many spaces there are does not count. In
    the page no line may be missing between two lines that follow each other.
    """
    rows = [" ".join(row.split()) for row in printed.splitlines()]
    rows = [row for row in rows if row]
    place, gap = 0, True
    for line in (" ".join(row.split()) for row in expected.splitlines()):
        if not line:
            continue
        if line == "...":
            gap = True
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in line.split("...")))
        until = len(rows) if gap else min(place + 1, len(rows))
        at = next((index for index in range(place, until) if pattern.fullmatch(rows[index])), None)
        if at is None:
            return line
        place, gap = at + 1, False
    return None
