"""From which weights a pre-training goes on: the settings that a file of weights decides."""

from dataclasses import dataclass
from pathlib import Path

from maekit.classification.data.imagenet import ImageNet
from maekit.errors import UserError
from maekit.features.source import find_source
from maekit.pretraining.from_weights import DecoderSettings, decoder_settings, known_norm_pix_loss
from maekit.weights.load.assumed import assumed_heads
from maekit.weights.read.bands import file_bands
from maekit.weights.state.state_file import StateFile, read_state


@dataclass(frozen=True)
class Start:
    """What a file of weights decides of the pre-training that goes on from it.

    Attributes:
        path: the file.
        settings: flags and their values: backbone, image size, mean and std of R, G, B, and the decoder's.
        bands: names of the bands that its patch filters take, in the order of `DataSpec.bands`.
        has_decoder: whether the file has the decoder; else it is fresh.
        lines: what is taken for granted because the file does not say it.
    """

    path: Path
    settings: dict[str, object]
    bands: tuple[str, ...]
    has_decoder: bool
    lines: tuple[str, ...]

    def describe(self) -> str:
        """Returns what the file is, in words."""
        decoder = "with its decoder" if self.has_decoder else "without a decoder"
        return f"{self.settings['model.backbone']} at {self.settings['data.image_size']} px, {decoder}"

    def require_bands(self, bands: tuple[str, ...]) -> None:
        """Refuses images of other bands, on which the features before cannot be judged.

        Raises:
            UserError: names both.
        """
        if self.bands != bands:
            raise UserError(
                f"{self.path} is of the bands {', '.join(self.bands)}, expected those of the images, "
                f"{', '.join(bands)}; pre-train on these first: maekit fit with --model.weights {self.path} "
                "--model.new_head true"
            )


def start_of(weights: str) -> Start:
    """Reads what a file of weights decides.

    Args:
        weights: as `find_source` takes it.

    Raises:
        UserError: there are none, or their ViT is of no known size or without a class token.
    """
    source = find_source(weights)
    state = read_state(source.path)
    size = state.shape
    if size.name is None:
        raise UserError(f"{source.path} holds {size}, expected a ViT of a known size (maekit/backbone/sizes.py)")
    if "cls_token" not in state.tensors:
        raise UserError(f"{source.path} has no class token, by which features are judged; give weights that have one")
    settings: dict[str, object] = {
        "model.backbone": size.name,
        "data.image_size": source.input["image_size"],
    }
    if not source.input.get("bands"):  # those have statistics of the images' own
        settings |= {"data.mean": source.input["mean"], "data.std": source.input["std"]}
    has_decoder = "decoder_embed.weight" in state.tensors
    if has_decoder:
        settings |= {f"model.{name}": value for name, value in _decoder(weights, source.path, state).items()}
    assumed = tuple(f"assumed: {line}: the file does not say" for line in assumed_heads(state))
    bands = file_bands(state.meta, state.tensors["patch_embed.proj.weight"].shape[1]).in_order
    return Start(source.path, settings, bands, has_decoder, (*source.assumed, *assumed))


def _decoder(weights: str, path: Path, state: StateFile) -> DecoderSettings:
    return decoder_settings(path, state, known_norm_pix_loss(weights, state))


def labelled_images(images: Path, given: str | None) -> str:
    """Returns the labelled images that judge features: those given, else the images, if they lie in class folders.

    Raises:
        UserError: there are none.
    """
    if given is not None:
        return given
    try:
        ImageNet.read_tree(images.expanduser().absolute())
    except UserError as error:
        raise UserError(
            f"{images}: without labels nothing says whether features get better ({error}); give --labels DIR with some "
            "images in class folders, 20 or more of each class"
        ) from None
    return str(images)
