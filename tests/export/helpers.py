"""Runs as they leave their folders, and the parts of a model card."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from tests.weights.helpers import decoder, encoder, peer

HOME = "/mnt/somebody/secret"
CONFIG: dict[str, Any] = {
    "model": {
        "weights": f"{HOME}/mae_pretrain_vit_base.pth",
        "decoder_heads": 4,
        "target": "normalised_pixels",
        "mask_ratio": 0.6,
        "base_lr": 1.5e-4,
    },
    "data": {"root": f"{HOME}/birds", "probe_root": f"{HOME}/labelled", "total_batch_size": 16},
    "trainer": {"max_epochs": 3, "max_steps": -1},
    "run": {"seed": 5, "folder": f"{HOME}/runs"},
}
METRICS: dict[str, Any] = {
    "status": "finished",
    "step": 12,
    "val": {"loss": 0.5, "psnr": 14.25, "none": None},
    "best": {"metric": "val/loss", "value": 0.4375, "step": 8},
    "seconds": 5400.0,
    "images_per_second": 0.04,
    "peak_memory_gib": 1.5,
}


def tensors_of(kind: str) -> dict[str, Tensor]:
    if kind == "classifier":
        named = dict(peer(pooling="class").state_dict())
        return {f"head.fc{n[4:]}" if n.startswith("head") else f"backbone.{n}": t for n, t in named.items()}
    return {f"backbone.{n}": t for n, t in encoder().items()} | {f"head.{n}": t for n, t in decoder().items()}


def make_run(folder: Path, kind: str = "pretraining", *, step: int = 8, name: str = "best.ckpt", **model: Any) -> Path:
    """A run's folder as one leaves it, all of whose paths lie in somebody's home."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**CONFIG, "model": {**CONFIG["model"], **model}}
    card = {
        "task": f"{HOME}/tasks/birdtask.py",
        "recipe": "mine",
        "config": config,
        "class_names": ["image"] if kind == "pretraining" else list("abcde"),
        "image_size": [32, 32],
        "input": {"image_size": 32, "crop_fraction": 0.875, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
        "step": step,
    }
    state = {f"model.{n}": t for n, t in tensors_of(kind).items()}
    torch.save({"state_dict": state, "maekit": card}, folder / name)
    environment = {
        "command": [f"{HOME}/bin/maekit", "fit", "--data.root", f"{HOME}/birds"],
        "folder": HOME,
        "devices": "2 x cuda, precision bf16-mixed",
        "versions": {"maekit": "0.1.0", "torch": "2.15.0", "timm": None},
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    (folder / "val.csv").write_text("step,loss,epoch\n4,0.6,1.0\n12,0.5,3.0\n")
    return folder


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n\n")[1].split("\n\n## ")[0].strip()


def front(card: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return values
