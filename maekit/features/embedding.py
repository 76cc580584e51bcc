"""The features of a folder of images on disk: computed once, resumable, the same bytes however often interrupted.

While it is made the folder holds `features.partial`, a row for each image read so far, and `progress.json`, how far
that is. Rows are appended in the images' order and unreadable images get none, so nothing is closed up at the end.
"""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from maekit.data.loader import choose_workers, worker_error_line
from maekit.errors import UserError
from maekit.features.extractor import Extractor
from maekit.features.files.listings import write_lists
from maekit.features.files.parquet import write_parquet
from maekit.features.files.row_file import RowFile
from maekit.features.images import ImageFolder, ImageReader, Read, image_loader
from maekit.system.files import locked, write_json

Format = Literal["npy", "parquet"]
SAVE_SECONDS = 5.0  # between two notes of how far it is: what a kill costs at most
_PART, _PROGRESS, _FACTS, _FEATURES = "features.partial", "progress.json", "features.json", "features.npy"
_TELLS_NOTHING = ("complete", "weights")  # the same weights may have several names; their hash tells


@dataclass
class Progress:
    """How far the embedding of a folder is.

    Attributes:
        done: images dealt with, from the first.
        skipped: index of and reason for each of those that could not be read.
    """

    done: int = 0
    skipped: list[tuple[int, str]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Features there are."""
        return self.done - len(self.skipped)


class Counts(NamedTuple):
    """Images that have features, and images that could not be read."""

    rows: int
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
) -> Counts:
    """Writes the features of a folder's images, or goes on where a run that was killed stood.

    `output` then holds `features.npy` ([N, D], or [N, h*w, D] of patches) or `features.parquet`, `files.txt` (the
    relative path of each row), `features.json`, with class folders `labels.npy` [N] int64 and `classes.txt`, and where
    images could not be read `skipped.txt` with their reasons.

    Args:
        images: the folder.
        extractor: what to compute.
        output: a folder of its own; it is made.
        half: whether to store float16 instead of float32.
        file_format: of the features.
        batch_size: images at a time; it does not change which images have features.
        num_workers: processes that read images; None to choose.

    Raises:
        UserError: `output` holds other features, no image can be read, a feature is not finite, or the disk is full.
    """
    dtype = np.dtype(np.float16 if half else np.float32)
    facts = _facts(images, extractor, dtype, file_format)
    try:
        with locked(output / ".lock"):
            if _refuse_others(output, facts):
                return _finished(output)
            write_json(output / _FACTS, facts)
            progress = _resume(output, extractor.shape, dtype, len(images))
            if progress.done < len(images):
                workers = choose_workers(num_workers, 1) if len(images) - progress.done > batch_size else 0
                pin = extractor.device.type == "cuda"
                reader = ImageReader(images, extractor.transform, extractor.reading)
                loader = image_loader(reader, progress.done, batch_size, workers, pin)
                _compute(loader, extractor, output, progress, dtype)
            _finish(images, output, facts, progress)
            return Counts(progress.rows, len(progress.skipped))
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}); choose another --output") from error


def _facts(images: ImageFolder, extractor: Extractor, dtype: np.dtype, file_format: Format) -> dict[str, Any]:
    return {
        "complete": False,
        "images": str(images.root),
        "num_images": len(images),
        "listing": images.fingerprint(),
        "weights": extractor.source.given,
        **extractor.describe(),
        "shape": list(extractor.shape),
        "grid": list(extractor.vit.grid),
        "dtype": dtype.name,
        "format": file_format,
        "num_classes": len(images.classes),
    }


def _refuse_others(output: Path, facts: dict[str, Any]) -> bool:
    """Refuses a folder with features of another kind; returns whether these are there already."""
    try:
        old = json.loads((output / _FACTS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        if taken := [name for name in (_FEATURES, "files.txt", "labels.npy") if (output / name).exists()]:
            raise UserError(f"{output} holds {taken[0]} but no {_FACTS}; choose another --output") from None
        return False
    except ValueError:
        raise UserError(f"{output / _FACTS} is damaged; remove {output}, or choose another --output") from None
    changed = [key for key in facts if key not in _TELLS_NOTHING and old.get(key) != facts[key]]
    words = [f"{key} {old.get(key)}, now {facts[key]}" for key in changed]
    if words:
        more = f" and {len(words) - 2} more" if len(words) > 2 else ""
        raise UserError(
            f"{output} holds features that were computed otherwise ({'; '.join(words[:2])}{more}); choose another "
            "--output, or remove it"
        )
    return bool(old.get("complete"))


def _finished(output: Path) -> Counts:
    """Also ends what a kill right at the end left undone."""
    facts = json.loads((output / _FACTS).read_text(encoding="utf-8"))
    _tidy(output, facts)
    print("nothing to do: all images were done")
    return Counts(facts["num_rows"], facts["num_skipped"])


def _resume(output: Path, shape: tuple[int, ...], dtype: np.dtype, num_images: int) -> Progress:
    try:
        saved = json.loads((output / _PROGRESS).read_text(encoding="utf-8"))
        progress = Progress(saved["done"], [(index, reason) for index, reason in saved["skipped"]])
    except (OSError, ValueError, KeyError, TypeError):
        return Progress()
    whole = progress.done == num_images and (output / _FEATURES).is_file()
    if not whole and not RowFile.holds(output / _PART, shape, dtype, progress.rows):
        return Progress()
    print(f"resumed: {progress.done:,} of {num_images:,} images were done", flush=True)
    return progress


def _compute(loader: DataLoader[Read], extractor: Extractor, output: Path, progress: Progress, dtype: np.dtype) -> None:
    total, rows = progress.done + len(loader.sampler), RowFile(output / _PART, extractor.shape, dtype, progress.rows)  # type: ignore[arg-type]
    bar = tqdm(total=total, initial=progress.done, desc="embed", unit="image", disable=None, leave=False)
    saved = time.monotonic()
    try:
        for batch in loader:
            if batch.images is not None:
                rows.append(_finite(extractor(batch.images).numpy(), dtype))
            progress.skipped += batch.skipped
            progress.done += batch.total
            bar.update(batch.total)
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
        if progress.rows == rows.rows:  # not in the middle of a batch
            _save(output, progress, rows)
        rows.close()


def _finite(features: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        stored = features.astype(dtype)
    if not np.isfinite(stored).all():
        kind = "too large for float16; leave --half out" if np.isfinite(features).all() else "NaN or infinite"
        raise UserError(f"features are {kind}; check the weights with `maekit weights inspect`")
    return stored


def _save(output: Path, progress: Progress, rows: RowFile) -> None:
    """First the rows, then how many there are: whatever ends the process, no row is counted that is not there."""
    rows.sync()
    write_json(output / _PROGRESS, {"done": progress.done, "skipped": progress.skipped})


def _finish(images: ImageFolder, output: Path, facts: dict[str, Any], progress: Progress) -> None:
    """Every step can be done again, should the process be killed between two."""
    if not progress.rows:
        for name in (_PART, _PROGRESS, _FACTS):
            (output / name).unlink(missing_ok=True)
        index, reason = progress.skipped[0]
        raise UserError(
            f"none of the {len(images):,} images in {images.root} can be read; the first is {images.names[index]}: "
            f"{reason}; give a folder of images"
        )
    dtype, shape = np.dtype(facts["dtype"]), tuple(facts["shape"])
    if (output / _PART).is_file():
        RowFile(output / _PART, shape, dtype, progress.rows).finish(output / _FEATURES)
    write_lists(images, output, progress.skipped)
    if facts["format"] == "parquet":
        write_parquet(output)
    counts = {"num_rows": progress.rows, "num_skipped": len(progress.skipped)}
    write_json(output / _FACTS, {**facts, "complete": True, **counts})
    _tidy(output, facts)


def _tidy(output: Path, facts: dict[str, Any]) -> None:
    if facts["format"] == "parquet":
        (output / _FEATURES).unlink(missing_ok=True)
    (output / _PROGRESS).unlink(missing_ok=True)
