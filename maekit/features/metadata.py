"""What `features.json` records beside computed features: of which images, by which weights, computed how."""

from typing import Literal, NotRequired, TypedDict, get_args

from maekit.data.images.transforms import EvalInput

Pooling = Literal["class", "mean", "patches"]
Precision = Literal["fp32", "bf16"]
Format = Literal["npy", "parquet"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


class Method(TypedDict):
    """All that decides what the features of an image are.

    `weights_hash` is `fingerprint` of the backbone, `block` counts from 0, `transform` holds the arguments of
    `EvalTransform`. `patch_view` is there for the patches of whole images alone: pixels of the short side, or height
    and width, as `grid_of` takes them.
    """

    weights_hash: str
    pooling: Pooling
    block: int
    final_norm: bool
    precision: Precision
    transform: EvalInput
    patch_view: NotRequired[list[int]]


class Metadata(Method):
    """The contents of `features.json`.

    `images` is the images' folder, `listing` a fingerprint of their names, `weights` what the user gave, `shape` that
    of one image's features, `grid` patches (h, w), empty where each image has its own: `grids` is their fingerprint.
    """

    complete: bool
    images: str
    num_images: int
    listing: str
    weights: str
    shape: list[int]
    grid: list[int]
    dtype: str
    format: Format
    num_classes: int
    grids: NotRequired[str]


class CompleteMetadata(Metadata):
    """The contents when all images are done.

    `num_rows` images have features, `num_skipped` could not be read; whole images have `num_patches` together.
    """

    num_rows: int
    num_skipped: int
    num_patches: NotRequired[int]
