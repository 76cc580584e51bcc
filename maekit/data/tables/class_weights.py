"""Reads the weights of classes from a file: one `class,weight` a line, or a mapping."""

import csv
import json
import math
from collections.abc import Sequence, Set
from pathlib import Path

import yaml

from maekit.base.spec import DataSpec
from maekit.data.folders.text import read_text
from maekit.errors import UserError, nearest
from maekit.system.numbers import plural, written_number

MAPPINGS = (".json", ".yaml", ".yml")
FORM = "expected one `class,weight` a line (CSV), or a mapping of class to weight (JSON, YAML)"


def file_weights(file: Path, spec: DataSpec) -> list[float]:
    """Returns the weights of a file in label order; its classes are the data's names or, as folder names, their ids.

    Raises:
        UserError: the file is missing, is of another form, lacks a class or has one that is none of the data's.
    """
    if not file.is_file():
        raise UserError(f"model.class_weights: got '{file}', expected auto, none or a file that exists; mend the path")
    found = _pairs(file, {*spec.ids(), *spec.class_names})
    labels = spec.ids() if set(found) & set(spec.ids()) else spec.class_names
    unknown = next((name for name in found if name not in set(labels)), None)
    if unknown is not None:
        raise UserError(
            f"{file}: '{unknown}' is none of the {len(labels):,} classes of the data{nearest(unknown, labels)}; mend "
            "its name, or remove it"
        )
    missing = next((name for name in labels if name not in found), None)
    if missing is not None:
        raise UserError(
            f"{file}: got no weight for class '{missing}', expected one for each of the {len(labels):,} classes"
            f"{nearest(missing, found)}; add it"
        )
    return [found[name] for name in labels]


def _pairs(file: Path, labels: Set[str]) -> dict[str, float]:
    """The classes of a file and their weights, as far as they are numbers above 0; `labels` are the data's classes."""
    rows = _rows(file)
    if rows and file.suffix.lower() not in MAPPINGS and _number(rows[0][1]) is None and rows[0][0] not in labels:
        rows = rows[1:]  # a header
    found: dict[str, float] = {}
    for name, text in rows:
        value = _number(text)
        if value is None or not 0 < value < math.inf:
            raise UserError(f"{file}: got '{text}' for class '{name}', expected a weight above 0; mend it")
        if name in found:
            raise UserError(f"{file}: got class '{name}' twice, expected each class once; remove one")
        found[name] = value
    if not found:
        raise UserError(f"{file}: got no weights, {FORM}")
    return found


def _rows(file: Path) -> Sequence[tuple[str, object]]:
    text, ending = read_text(file), file.suffix.lower()
    if ending in MAPPINGS:
        return _mapping(file, text)
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = "\t" if ending == ".tsv" else ";" if ";" in first and "," not in first else ","
    lines = csv.reader(text.splitlines(), delimiter=delimiter)
    cells = [[cell.strip() for cell in line] for line in lines if any(cell.strip() for cell in line)]
    if bad := next((line for line in cells if len(line) != 2), None):
        raise UserError(f"{file}: got a line of {plural(len(bad), 'cell')}, '{','.join(bad)}', {FORM}; mend it")
    return [(name, weight) for name, weight in cells]


def _mapping(file: Path, text: str) -> Sequence[tuple[str, object]]:
    """The pairs of a mapping, as text and with repeats: `no` and `01` are names of classes, too."""
    try:
        if file.suffix.lower() == ".json":
            pairs = json.loads(text, object_pairs_hook=list)
        else:
            node = yaml.compose(text, Loader=yaml.BaseLoader)
            pairs = node.value if isinstance(node, yaml.MappingNode) else None
            pairs = pairs and [(key.value, value.value) for key, value in pairs]
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({' '.join(str(error).split())}), {FORM}; mend it") from None
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        raise UserError(f"{file}: got no mapping, {FORM}; mend it")
    return pairs


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return written_number(str(value))
    except ValueError:
        return None
