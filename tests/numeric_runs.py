"""How closely two fp32 runs of the same training must agree: as closely as rounding allows in this very training."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.numeric import Results, assert_fp32, fp32_errors, moved


class MovedWeights(Callback):
    """Starts a run from weights moved by a rounding step: how far that leads is what rounding does to this run."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with torch.no_grad():
            for seed, parameter in enumerate(pl_module.parameters()):
                parameter.copy_(moved(parameter, seed))


def assert_same_run(found: Results, expected: Results, other: Results) -> None:
    """Two fp32 runs of the same training are as near as `other`, the same with `MovedWeights`, is to `expected`."""
    errors = fp32_errors(expected, [other])
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert errors[name] <= 1e-3 * value.double().norm().item(), (
            f"{name}: moved weights should change next to nothing"
        )
        assert_fp32(found[name], value, errors[name], name)
