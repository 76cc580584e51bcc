"""The samples of each process in order: together the same for any number of processes and accumulated batches."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from maekit.base.spec import Draw

REPEATED = 1 << 32


class TrainSampler(Sampler[Draw]):
    """Draws for one rank: each epoch a permutation from (seed, epoch), cut to whole total batches.

    With weights an epoch of the same length is drawn with replacement instead. A sample that it has more than once is
    augmented otherwise each time: the draw's epoch then counts the repetitions above `REPEATED`.

    Micro-batches are dealt to the ranks in turn, so optimizer step t of an epoch sees exactly the samples
    `permutation[t * total_batch : (t + 1) * total_batch]`, however many ranks and accumulated batches make it up.

    Args:
        num_samples: length of the data set, at least `total_batch`.
        total_batch: images of one optimizer step; a multiple of `device_batch * world`.
        device_batch: images of one micro-batch on one rank.
        rank: this process, 0..world-1.
        world: number of processes.
        seed: the run's seed.
        resume_epoch: the epoch to start with.
        skip_batches: micro-batches of this rank that were already used in `resume_epoch`; later epochs are whole.
        weights: [num_samples], above 0, in proportion to which samples are drawn; None draws each once.
    """

    def __init__(
        self,
        num_samples: int,
        *,
        total_batch: int,
        device_batch: int,
        rank: int,
        world: int,
        seed: int,
        resume_epoch: int = 0,
        skip_batches: int = 0,
        weights: np.ndarray | None = None,
    ) -> None:
        if total_batch % (device_batch * world):
            raise ValueError(f"{world} ranks x batches of {device_batch} do not divide a total batch of {total_batch}")
        if num_samples < total_batch:
            raise ValueError(f"{num_samples} samples do not fill one total batch of {total_batch}")
        self.num_samples, self.total_batch, self.device_batch = num_samples, total_batch, device_batch
        self.rank, self.world, self.seed = rank, world, seed
        self.resume_epoch, self.skip_batches = resume_epoch, skip_batches
        self.epoch = resume_epoch
        self.shares = None if weights is None else weights / weights.sum(dtype=np.float64)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the permutation of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Returns this rank's number of draws in a whole epoch, even if a resumed epoch yields fewer."""
        return self.num_samples // self.total_batch * self.total_batch // self.world

    def __iter__(self) -> Iterator[Draw]:
        epoch = self.epoch
        skip = self.skip_batches if epoch == self.resume_epoch else 0
        # NumPy guarantees the stream of RandomState, so an upgrade does not reorder a resumed run.
        state = np.random.SeedSequence((self.seed, epoch)).generate_state(8)
        epochs, order = self._order(np.random.RandomState(state), len(self) * self.world, epoch)
        mine = np.arange(len(order)).reshape(-1, self.world, self.device_batch)[:, self.rank].reshape(-1)
        for place in mine[skip * self.device_batch :].tolist():
            yield Draw(int(epochs[place]), int(order[place]))

    def _order(self, draw: np.random.RandomState, count: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the epoch and the sample of each draw of all ranks, both [count]."""
        if self.shares is None:
            return np.full(count, epoch), draw.permutation(self.num_samples)[:count]
        order = draw.choice(self.num_samples, count, p=self.shares)
        by_sample = order.argsort(kind="stable")
        first = np.searchsorted(order[by_sample], order[by_sample])  # each sample's first draw among these
        repetition = np.empty(count, dtype=np.int64)
        repetition[by_sample] = np.arange(count) - first
        return epoch + REPEATED * repetition, order


class EvalSampler(Sampler[Draw]):
    """Draws for one rank: every sample once over all ranks. Index -1 is padding, so that all ranks draw equally often.

    Args:
        num_samples: length of the data set; may be smaller than `world`.
        rank: this process, 0..world-1.
        world: number of processes.
    """

    def __init__(self, num_samples: int, rank: int, world: int) -> None:
        self.num_samples, self.rank, self.world = num_samples, rank, world

    def __len__(self) -> int:
        """Returns this rank's number of draws, padding included."""
        return -(-self.num_samples // self.world)

    def __iter__(self) -> Iterator[Draw]:
        for index in range(self.rank, len(self) * self.world, self.world):
            yield Draw(0, index if index < self.num_samples else -1)
