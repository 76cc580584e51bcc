"""The device batches of a run: its loaders, the seeds of a step's draws, and one batch of a step once more."""

from itertools import islice

from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Sampler

from maekit.base.data import DrawDataset, RunData
from maekit.base.spec import Draw
from maekit.data.loader import TimedLoader, choose_prefetch, make_loader
from maekit.data.loading_plan import Loading
from maekit.data.sampler import EvalSampler, TrainSampler
from maekit.optim.batch_plan import BatchPlan
from maekit.system.generators import seed_generators
from maekit.training.examples import collated


class Batches:
    """What a run trains and validates on, batch by batch, in each of its processes.

    Args:
        data: the data set, set up.
        plan: how the total batch is made of devices, device batch and accumulation.
        seed: randomness of a step comes from (seed, step, device batch, rank), of a sample from (seed, epoch, index).

    Attributes:
        images: the training images.
        steps_per_epoch: optimizer steps of an epoch.
        loading: workers and prefetching.
    """

    def __init__(self, data: RunData, plan: BatchPlan, seed: int) -> None:
        self.data, self.plan, self.seed = data, plan, seed
        self.images = data.train_dataset(seed)
        self.steps_per_epoch = len(self.images) // plan.total
        workers = data.num_workers or 0
        self.loading = Loading(workers, choose_prefetch(workers, plan.device_batch))
        self._loaders: list[TimedLoader] = []

    def train_loader(self, trainer: Trainer) -> DataLoader[object]:
        """Loads whole total batches in the epoch's order; a resumed run starts with the first batch it has not seen."""
        loader = self._loader(trainer, self.images, self._draws(trainer, trainer.global_step, 0))
        self._loaders.append(loader)
        return loader

    def waited(self) -> float:
        """Returns the seconds that training has waited for its batches so far."""
        return sum(loader.waited for loader in self._loaders)

    def val_loader(self, trainer: Trainer) -> DataLoader[object]:
        """Loads every validation image once; ranks with fewer images are padded, and no metric counts the padding."""
        images = self.data.val_dataset()
        return self._loader(trainer, images, EvalSampler(len(images), trainer.global_rank, trainer.world_size))

    def seed_step(self, trainer: Trainer, step: int, place: int) -> None:
        """Seeds every generator for a device batch, so that a resumed run draws the same as an uninterrupted one.

        Args:
            trainer: knows this process's rank.
            step: optimizer steps done.
            place: the device batch of this step, from 0.
        """
        seed_generators(self.seed, step, place, trainer.global_rank)

    def again(self, trainer: Trainer, step: int, place: int) -> object:
        """Returns a device batch of this process once more, on its device, with every generator seeded as for it.

        Args:
            trainer: moves it to the device.
            step: optimizer steps done.
            place: the device batch of this step, from 0.
        """
        draws = list(islice(self._draws(trainer, step, place), self.plan.device_batch))
        batch = trainer.precision_plugin.convert_input(collated(self.data, self.images, draws))
        batch = trainer.strategy.batch_to_device(batch)
        self.seed_step(trainer, step, place)
        return batch

    def _draws(self, trainer: Trainer, step: int, place: int) -> TrainSampler:
        epoch, within = divmod(step, max(self.steps_per_epoch, 1))
        return TrainSampler(
            len(self.images),
            total_batch=self.plan.total,
            device_batch=self.plan.device_batch,
            rank=trainer.global_rank,
            world=trainer.world_size,
            seed=self.seed,
            resume_epoch=epoch,
            skip_batches=within * self.plan.accumulation + place,
            weights=self.data.sample_weights(),
        )

    def _loader(self, trainer: Trainer, images: DrawDataset, sampler: Sampler[Draw]) -> TimedLoader:
        pin = trainer.strategy.root_device.type == "cuda"
        workers, ahead = self.loading.workers, self.loading.ahead
        return make_loader(images, sampler, self.plan.device_batch, workers, pin, self.data.collate, ahead)
