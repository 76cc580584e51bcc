"""What is exported of a backbone is its pooled features and the map of its patches, from one pass."""

import numpy as np
import pytest
import torch

from maekit.backbone.sizes import load_size
from maekit.backbone.vit import ViT
from maekit.base.exportable import Exportable
from maekit.features.exportable import feature_exportable
from tests.numeric import assert_float64

pytestmark = pytest.mark.numeric


def backbone(name: str = "vit_test_patch8_reg4_dinov2") -> ViT:
    torch.manual_seed(0)
    return ViT(load_size(name), image_size=(32, 32)).eval()


def exportable(vit: ViT) -> Exportable:
    return feature_exportable(vit, vit, lambda images: vit.pool(vit(images).tokens, "mean"), torch.tensor, {}, (32, 32))


@pytest.mark.usefixtures("float64")
def test_features_and_patches_come_from_one_pass() -> None:
    vit = backbone()
    calls = []
    vit.register_forward_hook(lambda *_: calls.append(1))
    images = torch.randn(3, 3, 24, 40)
    features, patches = exportable(vit).module(images)
    assert len(calls) == 1
    tokens = vit(images).tokens[:, vit.num_prefix :]
    assert_float64(features, tokens.mean(1))
    assert_float64(patches, tokens.transpose(1, 2).reshape(3, 48, 3, 5))


def test_what_binds_a_graph_to_one_size_is_said() -> None:
    free, beit = exportable(backbone()), exportable(backbone("vit_test_patch8_beit"))
    assert (free.side_multiple, free.fixed_because) == (8, "")
    assert beit.side_multiple == 0 and "relative position" in beit.fixed_because
    windows = ViT(load_size("vit_test_patch8"), image_size=(32, 32), window=2, class_token=False)
    assert "windows" in windows.fixed_size and not backbone().fixed_size


def test_features_are_equal_by_their_cosine() -> None:
    features = np.eye(4, 48, dtype=np.float32)
    patches = np.zeros((4, 48, 4, 4), dtype=np.float32)
    ours = {"features": features, "patches": patches}
    turned = features.copy()
    turned[0, 1], turned[1, 0] = 0.02, 0.01  # cosines of 0.9998 and 0.99995
    found = exportable(backbone()).compare(ours, {"features": 3 * turned, "patches": patches})
    assert (found.equal, found.count) == (3, 4)
    assert found.differences["patches"] == 0.0 and found.differences["features"] == pytest.approx(2.0)
