"""Logs a run's configuration as the hyper-parameters of Weights & Biases and TensorBoard."""

from collections.abc import Mapping

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams


class HyperParameters(Callback):
    """Gives each logger the flat configuration as training starts; of a resumed run, its present one.

    Args:
        values: dotted keys and plain values.
        metric: the log key of the metric that TensorBoard's table of runs shows beside them, such as `val/top1`.
    """

    def __init__(self, values: Mapping[str, object], metric: str) -> None:
        self.values = dict(values)
        self.metric = metric

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the configuration, on the first rank."""
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                # Lightning's own would also log the metric itself, with a made-up value at step 0.
                simple = bool | int | float | str
                plain = {key: v if isinstance(v, simple) else str(v) for key, v in self.values.items()}
                for summary in hparams(plain, {self.metric: 0.0}):  # type: ignore[no-untyped-call]
                    logger.experiment._get_file_writer().add_summary(summary)
            else:
                logger.log_hyperparams(self.values)
