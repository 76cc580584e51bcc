"""The weights that a model card is about: everything that is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from maekit.export.card.licence import Licence, hub_name, licence_of
from maekit.export.convert import Target
from maekit.runs.record import Record, read_record
from maekit.weights.describe.inspect import inspect
from maekit.weights.families.facts import Facts
from maekit.weights.read.metadata import card_of, model_settings
from maekit.weights.state.pretraining import licence_in
from maekit.weights.state.state_file import StateFile, read_state


@dataclass(frozen=True)
class Subject:
    """All that a card is written from.

    Attributes:
        name: of the file or folder that the card is about, without the folders around it.
        to: the layout it was written in; None for weights as they are.
        facts: what is in it; its path is `name`.
        run_card: the card of the run that made it, or of the file it was converted from; empty if there is none.
        metadata: what that file says besides its tensors.
        record: what the run wrote beside its checkpoint.
        licence: as far as it is known.
        num_parameters: floating numbers in all tensors of the file.
    """

    name: str
    to: Target | None
    facts: Facts
    run_card: Mapping[str, object]
    metadata: Mapping[str, object]
    record: Record
    licence: Licence
    num_parameters: int

    @property
    def step(self) -> int | None:
        """Optimizer steps that these weights have seen; None if the file does not say."""
        step = self.run_card.get("step")
        return step if type(step) is int else None

    def measured(self) -> dict[str, float]:
        """Returns the metrics that the run measured of these very weights, by name."""
        return self.record.measured_at(self.step)


def read_subject(source: Path, given: str, exported: Path | None, to: Target | None) -> Subject:
    """Reads what is known of weights; arguments and errors are those of `model_card`."""
    state, about = read_state(source), exported or source
    tensors = read_state(exported).tensors if exported else state.tensors
    run_card = card_of(state.meta)
    of_run = state.layout == "maekit" and bool(run_card) and not source.is_dir()
    return Subject(
        name=about.name,
        to=to,
        facts=replace(inspect(about), path=about.name),
        run_card=run_card,
        metadata=state.meta,
        record=read_record(source.parent) if of_run else Record(),
        licence=_licence(given or str(source), state),
        num_parameters=sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()),
    )


def _licence(given: str, state: StateFile) -> Licence:
    start, own = model_settings(state.meta).get("weights"), card_of(state.meta).get("licence")
    found = licence_of(given, start if isinstance(start, str) else None)
    if found.ident or isinstance(own, str):
        return found if found.ident else found._replace(ident=hub_name(str(own)), terms=f"Released under {own}.")
    if not (told := licence_in(state, Path(given))):
        return found
    by_config = state.meta.get("licence")  # of timm
    ident = hub_name(by_config) if isinstance(by_config, str) else ""
    return found._replace(ident=ident, terms=f"{found.terms} What is in the file tells: {told}.")
