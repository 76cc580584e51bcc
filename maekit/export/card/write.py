"""A model card: what weights are, how they came about, what they are for and what not; only what is known of them."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import ModelCard

from maekit.errors import UserError
from maekit.export.card.front_matter import front_matter
from maekit.export.card.loading import loading, usage
from maekit.export.card.subject import Subject, read_subject
from maekit.export.card.text import CITATION, LIMITS, OUT_OF_SCOPE, PUBLISHED_DATA, plain
from maekit.export.card.training import training_sections
from maekit.export.convert import Target
from maekit.system.files import atomic_write_text


def model_card(source: Path, *, given: str = "", exported: Path | None = None, to: Target | None = None) -> str:
    """Returns the card of weights, in Markdown with the Hugging Face hub's metadata block.

    It holds no path of this machine, but names of files and folders.

    Args:
        source: a file of weights, a checkpoint, or a folder of transformers; a run's record is looked for beside it.
        given: what the user called it, such as mae_vit_base; default: its path.
        exported: what `source` was converted to, which the card is then about.
        to: the layout it was converted to.

    Raises:
        UserError: it cannot be read.
    """
    subject = read_subject(source, given, exported, to)
    title = _title(subject)
    sections = "\n\n".join(f"## {heading}\n\n{text}" for heading, text in _sections(subject) if text)
    block = front_matter(subject, title).to_yaml(line_break="\n")
    # Parsed again, so that a card whose metadata the hub's library cannot read is never written.
    return str(ModelCard(f"---\n{block}\n---\n\n# {title}\n\n{sections}\n"))


def card_place(out: Path, to: Target) -> Path:
    """Returns where the card of an export goes: into a folder, or beside a file under its name and `.md`.

    Raises:
        UserError: there is a file of that name.
    """
    if to == "hf":
        return out / "README.md"
    return new_file(out.with_name(f"{out.name}.md"))


def new_file(path: Path) -> Path:
    """Returns the path itself.

    Raises:
        UserError: it exists.
    """
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{path} exists already, expected the name of a new file for the card; give another or remove it"
        )
    return path


def write_card(text: str, place: Path) -> str:
    """Writes the card and returns the line that reports it."""
    atomic_write_text(place, text)
    return f"wrote {place} (model card)"


def _title(subject: Subject) -> str:
    size, task = subject.facts.size or "a ViT of another kind", subject.run_card.get("task")
    return f"{size}: {_task_name(task)}, recipe {subject.run_card.get('recipe')}" if task else f"{size}: {subject.name}"


def _task_name(task: object) -> str:
    return Path(str(task)).stem if str(task).endswith(".py") else plain(str(task))


def _sections(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yields headings and texts, in the order of the card."""
    licence = subject.licence
    yield "What it is", "\n".join(f"- {line}" for line in _content(subject))
    yield from training_sections(subject)
    yield "Starting weights and licence", f"Started from: {licence.started_from}.\n\n{licence.terms}"
    yield "Intended uses", usage(subject.facts)
    yield "Out of scope", OUT_OF_SCOPE
    yield "Biases and limits", f"{LIMITS}\n{PUBLISHED_DATA}" if licence.authors else LIMITS
    yield "How to load", loading(subject.facts, subject.to)
    yield "Citation", CITATION


def _content(subject: Subject) -> Iterator[str]:
    facts = subject.facts
    yield f"Content: {facts.in_words}"
    heads = f", {facts.num_heads} heads" if facts.num_heads else ""
    size = "" if facts.image_size is None else ", images of {}x{} px".format(*facts.image_size)
    patches = "" if facts.patch_size is None else f", patches of {facts.patch_size} px"
    bands = "" if facts.channels in (None, 3) else f", {facts.channels} bands"
    bands += f" ({', '.join(facts.bands)})" if bands and facts.bands else ""
    shape = f"{facts.embed_dim} wide, {facts.num_blocks} blocks{heads}{patches}{bands}{size}"
    yield f"Encoder: {facts.size or 'ViT'}, {shape}"
    if facts.decoder:
        heads = f", {facts.decoder.num_heads} heads" if facts.decoder.num_heads else ""
        yield f"Decoder: {facts.decoder.embed_dim} wide, {facts.decoder.num_blocks} blocks{heads}"
    if facts.classifier:
        pooling = {"mean": "mean of the patch tokens", "class": "class token"}[facts.classifier.pooling]
        yield f"Classifier: {facts.classifier.num_classes} classes, on the {pooling}"
    encoder = f"{facts.encoder_parameters:,} numbers in the encoder, position table included"
    yield f"Parameters: {encoder}, {subject.num_parameters:,} in all; {', '.join(facts.dtypes)}"
    if subject.step is not None:
        task = _task_name(subject.run_card.get("task"))
        yield f"Training: step {subject.step:,} of {task}, recipe {subject.run_card.get('recipe')}"
