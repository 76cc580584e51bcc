"""mmsegmentation's MAE with UperNet as its own published configuration builds it: the peer of maekit's segmenter."""

import importlib
import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maekit.backbone.sizes import Size

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py"


def published_config(drop_path: float) -> Any:
    """The configuration, with BatchNorm for SyncBatchNorm, which no CPU has, and no dropout: both sides then agree."""
    sys.path.insert(0, str(ROOT))  # for the tests' way to import it where mmcv's compiled operators are missing
    models = importlib.import_module("tests.segmentation.mmseg_peer").mmseg()
    importlib.import_module("mmseg.engine")
    importlib.import_module("mmengine.registry").init_default_scope("mmseg")
    config = importlib.import_module("mmengine").Config.fromfile(
        str(Path(models.__file__).parents[1] / ".mim/configs" / CONFIG)
    )
    config.model.update(pretrained=None, data_preprocessor=None)
    config.model.backbone.drop_path_rate = drop_path
    for head in (config.model.decode_head, config.model.auxiliary_head):
        head.update(dropout_ratio=0.0, norm_cfg={"type": "BN"})
    config.model.neck.norm_cfg = {"type": "BN"}
    return config


def quietly(function: Any, *args: Any) -> Any:
    """Calls it without its warnings and its lists of every parameter."""
    logging.disable(logging.INFO)
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        result = function(*args)
    logging.disable(logging.NOTSET)
    return result


def build(
    drop_path: float, *, size: Size | None = None, side: int = 512, taps: Sequence[int] = (3, 5, 7, 11),
    classes: int = 150, channels: int = 768, aux_channels: int = 256,
) -> tuple[Any, torch.optim.Optimizer]:  # fmt: skip
    """The EncoderDecoder, with their initialisation and random position biases, and the optimizer of their recipe.

    Without a size it is the published MAE-B at 512 px; else the same modules at another width, depth and image.
    """
    config = quietly(published_config, drop_path)
    if size is not None:
        config.model.backbone.update(
            img_size=(side, side), patch_size=size.patch_size, embed_dims=size.embed_dim, num_layers=size.num_blocks,
            num_heads=size.num_heads, out_indices=list(taps),
        )  # fmt: skip
        config.model.neck.embed_dim = size.embed_dim
        config.model.decode_head.update(in_channels=[size.embed_dim] * 4, channels=channels, num_classes=classes)
        config.model.auxiliary_head.update(in_channels=size.embed_dim, channels=aux_channels, num_classes=classes)
        config.optim_wrapper.paramwise_cfg.num_layers = size.num_blocks
    registry = importlib.import_module("mmseg.registry")
    model = quietly(registry.MODELS.build, config.model)
    quietly(model.init_weights)
    for name, tensor in model.named_parameters():
        if name.endswith("relative_position_bias_table"):
            torch.nn.init.normal_(tensor, std=0.2)
    build_wrapper = importlib.import_module("mmengine.optim").build_optim_wrapper
    return model, quietly(build_wrapper, model, config.optim_wrapper).optimizer


def samples(label_maps: Tensor) -> list[Any]:
    """Label maps [B, H, W] as mmsegmentation wants them."""
    pixels = importlib.import_module("mmengine.structures").PixelData
    sample = importlib.import_module("mmseg.structures").SegDataSample
    shape = label_maps.shape[1:]
    return [
        sample(gt_sem_seg=pixels(data=label[None]), metainfo={"ori_shape": shape, "img_shape": shape})
        for label in label_maps
    ]


def losses(model: Any, images: Tensor, label_maps: Tensor) -> dict[str, Tensor]:
    """Its training losses by maekit's names; the auxiliary one before it is weighted. It measures accuracy too."""
    found = model.loss(images, samples(label_maps))
    total, _ = model.parse_losses(found)
    return {"loss": total, "decode": found["decode.loss_ce"], "auxiliary": found["aux.loss_ce"] / 0.4}


def labels(model: Any, image: Tensor) -> Tensor:
    """Labels [H, W] of an image [3, H, W]: slide inference, resize to the file's size (the same), argmax."""
    (sample,) = samples(torch.zeros(1, *image.shape[1:], dtype=torch.int64))
    (result,) = model.predict(image[None], [sample])
    found: Tensor = result.pred_sem_seg.data[0]
    return found
