"""Builds a Lightning run from settings, model and data; writes its records and its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer, seed_everything

from maekit.base.checkpoint_card import read_card
from maekit.base.data import RunData
from maekit.base.memory_format import layout_lines
from maekit.base.model import TransferModel
from maekit.data.loader import choose_workers
from maekit.data.loading_plan import plan_loading
from maekit.errors import UserError
from maekit.optim.batch_plan import BatchPlan, describe, solve_batch
from maekit.optim.groups import describe as describe_groups
from maekit.optim.groups import parameter_groups
from maekit.optim.settings import Optimisation
from maekit.optim.share import describe as describe_share
from maekit.recipes.notes import setting_notes
from maekit.recipes.options import RunOptions
from maekit.recipes.recipe import flat, load_recipe, recipe_names
from maekit.recipes.settings import Settings
from maekit.replay.nan_step import FILE
from maekit.runs.begin import finished_step
from maekit.runs.end import written_files
from maekit.runs.folder import shown, surroundings
from maekit.runs.history import add_part
from maekit.runs.read import started_from
from maekit.system.files import atomic_write_text, write_json
from maekit.system.hardware import set_matmul_precision
from maekit.system.terminal import say, say_all
from maekit.training.callbacks.checkpoint_io import AtomicCheckpointIO
from maekit.training.callbacks.evaluation import of_images
from maekit.training.callbacks.interruption import Interruption
from maekit.training.callbacks.of_run import shared_callbacks, training_callbacks
from maekit.training.callbacks.patience import require_validations
from maekit.training.callbacks.record import Record, RunResult, early_stop
from maekit.training.callbacks.validation import count_in_batches
from maekit.training.compiling import set_up
from maekit.training.metadata import card, left_out, plan_of
from maekit.training.module import TransferModule
from maekit.training.nan_guard import first_bad
from maekit.training.processes.environment import environment_of, waiting_line
from maekit.training.progress_state import steps_of
from maekit.training.resume_changes import Resume, plan_lines, require_same_monitor
from maekit.training.search.device_batch import resolve_auto
from maekit.training.start import check_alike
from maekit.training.trainer import loggers, make_trainer, quiet


@dataclass
class Run:
    """The parts of one run, ready to fit or to validate.

    Attributes:
        module: the LightningModule with its model and data.
        trainer: Lightning's Trainer, with every callback.
        plan: how the total batch is made.
        folder: the run's folder, or None for a validation.
        record: loss, speed and result.
        settings: checked values of every section.
        environment: recipe, versions, devices and command, as of before the fit.
        resume: the checkpoint from which the run resumes, if any.
        hosts: names of the machines, once the run has started.
    """

    module: TransferModule
    trainer: Trainer
    plan: BatchPlan
    folder: Path | None
    record: Record
    settings: Settings
    environment: Mapping[str, object] = field(default_factory=dict)
    resume: Resume | None = None
    hosts: list[str] = field(default_factory=list)


def prepare(
    settings: Settings,
    model: TransferModel,
    data: RunData,
    interruption: Interruption,
    *,
    folder: Path | None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Builds the Trainer and the LightningModule around a model and its data, and solves the batch.

    Args:
        settings: checked values of every section.
        model: the task's model.
        data: the task's data, set up.
        interruption: entered around all this and the fit, so that signals stop it in order.
        folder: the run's folder; None writes nothing (validation).
        callbacks: further Lightning callbacks.
    """
    quiet()
    options = RunOptions(**settings.values["run"])
    every = settings.values["trainer"].get("log_every_n_steps") or 50
    record = Record(folder or Path(), every)
    hosts: list[str] = []
    own = [*shared_callbacks(settings, record, lambda: hosts.extend(check_alike(settings, data))), *callbacks]
    if model.local_batch_norm and settings.values["trainer"].get("sync_batchnorm"):
        raise UserError(
            "got --trainer.sync_batchnorm true, expected false: this task's BatchNorm measures each device's own batch"
        )
    if folder is not None:
        own = training_callbacks(
            settings, model, folder, record, interruption, own=own, start=lambda: write_records(run)
        )
    set_matmul_precision(options.matmul_precision)
    say_all(resolve_auto(settings, model, data, trains=folder is not None))
    trainer = make_trainer(settings, own, loggers(folder, options) if folder else [])
    interruption.trainer = trainer
    say_all(layout_lines(model, channels_last=options.channels_last))
    together = settings.values["trainer"].get("sync_batchnorm") and trainer.world_size > 1
    least = 1 if folder is None or (together and trainer.strategy.root_device.type != "cpu") else model.least_images
    size, paired = data.images_at_once(), model.pairs_images
    plan = solve_batch(data.total_batch_size, size, trainer.world_size, even=paired, least=least)
    trainer.accumulate_grad_batches = plan.accumulation
    world = max(trainer.num_devices, 1)
    given, data.num_workers = data.num_workers, choose_workers(data.num_workers, world)
    metadata = {**card(settings, model, data), "plan": plan_of(plan)}
    optim = settings.values.get("optim")
    module = TransferModule(model, data, optim and Optimisation(**optim), plan=plan, seed=options.seed, card=metadata)
    if folder is not None:
        kind = trainer.strategy.root_device.type
        module.batches.loading = plan_loading(given, module.batches.images, plan.device_batch, world, kind)
        data.num_workers = module.batches.loading.workers
    count_in_batches(trainer, plan.accumulation, module.steps_per_epoch)
    if folder is not None:
        module.nan_step = folder / FILE if options.keep_nan_step else None
        total = total_steps(settings, module.steps_per_epoch)
        say_all(require_validations(trainer, module, options, settings.given, total))
        say_all(setting_notes(settings, plan.total, total, module.steps_per_epoch))
    run = Run(module, trainer, plan, folder, record, settings, hosts=hosts)
    if options.num_threads is not None:
        torch.set_num_threads(options.num_threads)
    run.environment = environment(run)
    return run


