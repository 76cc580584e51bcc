"""The Python interface: a task built from its recipe, trained and validated without the command line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from maekit.base.checkpoint_card import Card, read_card
from maekit.base.data import TransferData
from maekit.base.follow import follow_weights
from maekit.base.model import TransferModel
from maekit.errors import UserError
from maekit.optim.lr_curve import LrCurve
from maekit.recipes.overrides import as_flags
from maekit.recipes.recipe import load_recipe
from maekit.recipes.settings import Settings, resolve
from maekit.recipes.tasks import find_task
from maekit.runs.begin import begun, is_finished, resumed
from maekit.runs.checkpoint_path import find_checkpoint
from maekit.runs.end import after_stop, finished_lines, says_how_to_resume
from maekit.runs.read import read_run
from maekit.system.launch import node_number
from maekit.system.terminal import say_all
from maekit.training.one_line_errors import one_line_errors
from maekit.training.process import check_launch, restored
from maekit.training.processes.meeting import from_first, joined, on_first, one_outcome
from maekit.training.processes.sent_file import on_this_machine
from maekit.training.resume_changes import Resume, change_lines, resume_of, say_measured_otherwise
from maekit.weights.load.backbone import load_backbone

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from maekit.training.run import Run

__all__ = ["Session", "build", "load_backbone"]


def build(
    task: str | Path,
    recipe: str | None = None,
    overrides: Mapping[str, object] | None = None,
    config: str | Path | Sequence[str | Path] = (),
) -> "Session":
    """Builds a task's model and data from its recipe.

    Args:
        task: a shipped task's name, or the path of your own task.py.
        recipe: an overlay such as `base`; default: the task's base recipe.
        overrides: dotted keys and values, as the flags of `maekit fit`: `{"data.root": Path("photos")}`. NumPy's and
            torch's numbers, tuples, None and timedelta are taken as well.
        config: your own YAML files on top of the recipe, or one.

    Returns:
        A session with `model`, `data`, `fit()` and `validate()`.

    Raises:
        UserError: an unknown task, recipe, key or value, data that are not there, or unfit devices, in one line.
    """
    files = [config] if isinstance(config, str | Path) else config
    stacked = load_recipe(find_task(str(task)), recipe, [Path(file) for file in files])
    module = stacked.task.load()
    settings = resolve(stacked, module, as_flags(overrides or {}), training=True)
    say_all(follow_weights(settings, module.Model))
    return Session(settings, module)


class Session:
    """One task with its model and data, ready to train or to validate.

    Each `fit` and `validate` starts with the model as built, with one seed. The trained one stays `model` until then.

    Args:
        settings: checked values of every section.
        module: the task's Python module.
        trains: check before the model is built that the data can be trained on, as `fit` does after that.

    Attributes:
        data: the task's data, read from its folder.
        model: the task's model with its initial weights; `fit` and `validate` load `--model.weights` into it.
        results: after `validate`, contents of the evaluation's files, by file name: text of a table, else plain values.
        environment: after `validate`, task, recipe, versions, devices and command.
    """

    def __init__(self, settings: Settings, module: ModuleType, *, trains: bool = False) -> None:
        from maekit.training import run, start, trainer

        trainer.check_hardware(settings)
        self.settings = settings
        self.data: TransferData = module.Data(**settings.values["data"])
        self.data.setup()
        settings.values["data"].update(self.data.resolved())
        if trains:
            start.check_images(settings, self.data)
        run.seed_all(settings.values["run"]["seed"])
        self.model: TransferModel = module.Model.build(self.data.spec(), settings.values["model"])
        self._module, self._used = module, False
        self.results: dict[str, Any] = {}
        self.environment: dict[str, object] = {}

    @restored()
    def fit(
        self,
        ckpt_path: str | Path | None = None,
        *,
        words: Sequence[str] = (),
        callbacks: "Sequence[Callback]" = (),
    ) -> dict[str, Any]:
        """Trains a new run, or resumes one.

        Args:
            ckpt_path: the last.ckpt of the run to resume, or its folder; the run continues in that folder. A finished
                run is trained further only with `run.extend`.
            words: the command-line words after `maekit`, for the message of an interrupted run; empty from Python.
            callbacks: your own Lightning callbacks.

        Returns:
            The run's result, as in its `metrics.json` (`status`, `step`, `val`, `best` and so on), and its `folder`.

        Raises:
            UserError: the run was refused before anything was written, or it failed.
            Interrupted: a signal stopped the run; the message says what was saved and how to resume.
        """
        from maekit.training import run, start

        self.settings.require_training()
        with self._together(trains=True):
            self._start_afresh()
            self.data.require_trainable()
        options, weights = self.settings.values["run"], self.settings.given_weights()
        # for this call only, as is new_data: not kept in checkpoints
        extend, options["extend"] = options["extend"], False
        new_data, options["new_data"] = options["new_data"], False
        images = start.num_images(self.settings, self.data)
        with ExitStack() as stack:
            if ckpt_path is None:
                task, recipe = self.settings.recipe.task.name, self.settings.recipe.name
                with one_outcome():
                    loaded = self.model.load_start(complete=False)
                    new = stack.enter_context(begun(Path(options["folder"]), task, recipe, options["name"]))
                lines = [] if loaded is None else loaded.lines()
                return self._train(Path(from_first(str(new))), None, lines, words, callbacks)
            saved = on_first(lambda: find_checkpoint(str(ckpt_path), Path(), purpose="resume"))
            path = stack.enter_context(on_this_machine(saved, node_number()))
            with one_outcome():
                folder = stack.enter_context(resumed(saved.parent))
                card = self._check_card(path)
                options["name"] = card.require_name(options["name"], folder)
                resume = resume_of(path, card, self.settings, self.data.identity(), new_data=new_data)
            total = run.total_steps(self.settings, images // self.data.total_batch_size)
            if on_first(lambda: is_finished(folder, card.step, total, options["patience"], extend=extend)):
                say_all(finished_lines(folder, card.step))
                return {**on_first(lambda: read_run(folder).metrics), "folder": str(folder)}
            with one_outcome(), one_line_errors(change_lines(resume.changes)):
                self.model.load_checkpoint(path, weights)
            return self._train(folder, resume, [], words, callbacks)

    @contextmanager
    def _together(self, *, trains: bool) -> Iterator[None]:
        """Joins the other processes, runs the block, and checks that all were started alike."""
        from maekit.training.start import check_alike, meet

        meet(self.settings, trains=trains)
        with one_outcome():
            yield
        if joined():
            check_alike(self.settings, self.data)

    def _train(
        self,
        folder: Path,
        resume: Resume | None,
        lines: Sequence[str],
        words: Sequence[str],
        callbacks: "Sequence[Callback]",
    ) -> dict[str, Any]:
        """Trains in a folder that only this process writes, from an accepted checkpoint or from the start."""
        from maekit.system.hardware import autocast_of
        from maekit.training import run
        from maekit.training.callbacks.interruption import Interruption
        from maekit.training.trainer import local_device, refusals

        interruption = Interruption(first_step=resume.step if resume is not None else 0)
        step = partial(run.saved_step, folder, interruption)
        interruption.last_words = partial(after_stop, folder, words, step)
        changed = change_lines(resume.changes) if resume is not None else []
        with says_how_to_resume(folder, words, step), interruption:
            device = local_device(self.settings)
            with autocast_of(self.settings.values["trainer"].get("precision", "auto"), device.type):
                data = self.model.training_data(self.data, device)
            with one_outcome():
                job = run.prepare(self.settings, self.model, data, interruption, folder=folder, callbacks=callbacks)
                if resume is not None:
                    lines = [*resume.lines, *run.accept(job, resume)]
                run.choose_content(job)
                self._check_process(job, trains=True)
            run.start_records(job)
            run.choose_compiling(job)
            say_all(lines)
            with one_line_errors(changed), refusals():
                job.trainer.fit(job.module, ckpt_path=resume.path if resume else None, weights_only=True)
        return {**run.finish(job), "folder": str(folder)}

    @restored()
    def validate(self, ckpt_path: str | Path | None = None) -> dict[str, float]:
        """Measures a checkpoint, or the weights the settings name, on the validation images.

        Args:
            ckpt_path: a checkpoint of this task, or a run's folder (its best.ckpt, else last.ckpt); None measures
                `model.weights`.

        Returns:
            The value of each metric, by name, in the unit of the reports: top-1, mIoU and AP are 0 to 100.

        Raises:
            UserError: there is no such checkpoint, it is of another task or of other classes, or no weights were given.
        """
        from maekit.training import run
        from maekit.training.callbacks.interruption import Interruption
        from maekit.training.trainer import refusals

        if ckpt_path is not None and self.model.evaluates_only:
            raise UserError(f"this task has no checkpoints of its own; give it as --model.weights {ckpt_path}")
        with self._together(trains=False):
            self._start_afresh()
        interruption = Interruption(trains=False)
        with ExitStack() as stack:
            saved, path = None, None
            if ckpt_path is not None:
                saved = on_first(lambda: find_checkpoint(str(ckpt_path), Path()))
                path = stack.enter_context(on_this_machine(saved, node_number()))
            measured: dict[str, object] = {}
            with one_outcome():
                job = run.prepare(self.settings, self.model, self.data, interruption, folder=None)
                if path is not None:
                    card = self._check_card(path)
                    measured = {"checkpoint": str(saved), "step": card.step}
                    if card.start is not None:  # else Lightning reads all of it
                        self.model.load_checkpoint(path, self.settings.given_weights())
                elif report := self.model.load_start(complete=True):
                    say_all(report.lines())
                    say_measured_otherwise(self.settings, report.path if report.layout == "maekit" else None)
                changed = say_measured_otherwise(self.settings, path)
                self._check_process(job, trains=False)
            with interruption, one_line_errors(changed), refusals():
                job.trainer.validate(job.module, ckpt_path=path, verbose=False, weights_only=True)
        say_all(job.module.table)
        self.results = run.evaluation_files(job)
        self.environment = {**job.environment, **({"checkpoint": measured} if measured else {})}
        return job.record.validated

    @restored()
    def lr_find(
        self,
        first: str | float = "0.01x",
        last: str | float = "100x",
        steps: int = 100,
        *,
        progress: Callable[[LrCurve], object] | None = None,
    ) -> LrCurve:
        """Runs a learning-rate range test; leaves this session, its model and every generator as they were.

        Args:
            first: the ramp's first rate, in the recipe's terms (`base_lr` or `lr`), or a multiple of the recipe's own.
            last: its last rate, likewise.
            steps: optimizer steps, 10 or more, each of the recipe's total batch.
            progress: called with the curve so far after each step.

        Returns:
            The curve, with its `suggestion()`.

        Raises:
            UserError: the ramp does not rise, or the task, its data or its devices do not allow a test.
        """
        from maekit.training.search.lr_find import find_lr, ramp_of

        self.settings.require_training()
        ramp = ramp_of(self.settings.values["optim"], str(first), str(last), steps)
        build = partial(self._module.Model.build, self.data.spec(), self.settings.values["model"])
        return find_lr(self.settings, self.data, build, ramp, progress)

    def _check_process(self, job: "Run", *, trains: bool) -> None:
        check_launch(job.trainer.world_size, launches=job.trainer.strategy.launcher is not None, trains=trains)

    def _start_afresh(self) -> None:
        from maekit.training.run import seed_all

        if self._used:
            seed = self.settings.values["run"]["seed"]
            seed_all(seed)
            self.model = self._module.Model.build(self.data.spec(), self.settings.values["model"])
            say_all([f"model   built afresh with seed {seed}: this session was used before"])
        self._used = True

    def _check_card(self, path: Path) -> Card:
        card = read_card(path)
        card.require_task(self.settings.recipe.task.name, path)
        card.require_classes(self.data.spec(), path)
        return card
