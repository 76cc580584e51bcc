r"""A document as LaTeX: booktabs tables in a file that compiles by itself, each easily copied into a paper."""

import re
from collections.abc import Iterator

from maekit.report.document import Block, Code, Document, Facts, Findings, Pictures, Table, Text, Value, as_table
from maekit.system.numbers import cell_text
from maekit.system.plain import is_number

_MOST_ROWS = 12  # of a chart, which is written as a table
_MOST_COLUMNS = 10
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"\ensuremath{\pm}",
    "\u00d7": r"\ensuremath{\times}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "→": r"\ensuremath{\rightarrow}",
    "\u2013": "--",
    "—": "---",
    "…": r"\dots{}",
    "[": "{[}",  # after a line's end LaTeX would take them for its own
    "]": "{]}",
    "*": "{*}",
    "-": "{-}",  # so that two of them stay two: --flag
}
_HEAD = r"""% Each table stands alone: copy it with \usepackage{booktabs,float,longtable,graphicx}.
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs,float,longtable,graphicx}
\begin{document}"""


def render_latex(document: Document) -> str:
    """Returns the LaTeX text. Charts become tables of a few rows; the CSV files have all of them."""
    lines = [_HEAD, rf"\section*{{{escape(document.title)}}}", r"\begin{itemize}"]
    lines += [rf"\item {escape(line)}" for line in document.summary or ("",)]
    lines.append(r"\end{itemize}")
    for section in document.sections:
        lines += ["", rf"\subsection*{{{escape(section.title)}}}"]
        for block in section.blocks:
            lines += _block(block)
    return "\n".join([*lines, "", rf"\noindent\emph{{{escape(document.created)}}}", r"\end{document}", ""])


def escape(text: str) -> str:
    """Text on one line with every special character escaped; what pdflatex has no letter for is named by its number."""
    return "".join(_letter(letter) for letter in re.sub(r"\s+", " ", text))


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii():
        return letter if letter.isprintable() else ""
    return letter if "\u00c0" <= letter <= "\u017e" or letter in "§©«»" else f"(U+{ord(letter):04X})"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        for line in block.lines:
            yield f"{escape(line)}\n"
    elif isinstance(block, Findings):
        yield r"\begin{itemize}"
        yield from (rf"\item {escape(one.text)} (\emph{{{escape(one.section)}}})" for one in block.items)
        yield r"\end{itemize}"
    elif isinstance(block, Facts):
        yield from latex_table(Table("facts", ("", ""), block.pairs))
    elif isinstance(block, Table):
        yield from latex_table(block)
    elif isinstance(block, Code):
        yield rf"\noindent {escape(block.caption)}:\\" if block.caption else r"\noindent"
        yield "\\\\\n".join(rf"\texttt{{{escape(line) or '~'}}}" for line in block.text.splitlines())
    elif isinstance(block, Pictures):
        yield f"{escape(block.title)}: {len(block.pictures)} pictures, in the HTML report.\n"
    else:
        yield from latex_table(as_table(block, most=_MOST_ROWS))


def latex_table(table: Table) -> Iterator[str]:
    """Lines of one booktabs table; a long one runs over pages, a wide one is set smaller."""
    if not table.rows:
        yield f"{escape(table.caption or table.name)}: no rows.\n"
        return
    right = [all(isinstance(row[at], int | float | None) for row in table.rows) for at in range(len(table.columns))]
    columns = "".join("r" if number else "l" for number in right)
    head = f"{' & '.join(escape(name) for name in table.columns)} \\\\"
    rows = [f"{' & '.join(_cell(cell) for cell in row)} \\\\" for row in table.rows]
    caption = rf"\caption{{{escape(table.caption)}}}" if table.caption else ""
    size = [r"\footnotesize"] if len(columns) > 6 else []
    if len(rows) > 40:
        top = [rf"{caption}\\"] if caption else []
        yield from ["{", *size, rf"\begin{{longtable}}{{{columns}}}", *top, r"\toprule", head, r"\midrule", r"\endhead"]
        yield from [*rows, r"\bottomrule", r"\end{longtable}", "}"]
    else:
        wide = len(columns) > _MOST_COLUMNS
        yield from [r"\begin{table}[H]", r"\centering", *size, *([caption] if caption else [])]
        yield from [r"\resizebox{\textwidth}{!}{%"] if wide else []
        yield from [rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule", head, r"\midrule", *rows, r"\bottomrule"]
        yield rf"\end{{tabular}}{'}' if wide else ''}"
        yield r"\end{table}"
    if table.note:
        yield rf"\noindent {escape(table.note)}" + "\n"


def _cell(value: Value) -> str:
    text = cell_text(value)
    return text.replace("-", r"\ensuremath{-}", 1) if is_number(value) and value < 0 else escape(text)
