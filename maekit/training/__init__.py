"""The run around a model: LightningModule, Trainer, callbacks, checkpoints; only this folder imports Lightning."""