def saved_step(folder: Path, interruption: Interruption) -> int | None:
    """Returns the step of last.ckpt if the run stopped at another step; None if at the same, or nothing is saved."""
    file = folder / "last.ckpt"
    step = read_card(file).step if file.is_file() else None
    return None if step == interruption.step else step


def choose_content(run: Run) -> None:
    """Decides what the checkpoints of a run that is about to train leave out."""
    saved = read_card(run.resume.path).start if run.resume is not None else None
    run.module.start = left_out(run.settings, run.module.model, saved)


def choose_compiling(run: Run) -> None:
    """Decides whether the training losses of a run that is about to train are compiled, and says so."""
    total = total_steps(run.settings, run.module.steps_per_epoch)
    left = total - (run.resume.step if run.resume is not None else 0)
    flag, given = run.settings.values["run"]["compile"], "run.compile" in run.settings.given
    choice = set_up(run.module, run.trainer, flag, left, given=given)
    run.environment = {**run.environment, "compile": choice.line(run.module.model.compiled)}


def accept(run: Run, resume: Resume) -> list[str]:
    """Checks that a run can resume from a checkpoint, and makes it do so; nothing in its folder is written yet.

    Args:
        run: of `prepare`.
        resume: the checkpoint, and what may differ from it.

    Returns:
        Lines for the terminal: how the batch is now divided, if it changed.

    Raises:
        UserError: the run cannot resume from the checkpoint, or has nothing left to do.
    """
    stop = run.settings.values["run"]["stop_at_step"]
    if stop is not None and resume.step > stop:
        raise UserError(
            f"{resume.path} is at step {resume.step}, beyond --run.stop_at_step {stop}; leave that out, or give more"
        )
    if run.folder is not None:
        require_same_monitor(run.folder, run.module.model.monitor[0])
    checkpoint = AtomicCheckpointIO().load_checkpoint(resume.path)
    run.resume = run.module.resume = resume
    state = run.module.resumed_optimizer(checkpoint)
    moments = [(f"the optimizer's {key}", t) for kept in state["state"].values() for key, t in kept.items()]
    if bad := first_bad([*checkpoint["state_dict"].items(), *moments]):
        raise UserError(
            f"{resume.path} has NaN or infinity in {bad}, so no run can go on from it; start a new run from "
            "best.ckpt: --model.weights FILE"
        )
    return plan_lines(resume.plan, plan_of(run.plan))


def start_records(run: Run) -> None:
    """Prints folder, data, batch, layers and device of a run that is about to train, on the first process."""
    if run.folder is None or not run.trainer.is_global_zero:
        return
    optimisation = run.module.optimisation
    rows = optimisation.rows(run.module.model, run.module.model.backbone, run.plan.total)
    say(f"run     {shown(run.folder)}")
    loading = run.module.batches.loading.describe(pin=run.trainer.strategy.root_device.type == "cuda")
    say(f"data    {run.module.data.summary()}; {loading}")
    say(f"batch   {describe(run.plan, base_lr=optimisation.base_lr, lr=optimisation.peak_lr(run.plan.total))}")
    share = describe_share(run.module.model, random=run.settings.values["model"]["weights"] == "none")
    say(f"layers  {describe_groups(parameter_groups(run.module.model, rows))}; {share}")
    say(f"device  {device_of(run)}")
    if line := waiting_line(run.trainer.num_nodes, environment_of(run.trainer)):
        say(line)


