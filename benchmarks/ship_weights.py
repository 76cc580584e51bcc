"""Makes the file of weights that comes with the package from a run of the smoke pre-training.

    maekit fit --task mae_pretrain --recipe smoke
    python benchmarks/ship_weights.py runs/mae_pretrain/smoke/0 --commit COMMIT

Encoder and decoder go to maekit/weights/mae_vit_smoke.safetensors in half precision, under the names of
facebookresearch/mae, with a card of how they were made: command, seed, commit, results.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import maekit
from maekit.base.checkpoint_card import read_card
from maekit.weights.state.state_file import read_state

PLACE = Path(maekit.__file__).parent / "weights" / "mae_vit_smoke.safetensors"
LARGEST = 2_000_000  # bytes


def card_of(run: Path, commit: str) -> dict[str, Any]:
    """What the file says of itself."""
    card = read_card(run / "last.ckpt")
    result = json.loads((run / "metrics.json").read_text())
    model = card.config["model"]
    return {
        "task": card.task,
        "recipe": card.recipe,
        "seed": card.config["run"]["seed"],
        "command": f"maekit fit --task {card.task} --recipe {card.recipe}",
        "commit": commit,
        "licence": "Apache-2.0",
        "data": "2,000 made scenes of scikit-learn's handwritten digits (UCI, Optical Recognition)",
        "step": card.step,
        "image_size": list(card.spec.image_size),
        "mean": list(card.spec.mean),
        "std": list(card.spec.std),
        "mask_ratio": model["mask_ratio"],
        "norm_pix_loss": model["target"] == "normalised_pixels",
        "decoder_heads": model["decoder_heads"],
        "results": result["val"],
        "seconds": result["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    args = parser.parse_args()
    tensors = read_state(args.run / "last.ckpt").tensors
    half = {name: tensor.to(torch.float16).contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt", "maekit": json.dumps(card_of(args.run, args.commit))}
    content = safetensors.torch.save(half, metadata=metadata)
    assert len(content) < LARGEST, f"{len(content)} bytes, expected under {LARGEST}"
    PLACE.write_bytes(content)
    print(f"wrote {PLACE} ({len(content):,} bytes, {len(half)} tensors)")


if __name__ == "__main__":
    main()
