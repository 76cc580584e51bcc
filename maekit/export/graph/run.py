"""Runs an exported file: its metadata, and onnxruntime or torch's own program; none of the model's code."""

from pathlib import Path

import torch
from torch import Tensor

from maekit.base.exportable import GraphModel
from maekit.errors import UserError
from maekit.export.graph.libraries import library
from maekit.export.graph.metadata import KEY, read_metadata, require_sides
from maekit.export.graph.tensors import require_tensors, require_tensors_beside
from maekit.export.graph.torch_file import TorchModel

ENDINGS = (".onnx", ".pt2")


class OnnxModel:
    """An ONNX file of maekit in an onnxruntime session on the CPU.

    Args:
        path: the file.
        threads: of one operator; None for onnxruntime's choice.

    Attributes:
        path: the file.
        metadata: what it says of itself, see `metadata.describe`.

    Raises:
        UserError: onnxruntime is missing, the file is damaged, or maekit did not write it.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        runtime = library("onnxruntime", f"running {path.name}")
        options = runtime.SessionOptions()
        options.log_severity_level = 4  # it prints what it raises
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's classes differ with its version
            require_tensors_beside(path)
            first = str(error).strip().splitlines()[0]
            raise UserError(f"{path}: onnxruntime {runtime.__version__} cannot open it: {first}") from error
        kept = self.session.get_modelmeta().custom_metadata_map.get(KEY)
        if kept is None:
            raise UserError(
                f"{path} is an ONNX file that maekit did not write: it does not say how images are prepared and what "
                "its outputs are; export the run with `maekit export RUN --to onnx`"
            )
        self.path, self.metadata = path, read_metadata(kept, path)
        require_tensors(self.metadata, path)
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Returns the outputs by name, on the CPU, of images [B, C, H, W], normalised, and what goes with them.

        Raises:
            UserError: they are of a size that the file does not take.
        """
        self._check(inputs[0])
        given = {
            taken.name: values.cpu().contiguous().numpy()
            for taken, values in zip(self.session.get_inputs(), inputs, strict=True)
        }
        found = self.session.run(None, given)
        return {name: torch.from_numpy(values) for name, values in zip(self.names, found, strict=True)}

    def _check(self, images: Tensor) -> None:
        for axis, (given, taken) in enumerate(zip(images.shape, self.session.get_inputs()[0].shape, strict=True)):
            if isinstance(taken, int) and given != taken:
                what = ("images at once", "channels", "rows", "columns")[axis]
                raise UserError(f"{self.path}: got {given} {what}, expected {taken}, which it was exported for")
        require_sides(self.metadata, images.shape, self.path)


def open_graph(path: Path, threads: int | None = None) -> GraphModel:
    """Opens an ONNX or a torch.export file.

    Raises:
        UserError: it is missing, neither of them, or not of maekit.
    """
    if not path.is_file():
        raise UserError(f"no exported file {path}; check the path")
    if path.suffix not in ENDINGS:
        raise UserError(f"{path}: got a file ending in '{path.suffix}', expected {' or '.join(ENDINGS)}")
    return TorchModel(path) if path.suffix == ".pt2" else OnnxModel(path, threads)
