"""Files of facebookresearch/deit's DeiT III: LayerScale as `gamma_1`, and a class token without a position.

Source: facebookresearch/deit @ 7e160fe models_v2.py (vit_models, Layer_scale_init_Block).
"""

from maekit.weights.layouts.layout import Contents, Layout, Said
from maekit.weights.layouts.plain_names import from_plain


def _recognise(contents: Contents, prefix: str) -> bool:
    """LayerScale in plain blocks with one bias of q, k and v, a class token, and a square of positions for patches."""
    names, table = contents.tensors, contents.tensors.get(f"{prefix}pos_embed")
    own = f"{prefix}blocks.0.gamma_1" in names and f"{prefix}blocks.0.attn.qkv.bias" in names
    other = any(name.startswith((f"{prefix}reg_token", f"{prefix}rel_pos_bias", f"{prefix}rope")) for name in names)
    if not own or other or f"{prefix}cls_token" not in names or table is None or table.ndim != 3:
        return False
    return bool(round(table.shape[1] ** 0.5) ** 2 == table.shape[1])


LAYOUT = Layout(
    name="deit3",
    words="facebookresearch/deit's DeiT III",
    recognise=_recognise,
    to_ours=from_plain,
    says=lambda _contents, _ours: Said(pretraining="deit_iii", variant="deit3"),
)
