"""What the processes of a run do together before it begins: find each other, and check that they are alike."""

import os
from functools import partial

import torch

from maekit.base.data import RunData
from maekit.errors import UserError
from maekit.optim.batch_plan import require_batch
from maekit.recipes.recipe import small_batch
from maekit.recipes.settings import Settings
from maekit.system.launch import check_launch_size, find_launch, node_number
from maekit.training.callbacks.interruption import Interruption
from maekit.training.processes.meeting import expect, gathered, join, open_control
from maekit.training.processes.same_start import hosts_of, require_same, start_of
from maekit.training.trainer import check_hardware, device_count, group_timeout, local_device


def num_images(settings: Settings, data: RunData) -> int:
    """Returns how many images there are to train on.

    Raises:
        UserError: they are fewer than the total batch.
    """
    images = len(data.train_dataset(settings.values["run"]["seed"]))
    base_lr, few = settings.values["optim"]["base_lr"], partial(small_batch, settings.recipe)
    require_batch(images, data.total_batch_size, base_lr, few)
    return images


def check_images(settings: Settings, data: RunData) -> None:
    """Refuses data that cannot be trained on before a large model is built; of several processes all do so later.

    Raises:
        UserError: as `num_images`, or there is nothing to train on.
    """
    if find_launch() is None:
        data.require_trainable()
        num_images(settings, data)


def meet(settings: Settings, *, trains: bool) -> None:
    """Joins the processes that torchrun or srun started, or returns at once where there is one.

    Args:
        settings: checked values of every section.
        trains: whether it is a fit.

    Raises:
        UserError: the flags contradict the launcher, this machine lacks the device, or another process is missing.
    """
    launch, failed = find_launch(), None
    try:
        check_hardware(settings)
        values = settings.values["trainer"]
        devices, nodes = device_count(values), values["num_nodes"]
        check_launch_size(launch, devices, nodes, os.environ)
        expect(devices * nodes)
    except UserError as error:
        failed = error
    if launch is not None and launch.world > 1:
        interruption = Interruption(trains=trains)
        interruption.last_words = lambda: ", while it waited for the other processes"
        with interruption:
            device = torch.device("cpu") if failed is not None else local_device(settings)  # there may be no such one
            join(launch, device, group_timeout(settings.values["run"]), failed)
    if failed is not None:
        raise failed


def require_one_device(settings: Settings, what: str) -> None:
    """Refuses several devices for what runs in one process: it sees the same total batch, by accumulation.

    Args:
        settings: checked values of every section.
        what: runs in one process, for the error.

    Raises:
        UserError: several were asked for, or a launcher started several processes.
    """
    values, launch = settings.values["trainer"], find_launch()
    asked = device_count(values) if "trainer.devices" in settings.given else 1
    world = launch.world if launch is not None else asked * values["num_nodes"]
    if world > 1:
        raise UserError(
            f"got {world} devices, expected 1: {what} runs in one process, and accumulates to the recipe's total "
            "batch; give --trainer.devices 1 --trainer.num_nodes 1"
        )


def tell_others(error: UserError) -> None:
    """Ends all processes that a launcher started with the error of this one, which comes before its settings are known.

    Raises:
        UserError: the first failed process's error, the same in all.
    """
    join(find_launch(), torch.device("cpu"), group_timeout({}), error)
    raise error


def check_alike(settings: Settings, data: RunData) -> list[str]:
    """Compares how every process was started with process 0; returns the machines' names. All processes call it.

    Raises:
        UserError: one was started in another way; names the first difference.
    """
    open_control(group_timeout(settings.values["run"]))
    recipe = settings.recipe
    start = start_of(node_number(), recipe.task.name, recipe.name, settings.values, data.identity())
    starts = gathered(start)
    require_same(starts)
    return hosts_of(starts)
