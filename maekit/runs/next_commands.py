"""The commands that one types after a run, ready to paste."""

import shlex

from maekit.runs.checkpoint_path import BEST, LAST
from maekit.runs.files import NAN_STEP
from maekit.runs.folder import shown
from maekit.runs.read import Run


def next_commands(run: Run) -> list[tuple[str, str]]:
    """Each command with what it does; none of a folder without a checkpoint. `photos/` stands for one's own images."""
    place = shlex.quote(shown(run.folder))
    if run.status == "unfinished" and run.is_live:  # a run that ends holds its lock while it prints these
        return [(f"maekit watch {place}", "this page, refreshed while it trains")]
    if run.status in ("paused", "unfinished"):
        step = (run.folder / NAN_STEP).is_file()
        looked = [(f"maekit replay {place}", "the step that was not finite, layer by layer")] if step else []
        return (
            [*looked, (f"maekit fit --ckpt_path {place}{_without_pause(run)}", "go on")]
            if (run.folder / LAST).is_file()
            else looked
        )
    if not any((run.folder / name).is_file() for name in (BEST, LAST)):
        return []
    if "model.mask_ratio" in run.flat_config:
        return [
            (f"maekit reconstruct photos/ --weights {place}", "original, masked, reconstruction"),
            (f"maekit embed photos/ --weights {place} --output features", "a feature vector of each image"),
            (f"maekit weights convert {place} encoder.pth --to timm", "for other programs"),
        ]
    return [
        (f"maekit predict photos/ --model {place}", "on your own images"),
        (f"maekit export {place} --to onnx", "a file that runs without maekit, checked against this run"),
        (f"maekit validate --ckpt_path {place}", "measure it again"),
    ]


def _without_pause(run: Run) -> str:
    """Returns the flag without which a paused run would pause again where it is; empty where none is needed."""
    if run.status != "paused":
        return ""
    stop, step = run.flat_config.get("run.stop_at_step"), run.number("step")
    if isinstance(stop, int) and step is not None and step >= stop:
        return " --run.stop_at_step null"
    timed = any(key.startswith("trainer.max_time") and value is not None for key, value in run.flat_config.items())
    return " --trainer.max_time null" if timed else ""
