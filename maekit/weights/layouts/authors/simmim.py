"""The plain ViT of microsoft/SimMIM: BEiT's network as `encoder.*`, and a decoder of one convolution beside it.

Its fine-tuning takes the encoder alone and copies the shared table of relative biases into each block; a file of that
has BEiT's names. Swin transformers of that project are no plain ViTs.
Source: microsoft/SimMIM @ 0e71746 models/simmim.py, models/vision_transformer.py, utils.py (remap_pretrained_keys_vit).
"""

from maekit.weights.layouts.authors.beit import BESIDE, COPIED, has_tables, to_ours
from maekit.weights.layouts.layout import Layout, Said

LAYOUT = Layout(
    name="simmim",
    words="microsoft/SimMIM",
    recognise=lambda contents, prefix: prefix.endswith("encoder.") and has_tables(contents, prefix),
    to_ours=to_ours,
    beside=(*BESIDE, "decoder.0.*"),
    says=lambda _contents, _ours: Said(pretraining="simmim", variant="simmim", notes=(COPIED,)),
)
