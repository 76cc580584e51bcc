"""Computes the features of a folder of images onto disk; can be interrupted and resumed, and gives the same bytes.

Until it is complete the folder holds `features.partial`, with a row for each image read so far, and `progress.json`.
Rows are appended in the images' order and unreadable images get none, so the rows need not be moved at the end.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader

from maekit.data.loader import choose_workers, worker_error_line
from maekit.errors import UserError
from maekit.features.extractor import Extractor
from maekit.features.files.listings import write_lists
from maekit.features.files.parquet import write_parquet
from maekit.features.files.row_file import RowFile
from maekit.features.images import ImageFolder, ImageReader, Read, image_loader
from maekit.features.metadata import CompleteMetadata, Format, Metadata
from maekit.features.patches.plan import PatchPlan, WholeReader
from maekit.system.files import locked, write_json
from maekit.system.progress import Progress as Shown

SAVE_SECONDS = 5.0  # between two writes of the progress: what a kill costs at most
_PART, _PROGRESS, _METADATA, _FEATURES = "features.partial", "progress.json", "features.json", "features.npy"
_NOT_COMPARED = ("complete", "weights")  # the same weights may have several names; their hash is compared


@dataclass
class Progress:
    """How far the embedding of a folder is.

    Attributes:
        done: images processed, from the first.
        skipped: index of each of those that could not be read, and the reason.
    """

    done: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)

    @property
    def kept(self) -> int:
        """Number of images that have features."""
        return self.done - len(self.skipped)

    def rows(self, plan: PatchPlan | None) -> int:
        """Number of rows: one an image, or one a patch."""
        if plan is None:
            return self.kept
        counts = plan.counts()
        return int(counts[: self.done].sum() - counts[[index for index, _ in self.skipped]].sum())


class Counts(NamedTuple):
    """Rows of features, images that have some, and images that could not be read."""

    rows: int
    kept: int
    skipped: int


def embed_folder(
    images: ImageFolder,
    extractor: Extractor,
    output: Path,
    *,
    half: bool = False,
    file_format: Format = "npy",
    batch_size: int = 64,
    num_workers: int | None = None,
    plan: PatchPlan | None = None,
) -> Counts:
    """Writes the features of a folder's images, or resumes where a killed run stopped.

    `output` then holds `features.npy` ([N, D], or [N, h*w, D] of a square's patches) or `features.parquet`, `files.txt`
    (the relative path of each image), `features.json`, with class folders `labels.npy` [N] int64 and `classes.txt`, and
    where images could not be read `skipped.txt` with their reasons. Of whole images, `features.npy` is [R, D], the
    patches of the first image row by row, then those of the next; `grids.npy` [N, 2] int64 has each image's patches
    (h, w), and `sizes.npy` [N, 2] int64 its height and width in pixels.

    Args:
        images: the folder.
        extractor: what to compute.
        output: a folder of its own; created if missing.
        half: whether to store float16 instead of float32.
        file_format: of the features.
        batch_size: images at a time; it does not change which images have features.
        num_workers: processes that read images; None to choose.
        plan: the patches of each image, where the extractor is one of whole images.

    Raises:
        UserError: `output` holds other features, no image can be read, a feature is not finite, or the disk is full.
    """
    dtype = np.dtype(np.float16 if half else np.float32)
    metadata = _metadata(images, extractor, dtype, file_format)
    if plan is not None:
        metadata["grids"] = plan.fingerprint()
    try:
        with locked(output / ".lock"):
            if _refuse_others(output, metadata):
                return _finished(output)
            write_json(output / _METADATA, metadata)
            progress = _resume(output, extractor.shape, dtype, len(images), plan)
            if progress.done < len(images):
                workers = choose_workers(num_workers, 1) if len(images) - progress.done > batch_size else 0
                pin = extractor.device.type == "cuda"
                loader = image_loader(_reader(images, extractor, plan), progress.done, batch_size, workers, pin)
                _compute(loader, extractor, output, progress, dtype, plan)
            _finish(images, output, metadata, progress, plan)
            return Counts(progress.rows(plan), progress.kept, len(progress.skipped))
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}); choose another --output") from error


def _reader(images: ImageFolder, extractor: Extractor, plan: PatchPlan | None) -> ImageReader:
    if plan is None:
        return ImageReader(images, extractor.transform, extractor.reading)
    return WholeReader(images, extractor.transform, extractor.reading, extractor.view, plan)


def _metadata(images: ImageFolder, extractor: Extractor, dtype: np.dtype, file_format: Format) -> Metadata:
    return Metadata(
        complete=False,
        images=str(images.root),
        num_images=len(images),
        listing=images.fingerprint(),
        weights=extractor.source.given,
        **extractor.describe(),  # type: ignore[typeddict-item]  # the grids are added where there are some
        shape=list(extractor.shape),
        grid=list(extractor.vit.grid) if extractor.whole is None else [],
        dtype=dtype.name,
        format=file_format,
        num_classes=len(images.classes),
    )


def _refuse_others(output: Path, metadata: Metadata) -> bool:
    """Refuses a folder with features of another kind; returns whether these are complete already."""
    try:
        old = json.loads((output / _METADATA).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if taken := [name for name in (_FEATURES, "files.txt", "labels.npy") if (output / name).exists()]:
            raise UserError(f"{output} holds {taken[0]} but no {_METADATA}; choose another --output") from None
        return False
    except ValueError:
        raise UserError(f"{output / _METADATA} is damaged; remove {output}, or choose another --output") from None
    wanted = {key: value for key, value in metadata.items() if key not in _NOT_COMPARED}
    words = [f"{key} {old.get(key)}, now {value}" for key, value in wanted.items() if old.get(key) != value]
    if words:
        more = f" and {len(words) - 2} more" if len(words) > 2 else ""
        raise UserError(
            f"{output} holds features that were computed otherwise ({'; '.join(words[:2])}{more}); choose another "
            "--output, or remove it"
        )
    return bool(old.get("complete"))


def _finished(output: Path) -> Counts:
    """Returns the counts of complete features, after removing what a kill in the last step left."""
    metadata: CompleteMetadata = json.loads((output / _METADATA).read_text(encoding="utf-8"))
    _tidy(output, metadata)
    print("nothing to do: all images were done")
    return Counts(metadata.get("num_patches", metadata["num_rows"]), metadata["num_rows"], metadata["num_skipped"])


def _resume(output: Path, shape: tuple[int, ...], dtype: np.dtype, num_images: int, plan: PatchPlan | None) -> Progress:
    try:
        saved = json.loads((output / _PROGRESS).read_text(encoding="utf-8"))
        progress = Progress(saved["done"], [(index, reason) for index, reason in saved["skipped"]])
    except (OSError, ValueError, KeyError, TypeError):
        return Progress()
    whole = progress.done == num_images and (output / _FEATURES).is_file()
    if not whole and not RowFile.holds(output / _PART, shape, dtype, progress.rows(plan)):
        return Progress()
    print(f"resumed: {progress.done:,} of {num_images:,} images were done", flush=True)
    return progress


def _compute(
    loader: DataLoader[Read],
    extractor: Extractor,
    output: Path,
    progress: Progress,
    dtype: np.dtype,
    plan: PatchPlan | None,
) -> None:
    total = progress.done + len(loader.sampler)  # type: ignore[arg-type]
    rows = RowFile(output / _PART, extractor.shape, dtype, progress.rows(plan))
    bar = Shown("embed", total, done=progress.done)
    saved = time.monotonic()
    try:
        for batch in loader:
            if batch.groups:
                rows.append(_finite(_features(batch, extractor), dtype))
            progress.skipped += batch.skipped
            progress.done += batch.total
            bar.advance(batch.total)
            if time.monotonic() - saved > SAVE_SECONDS:
                _save(output, progress, rows)
                saved = time.monotonic()
    except torch.OutOfMemoryError as error:
        raise UserError("out of memory on the device; give a smaller --batch_size") from error
    except RuntimeError as error:
        if line := worker_error_line(error):
            raise UserError(line.replace("--data.num_workers", "--num_workers")) from error
        raise
    finally:
        bar.close()
        if progress.rows(plan) == rows.rows:  # not in the middle of a batch
            _save(output, progress, rows)
        rows.close()


def _features(batch: Read, extractor: Extractor) -> np.ndarray:
    """Returns the rows of a batch's images in their order."""
    if len(batch.groups) == 1:
        return extractor(batch.groups[0]).reshape(-1, *extractor.shape).numpy()
    found: dict[int, np.ndarray] = {}
    for group, places in zip(batch.groups, batch.places, strict=True):
        found.update(zip(places, extractor(group).numpy(), strict=True))
    return np.concatenate([found[place].reshape(-1, *extractor.shape) for place in sorted(found)])


def _finite(features: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = features.astype(dtype)
    if not np.isfinite(stored).all():
        kind = "too large for float16; leave --half out" if np.isfinite(features).all() else "NaN or infinite"
        raise UserError(f"features are {kind}; check the weights with `maekit weights inspect`")
    return stored


def _save(output: Path, progress: Progress, rows: RowFile) -> None:
    """Writes the rows, then their number: whenever the process is killed, no row is counted that is not on disk."""
    rows.sync()
    write_json(output / _PROGRESS, {"done": progress.done, "skipped": progress.skipped})


def _finish(images: ImageFolder, output: Path, metadata: Metadata, progress: Progress, plan: PatchPlan | None) -> None:
    """Turns the rows into the final files; each step is idempotent, since a kill may come between two."""
    if not progress.kept:
        for name in (_PART, _PROGRESS, _METADATA):
            (output / name).unlink(missing_ok=True)
        index, reason = progress.skipped[0]
        raise UserError(
            f"none of the {len(images):,} images in {images.root} can be read; the first is {images.names[index]}: "
            f"{reason}; give a folder of images"
        )
    dtype, shape = np.dtype(metadata["dtype"]), tuple(metadata["shape"])
    if (output / _PART).is_file():
        RowFile(output / _PART, shape, dtype, progress.rows(plan)).finish(output / _FEATURES)
    write_lists(images, output, progress.skipped)
    if plan is not None:
        plan.write(output, progress.skipped)
    if metadata["format"] == "parquet":
        write_parquet(output)
    counts = {"num_rows": progress.kept, "num_skipped": len(progress.skipped)}
    if plan is not None:
        counts["num_patches"] = progress.rows(plan)
    write_json(output / _METADATA, {**metadata, "complete": True, **counts})
    _tidy(output, metadata)


def _tidy(output: Path, metadata: Metadata) -> None:
    if metadata["format"] == "parquet":
        (output / _FEATURES).unlink(missing_ok=True)
    (output / _PROGRESS).unlink(missing_ok=True)
