"""A model card: what weights are, how they came about, what they are for and what not; only what is known of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from maekit.errors import UserError
from maekit.export.card.licence import Licence, hub_name, licence_of
from maekit.export.card.loading import loading, usage
from maekit.export.card.training import training_sections
from maekit.export.card.words import CITATION, LIMITS, OUT_OF_SCOPE, PUBLISHED_DATA, plain
from maekit.export.convert import Target
from maekit.runs.checkpoint_path import run_checkpoint
from maekit.runs.record import Record, read_record
from maekit.system.files import atomic_write_text
from maekit.system.plain import table
from maekit.weights.describe.facts import Facts
from maekit.weights.describe.inspect import inspect
from maekit.weights.read.metadata import card_of, model_settings
from maekit.weights.state.state_file import StateFile, read_state

_PIPELINES = {"encoder": "image-feature-extraction", "pretraining": "image-feature-extraction"}
_PIPELINES |= dict.fromkeys(("classifier_mean", "classifier_class", "linear_probe"), "image-classification")
_PIPELINES |= {"segmenter": "image-segmentation", "detector": "object-detection"}
_LIBRARIES = {"hf": "transformers", "timm": "timm", "mae": "pytorch", "detectron2": "detectron2"}
_OFFICIAL_DATA = "imagenet-1k"  # what all of MAE's published files were trained on


@dataclass(frozen=True)
class Known:
    """All that a card is written from.

    Attributes:
        name: of the file or folder that the card is about, without the folders around it.
        to: the layout it was written in; None for weights as they are.
        facts: what is in it.
        said: the card of the run that made it, or of the file it was converted from; empty where there is none.
        meta: what else that file says.
        record: what the run wrote beside its checkpoint.
        licence: as far as it is known.
        numbers: in all tensors of the file.
    """

    name: str
    to: Target | None
    facts: Facts
    said: Mapping[str, Any]
    meta: Mapping[str, object]
    record: Record
    licence: Licence
    numbers: int

    @property
    def step(self) -> int | None:
        """Optimizer steps that these weights have seen."""
        step = self.said.get("step")
        return step if type(step) is int else None


def model_card(source: Path, *, given: str = "", exported: Path | None = None, to: Target | None = None) -> str:
    """Writes the card of weights, in Markdown with the Hugging Face hub's front matter.

    No path of this machine stands in it, but names of files and folders do.

    Args:
        source: a file of weights, a checkpoint, or a folder of transformers; a run's record is looked for beside it.
        given: what the user called it, such as mae_vit_base; default: its path.
        exported: what `source` was converted to, which the card is then about.
        to: the layout it was converted to.

    Raises:
        UserError: it cannot be read.
    """
    state, about = read_state(source), exported or source
    tensors = read_state(exported).tensors if exported else state.tensors
    facts = replace(inspect(about), path=about.name)
    licence = _licence(given or str(source), state)
    record = Record() if source.is_dir() else read_record(source.parent) if _is_run(state) else Record()
    known = Known(about.name, to, facts, card_of(state.meta), state.meta, record, licence, _count(tensors))
    sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in _sections(known) if text)
    return f"---\n{_front_matter(known)}---\n\n# {_title(known)}\n\n{sections}\n"


def find_checkpoint_in(given: Path) -> Path:
    """The checkpoint that a run's folder stands for: its best one, else its last; other paths as they are."""
    return run_checkpoint(given)


def card_place(out: Path, to: Target) -> Path:
    """Where the card of an export goes: into a folder, or beside a file under its name and `.md`.

    Raises:
        UserError: there is a file of that name.
    """
    if to == "hf":
        return out / "README.md"
    return new_file(out.with_name(f"{out.name}.md"))


def new_file(path: Path) -> Path:
    """The path itself; refuses one that is taken.

    Raises:
        UserError: it is.
    """
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{path} exists already, expected the name of a new file for the card; give another or remove it"
        )
    return path


def write_card(text: str, place: Path) -> str:
    """Writes the card and returns the line that says so."""
    atomic_write_text(place, text)
    return f"wrote {place} (model card)"


def _count(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point())


