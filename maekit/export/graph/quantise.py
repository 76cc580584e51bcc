"""Brings an ONNX file to fewer bits: float16, or int8 weights with activations quantised as they come."""

from pathlib import Path
from typing import Any, Literal

from maekit.errors import UserError
from maekit.export.graph.libraries import library
from maekit.export.graph.tensors import LARGE, data_of
from maekit.system.remarks import without_remarks

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_COORDINATES = {"NonMaxSuppression": (0,), "RoiAlign": (1,)}  # the inputs that are boxes
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "RoiAlign", "NonMaxSuppression", "LayerNormalization")
_LEAST_SIDE = 16  # of a weight that is worth int8; smaller ones are no layer's


def reduce_precision(source: Path, out: Path, precision: Precision) -> str:
    """Writes a file of fewer bits; input and outputs stay float32, and the metadata are kept.

    float16: all but what computes position tables and boxes. int8: dynamic quantisation by onnxruntime, each output
    channel with a scale of its own; the matrix products with a layer's weights, and neither patch embedding nor
    attention.

    Args:
        source: the ONNX file in fp32.
        out: the file to make.
        precision: `fp16` or `int8`.

    Returns:
        In words what was changed.

    Raises:
        UserError: a library is missing, or the model is above 1.5 GB and so has its tensors beside it.
    """
    onnx = library("onnx", f"--precision {precision}")
    require_reducible(data_of(source).stat().st_size if data_of(source).is_file() else 0, precision)
    model = onnx.load(str(source))
    with without_remarks():
        words = _to_half(model, out) if precision == "fp16" else _to_int8(model, source, out)
    written = onnx.load(str(out))
    onnx.helper.set_model_props(written, {prop.key: prop.value for prop in model.metadata_props})
    onnx.save(written, str(out))
    return words


def require_reducible(size: int, precision: Precision) -> None:
    """Refuses fewer bits for a model that onnx's converters do not take.

    Args:
        size: of its tensors in fp32, in bytes.
        precision: that is wanted.
    """
    if precision != "fp32" and size > LARGE:
        raise UserError(
            f"--precision {precision}: the model has {size / 1e9:.1f} GB in fp32, and onnx's converters take at most "
            f"{LARGE / 1e9:g}; export it in fp32 and convert it with the tools of the device it is for"
        )


def _to_half(model: Any, out: Path) -> str:
    half = library("onnxruntime.transformers.float16", "--precision fp16")
    onnx = library("onnx", "--precision fp16")
    kept = sorted({*_before_positions(model), *_on_coordinates(model)})
    written = half.convert_float_to_float16(model, keep_io_types=True, node_block_list=kept, disable_shape_infer=False)
    _stay_in_float32(written, onnx)
    onnx.save(written, str(out))
    return f"float16, {len(kept)} operators of positions and boxes in float32" if kept else "float16"


def _to_int8(model: Any, source: Path, out: Path) -> str:
    quantization = library("onnxruntime.quantization", "--precision int8")
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    layers = [node for node in products if _is_layer(weights.get(node.input[1], []))]
    names = {node.name for node in layers}
    others = [node.name for node in products if node.name not in names]
    quantization.quantize_dynamic(
        str(source),
        str(out),
        op_types_to_quantize=["MatMul", "Gemm"],
        nodes_to_exclude=[*others, *(f"{name}_MatMul" for name in others)],  # as it calls a Gemm that it splits
        per_channel=True,
        weight_type=quantization.QuantType.QInt8,
    )
    return f"int8 weights of {len(layers)} layers"


def _is_layer(sides: list[int]) -> bool:
    return len(sides) == 2 and min(sides) >= _LEAST_SIDE


def _before_positions(model: Any) -> list[str]:
    """Returns the operators that depend on the image's size alone: positions are off by more than float16 holds."""
    constants = {tensor.name for tensor in model.graph.initializer}
    sizes: set[str] = set()
    names = []
    for node in model.graph.node:
        inputs = {name for name in node.input if name}
        if node.op_type == "Shape" or (inputs & sizes and inputs <= sizes | constants):
            sizes.update(node.output)
            names += [] if node.op_type == "Shape" else [node.name]
    return names


def _on_coordinates(model: Any) -> list[str]:
    """Returns the operators that boxes pass through, back to the layers that predict them.

    float16 holds pixels from 512 on in steps of half a pixel, and from 1024 on of one.
    """
    makers = {name: node for node in model.graph.node for name in node.output if name}
    open_names = [node.input[place] for node in model.graph.node for place in _COORDINATES.get(node.op_type, ())]
    if not open_names:
        return []
    open_names += [output.name for output in model.graph.output if output.name == "boxes"]
    found: set[str] = set()
    while open_names:
        node = makers.get(open_names.pop())
        if node is not None and node.op_type not in _LAYERS and node.name not in found:
            found.add(node.name)
            open_names += [name for name in node.input if name]
    return sorted(found)


def _stay_in_float32(model: Any, onnx: Any) -> None:
    """Lets what goes from one operator in float32 to the next stay so: the converter rounds it to float16 between.

    A cast to float32 of what it cast to float16 becomes the identity.
    """
    inserted = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast" and node.name.endswith("_cast_to_fp16_node")
    }
    for node in model.graph.node:
        to_whole = node.op_type == "Cast" and node.attribute[0].i == onnx.TensorProto.FLOAT
        if to_whole and node.input[0] in inserted:
            source, name = inserted[node.input[0]], node.output[0]
            node.CopyFrom(onnx.helper.make_node("Identity", [source], [name], node.name))
