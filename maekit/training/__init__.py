"""The run around a model: LightningModule, Trainer, callbacks, checkpoints; only this folder imports Lightning."""

from maekit.system.late_compiler import import_lightning

import_lightning()  # before any module here does