def _licence(given: str, state: StateFile) -> Licence:
    start, own = model_settings(state.meta).get("weights"), card_of(state.meta).get("licence")
    found = licence_of(given, start if isinstance(start, str) else None)
    if found.ident or not isinstance(own, str):
        return found
    return found._replace(ident=hub_name(own), terms=f"Released under {own}.")


def _is_run(state: StateFile) -> bool:
    return state.layout == "maekit" and bool(card_of(state.meta))


def _title(known: Known) -> str:
    size = known.facts.size or "a ViT of another kind"
    task = known.said.get("task")
    return f"{size}: {_task_name(task)}, recipe {known.said.get('recipe')}" if task else f"{size}: {known.name}"


def _task_name(task: object) -> str:
    return Path(str(task)).stem if str(task).endswith(".py") else plain(str(task))


def _sections(known: Known) -> Iterator[tuple[str, str]]:
    yield "What it is", "\n".join(f"- {line}" for line in _what(known))
    yield from training_sections(known.said, known.meta, known.record, known.facts)
    yield "Starting weights and licence", f"Started from: {known.licence.started_from}.\n\n{known.licence.terms}"
    yield "Intended uses", usage(known.facts)
    yield "Out of scope", OUT_OF_SCOPE
    yield "Biases and limits", f"{LIMITS}\n{PUBLISHED_DATA}" if known.licence.authors else LIMITS
    yield "How to load", loading(known.facts, known.to)
    yield "Citation", CITATION


def _what(known: Known) -> Iterator[str]:
    facts = known.facts
    yield f"Content: {facts.in_words}"
    heads = f", {facts.num_heads} heads" if facts.num_heads else ""
    size = "" if facts.image_size is None else ", images of {}x{} px".format(*facts.image_size)
    patches = "" if facts.patch_size is None else f", patches of {facts.patch_size} px"
    yield f"Encoder: {facts.size or 'ViT'}, {facts.embed_dim} wide, {facts.num_blocks} blocks{heads}{patches}{size}"
    if facts.decoder:
        heads = f", {facts.decoder.num_heads} heads" if facts.decoder.num_heads else ""
        yield f"Decoder: {facts.decoder.embed_dim} wide, {facts.decoder.num_blocks} blocks{heads}"
    if facts.classifier:
        pooling = {"mean": "mean of the patch tokens", "class": "class token"}[facts.classifier.pooling]
        yield f"Classifier: {facts.classifier.num_classes} classes, on the {pooling}"
    encoder = f"{facts.encoder_parameters:,} numbers in the encoder, position table included"
    yield f"Parameters: {encoder}, {known.numbers:,} in all; {', '.join(facts.dtypes)}"
    if known.step is not None:
        task = _task_name(known.said.get("task"))
        yield f"Training: step {known.step:,} of {task}, recipe {known.said.get('recipe')}"


def _front_matter(known: Known) -> str:
    kind, licence = known.facts.kind, known.licence
    tags = ["maekit", "masked-autoencoder", "vit", *(["mae"] if kind in ("encoder", "pretraining") else [])]
    values: dict[str, Any] = {
        "license": licence.ident,
        "base_model": licence.base_model,
        "library_name": "transformers" if known.facts.layout == "transformers" else _LIBRARIES.get(known.to or "", ""),
        "pipeline_tag": _PIPELINES.get(kind, ""),
        "tags": tags,
        "datasets": [_OFFICIAL_DATA] if licence.authors and not known.said else [],
        "metrics": sorted(known.record.measured_at(known.step)),
        "model-index": _model_index(known),
    }
    text = yaml.safe_dump({key: value for key, value in values.items() if value}, sort_keys=False, allow_unicode=True)
    return str(text)


def _model_index(known: Known) -> list[dict[str, Any]]:
    """The results in the hub's form, which wants a data set's name; where that is not known there is none."""
    measured, data = known.record.measured_at(known.step), table(table(known.said.get("config")).get("data"))
    name = plain(data["root"]) if isinstance(data.get("root"), str) else ""
    if not measured or not name:
        return []
    metrics = [{"type": metric, "name": metric, "value": value} for metric, value in measured.items()]
    task = {"type": _PIPELINES.get(known.facts.kind, "image-feature-extraction")}
    result = {"task": task, "dataset": {"name": name, "type": name, "split": "validation"}, "metrics": metrics}
    return [{"name": _title(known), "results": [result]}]
