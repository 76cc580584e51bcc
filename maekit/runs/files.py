"""The single files of a run's folder. A missing, cut or damaged file is no error: it is read as far as it goes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from maekit.system.plain import JSON
from maekit.system.yaml_loader import YAML_LOADER

CONFIG, ENVIRONMENT, METRICS = "config.yaml", "environment.json", "metrics.json"
CLASSES, HISTORY, EVALUATION, PER_CLASS = "classes.txt", "history.json", "evaluation.json", "per_class.json"
NAN_STEP = "nan_step.pt"
DATA, SAMPLES = "data.json", "samples.png"
IMAGE_SCORES, CONFUSION, CURVES = "image_scores.csv", "confusion.json", "curves.json"


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        values: by key; empty where the file is missing or damaged.
        problem: a line that says which of the two it is; None for a whole file.
    """

    values: Mapping[str, JSON]
    problem: str | None


def read_mapping(file: Path) -> Content:
    """Reads a YAML file, or a JSON file by its ending `.json`, whose top level is a mapping."""
    damaged = Content({}, f"{file.name} is cut off or damaged")
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.load(text, YAML_LOADER)
    except FileNotFoundError:
        return Content({}, f"{file.name} is missing")
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return damaged
    return Content(found, None) if isinstance(found, dict) else damaged
