"""Makes vitdet_arrays.npz: features and gradients of detectron2's ViT and SimpleFeaturePyramid for vitdet_case.py.

With detectron2 installed (python -m pip install --no-build-isolation
'git+https://github.com/facebookresearch/detectron2'), from the repository's top:

    python -m tests.detection.golden.make_vitdet_arrays

The arrays in the repository are those of detectron2 0.6 at commit 02b5c4e, with torch on a CPU.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.detection.golden import vitdet_case as case

FILE = Path(__file__).parent / "vitdet_arrays.npz"
WHOLE_GRADIENTS = ("rel_pos_h", "rel_pos_w", "pos_embed", "attn.qkv.bias", "simfp_2.1.weight", "simfp_5.2.norm.bias")


def detectron2_model(**changes: Any) -> Any:
    """detectron2's backbone of the case, under `backbone.` as in its Mask R-CNN, with the case's weights."""
    from detectron2.modeling.backbone.fpn import LastLevelMaxPool
    from detectron2.modeling.backbone.vit import SimpleFeaturePyramid, ViT

    sizes = {
        "img_size": case.IMAGE_SIDE,
        "patch_size": case.PATCH,
        "embed_dim": case.EMBED_DIM,
        "depth": case.NUM_BLOCKS,
        "num_heads": case.NUM_HEADS,
        "window_size": case.WINDOW,
        "window_block_indexes": [i for i in range(case.NUM_BLOCKS) if i != case.GLOBAL_BLOCK],
        "pretrain_img_size": case.STORED_SIDE,
    }
    norm = partial(nn.LayerNorm, eps=1e-6)
    net = ViT(**sizes, use_rel_pos=True, norm_layer=norm, out_feature="last_feat", **changes)
    pyramid = SimpleFeaturePyramid(
        net, "last_feat", case.CHANNELS, (4.0, 2.0, 1.0, 0.5), top_block=LastLevelMaxPool(), norm="LN"
    )
    model = nn.ModuleDict({"backbone": pyramid})
    model.load_state_dict({name: case.weight(name, tensor.shape) for name, tensor in model.state_dict().items()})
    return model


def outcome(model: Any, name: str) -> dict[str, Any]:
    """The levels of one image, and the gradients of all parameters for fixed gradients of these."""
    maps = model["backbone"](case.drawn(name, 3, *case.IMAGES[name])[None])
    model.zero_grad()
    torch.autograd.backward(
        [maps[level] for level in case.LEVELS],
        [case.drawn(f"{name} {level}", *maps[level].shape[1:])[None] for level in case.LEVELS],
    )
    gradients = {parameter: value.grad for parameter, value in model.named_parameters()}
    return {level: maps[level].detach() for level in case.LEVELS} | {
        "gradient_norms": torch.stack([value.norm() for value in gradients.values()]),
        **{f"gradient {key}": value for key, value in gradients.items() if key.endswith(WHOLE_GRADIENTS)},
    }


def main() -> None:
    """Writes the arrays."""
    model = detectron2_model()
    arrays: dict[str, Any] = {
        "names": np.array(list(model.state_dict())),
        "shapes": np.array([",".join(map(str, tensor.shape)) for tensor in model.state_dict().values()]),
        "gradient_names": np.array([name for name, _ in model.named_parameters()]),
    }
    for name in case.IMAGES:
        arrays |= {f"{name} {key}": np.asarray(value) for key, value in outcome(model, name).items()}
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE}: {FILE.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