def write_records(run: Run) -> None:
    """Saves config, classes and environment in the run's folder: of a resumed run those of its newest part."""
    assert run.folder is not None
    if finished_step(run.folder) is not None:  # the run is extended, so that result is no longer final
        (run.folder / "metrics.json").unlink()
    changed, new_data = (run.resume.changes, bool(run.resume.new_data)) if run.resume else ({}, False)
    add_part(run.folder, run.trainer.global_step, run.environment, changed, new_data)
    began = run.module.model.pretraining or started_from(run.folder)  # a resumed run does not load its weights again
    write_json(run.folder / "environment.json", {**run.environment, "nodes": run.hosts, "pretraining": began})
    atomic_write_text(run.folder / "config.yaml", run.settings.yaml())
    if names := run.module.model.spec.class_names:
        atomic_write_text(run.folder / "classes.txt", "\n".join(names) + "\n")


def total_steps(settings: Settings, steps_per_epoch: int) -> int:
    """Optimizer steps of the whole run, by its settings."""
    values = settings.values["trainer"]
    return steps_of(values.get("max_steps"), values.get("max_epochs"), steps_per_epoch)


def device_of(run: Run) -> str:
    """Returns the devices and the precision, as `2 nodes x 8 cuda, precision bf16-mixed, TF32 off`."""
    nodes, kind = run.trainer.num_nodes, run.trainer.strategy.root_device.type
    each = f"{nodes} nodes x {run.trainer.num_devices}" if nodes > 1 else f"{run.trainer.world_size} x"
    tf32 = "on" if run.settings.values["run"]["matmul_precision"] == "high" else "off"
    return f"{each} {kind}, precision {run.trainer.precision}" + (f", TF32 {tf32}" if kind == "cuda" else "")


def environment(run: Run) -> dict[str, object]:
    """Returns the contents of `environment.json`: recipe as shipped, given flags, data, versions and devices."""
    settings = run.settings
    recipe, (metric, mode) = settings.recipe, run.module.model.monitor
    shipped = load_recipe(recipe.task, recipe.name) if recipe.name in recipe_names(recipe.task) else None
    added = {key for key, file in recipe.origins.items() if shipped and file not in shipped.files}
    return {
        "task": recipe.task.given_as,
        "recipe": recipe.name,
        "given": sorted(settings.given | added),
        "recipe_values": dict(flat(shipped.values)) if shipped else None,
        "defaults": {key: settings.defaults.get(key) for key in sorted(settings.given | added)},
        "monitor": [f"val/{metric}", mode],
        "total_steps": steps_of(run.trainer.max_steps, run.trainer.max_epochs, run.module.steps_per_epoch)
        if run.folder
        else None,
        "total_batch": run.plan.total,
        "data": {**run.module.data.identity().plain(), "summary": run.module.data.summary()},
        **surroundings(device_of(run)),
        "matmul_precision": settings.values["run"]["matmul_precision"],
    }


def finish(run: Run) -> RunResult:
    """Writes `metrics.json`, prints the final lines, and returns the result."""
    result = run.record.result(run.trainer, run.module)
    if run.trainer.is_global_zero:
        best = result["best"]
        reached = (
            f"best {best['metric']} {best['value']:.3f} at step {best['step']}"
            if best and best["value"] is not None
            else ""
        )
        speed = f", {result['images_per_second']} images/s" if result["images_per_second"] else ""
        if (early := early_stop(run.trainer)) is not None and "early_stop" in result:
            say(f"early   at step {result['step']} of {run.module.total_steps()}: {early.ended().words()}")
        word = {"finished": "done  ", "stopped": "stopped"}.get(result["status"], "paused")
        if result["status"] == "stopped":
            reached = f"by {result['stopped_by']} at step {result['step']}; {reached}"
        say(f"{word}  {reached} in {result['seconds']:.0f} s{speed}, peak memory {result['peak_memory_gib']} GiB")
        assert run.folder is not None
        say(f"        {shown(run.folder)}: {written_files(run.folder)}")
    return result


def evaluation_files(run: Run) -> dict[str, object]:
    """Returns the newest validation's files by name, text or plain values for JSON; the first process has them."""
    return {**run.module.results, **of_images(run.module)} if run.trainer.is_global_zero else {}


def seed_all(seed: int) -> None:
    """Seeds Python, NumPy and torch, from which the initial weights are drawn."""
    seed_everything(seed, verbose=False)
