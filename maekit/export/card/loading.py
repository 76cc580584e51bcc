"""The sections of a model card on using the weights: a command for each use, and the code that loads them."""

from collections.abc import Iterator
from pathlib import Path

from maekit.export.convert import Target
from maekit.weights.describe.uses import uses
from maekit.weights.families.facts import Facts
from maekit.weights.read.input_config import timm_place

_HF = {"pretraining": "ViTMAEForPreTraining", "encoder": "ViTMAEModel"}
_WORDS = {
    "features": "Features",
    "fine_tuning": "Fine-tuning",
    "linear_probe": "A linear probe",
    "validation": "Validation",
    "reconstruction": "Reconstruction of hidden patches",
}
_TASK = "`TASK` is a task of the kind you want: `maekit tasks` lists them."


def usage(facts: Facts) -> str:
    """Returns a list with a command for each use, or the reason why the weights do not serve for it."""
    return "\n".join([*(f"- {line}" for line in _lines(facts)), "", _TASK])


def _lines(facts: Facts) -> Iterator[str]:
    file, table = facts.path, uses(facts)
    size = f" --model.backbone {facts.size}" if facts.size else ""
    commands = {
        "features": f"maekit embed IMAGES --weights {file} --output features",
        "fine_tuning": f"maekit fit --task TASK --model.weights {file}{size} --data.root DATA",
        "linear_probe": f"maekit fit --task TASK --model.weights {file}{size} --data.root DATA",
        "validation": f"maekit validate --task TASK --model.weights {file}{size} --data.root DATA",
        "reconstruction": f"maekit reconstruct IMAGES --weights {file}",
    }
    for purpose, word in _WORDS.items():
        use = table[purpose]
        yield f"{word}: `{commands[purpose]}`" if use.possible else f"{word}: not with these weights: {use.how}"


def loading(facts: Facts, to: Target | None) -> str:
    """Returns a block of Python code that loads the weights, or of the command that runs a detector or a segmenter.

    It runs in the folder of the file, since `facts.path` is the file's name alone.
    """
    if to == "timm":
        code = _timm_by_config(facts) if facts.parts or facts.num_registers else _timm(facts)
    elif to == "hf" or facts.layout.startswith("transformers"):
        code = _transformers(facts)
    elif to == "detectron2" or facts.layout == "detectron2":
        code = "from detectron2.checkpoint import DetectionCheckpointer\n\n"
        code += f'DetectionCheckpointer(model).load("{facts.path}")'
    elif facts.kind == "segmenter" or facts.kind.endswith("detector"):
        return f"```bash\nmaekit predict --ckpt_path {facts.path} --images IMAGES\n```"
    else:
        code = _maekit(facts)
        code += f"\n\n{_released(facts)}" if facts.layout == "mae" and not facts.path.endswith(".safetensors") else ""
    return f"```python\n{code}\n```"


def _maekit(facts: Facts) -> str:
    size = f", image_size={tuple(facts.image_size)}" if facts.image_size else ""
    channels = facts.channels or 3
    return (
        f'import maekit\n\nvit = maekit.load_backbone("{facts.path}"{size})\n'
        f"tokens = vit(images).tokens  # normalised [B, {channels}, H, W] to [B, {_tokens(facts)}, {facts.embed_dim}]: "
        f"{_tokens_in_words(facts)}"
    )


def _tokens(facts: Facts) -> str:
    return f"{prefix} + N" if (prefix := int(facts.class_token) + facts.num_registers) else "N"


def _tokens_in_words(facts: Facts) -> str:
    registers = ["registers"] if facts.num_registers else []
    return ", ".join([*(["class token"] if facts.class_token else []), *registers, "patches"])


def _released(facts: Facts) -> str:
    return (
        "import torch\n\n# the names are those of facebookresearch/mae\n"
        f'tensors = torch.load("{facts.path}", map_location="cpu", weights_only=True)["model"]'
    )


def _transformers(facts: Facts) -> str:
    name = _HF.get(facts.kind, "ViTForImageClassification")
    if facts.layout != "transformers":  # of another model than ViT, whose configuration says which
        name = "AutoModel"
    flag = ""
    if facts.architecture == "ViTModel":  # whose pooler is in no file here
        name, flag = facts.architecture, ", add_pooling_layer=False"
    return (
        f"from transformers import AutoImageProcessor, {name}\n\n"
        f'processor = AutoImageProcessor.from_pretrained("{facts.path}")\n'
        f'model = {name}.from_pretrained("{facts.path}"{flag})'
    )


def _timm_by_config(facts: Facts) -> str:
    """For a ViT with parts that its configuration knows, which lies beside the file."""
    config = timm_place(Path(facts.path)).name
    return (
        f"import json\n\nimport timm\nfrom timm.models import load_checkpoint\n\n"
        f'with open("{config}") as file:\n    config = json.load(file)\n'
        'model = timm.create_model(config["architecture"], num_classes=config["num_classes"], **config["model_args"])\n'
        f'load_checkpoint(model, "{facts.path}", strict=True)'
    )


def _timm(facts: Facts) -> str:
    head = facts.classifier
    read = f'load_file("{facts.path}")' if facts.path.endswith(".safetensors") else ""
    read = read or f'torch.load("{facts.path}", map_location="cpu", weights_only=True)'
    first = "from safetensors.torch import load_file\n" if "load_file" in read else "import torch\n"
    size = tuple(facts.image_size) if facts.image_size else None
    channels = "" if facts.channels in (None, 3) else f", in_chans={facts.channels}"
    pool = "avg" if head and head.pooling == "mean" else "token"
    return (
        f"{first}from timm.models.vision_transformer import VisionTransformer\n\n"
        f"model = VisionTransformer(\n    img_size={size}, patch_size={facts.patch_size}, "
        f"embed_dim={facts.embed_dim}, depth={facts.num_blocks}, num_heads={facts.num_heads},\n"
        f'    num_classes={head.num_classes if head else 0}, global_pool="{pool}"{channels},\n)\n'
        f"model.load_state_dict({read}, strict=True)"
    )
