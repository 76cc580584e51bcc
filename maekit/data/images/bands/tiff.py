"""TIFF files of any channels, by tifffile: samples or pages, chunky or planar, in strips or tiles."""

import logging
import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maekit.base.spec import RGB
from maekit.data.images.bands.file_form import FileForm, UnfitError, dtype_word, unique

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
GDAL_METADATA, GDAL_NODATA, ORIENTATION = 42112, 42113, 274  # GDAL's own tags, and TIFF 6.0's
SMALLER_OR_MASK = 1 | 4  # TIFF 6.0, NewSubfileType: an overview, or a mask
MINIMUM_IS_BLACK, COLOUR, YCBCR, JPEG = 1, 2, 6, 7
ALPHA = (1, 2)  # TIFF 6.0, ExtraSamples: associated and unassociated
GREY = "grey"
INSTALL = "pip install 'maekit[tiff]'"


def look(path: Path) -> FileForm:
    """Returns the form of the image in a TIFF file.

    Raises:
        UnfitError: it has pages of several sizes, or is coded in a way that has no channels.
        Exception: it is damaged: tifffile raises errors of many classes.
    """
    with opened(path) as file:
        pages = image_pages(file)
        first = pages[0]
        names = _names(file, pages)
        turn = first.tags.valueof(ORIENTATION, 1)
        whole = first.photometric in (COLOUR, YCBCR) and first.dtype == np.uint8 and len(pages) == 1
        return FileForm(
            first.imagelength,
            first.imagewidth,
            names,
            dtype_word(str(first.dtype)),
            plain=bool(whole and first.samplesperpixel == len(RGB)),
            nodata=_nodata(first),
            turn=turn if turn in range(1, 9) else 1,
        )


def read(path: Path) -> np.ndarray:
    """Returns the pixels [H, W, C], in the type that the file has."""
    with opened(path) as file:
        return np.concatenate([_samples(page) for page in image_pages(file)], axis=-1)


def opened(path: Path) -> "TiffFile":
    """Opens a TIFF file by tifffile; `with` closes it.

    Raises:
        UnfitError: tifffile is not installed.
        Exception: the file is damaged.
    """
    try:
        from tifffile import TiffFile
    except ImportError:
        raise UnfitError(f"is a TIFF file, whose channels tifffile reads; {INSTALL}") from None
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it reports odd tags, which do no harm
    return TiffFile(path)


def image_pages(file: "TiffFile") -> "list[TiffPage]":
    """Returns the pages that hold the image's channels: one with all, or one each.

    Overviews and masks are passed over: those that say so, and the smaller levels of a pyramid that tifffile knows, as
    of Aperio's .svs. It looks at all pages of a file.

    Raises:
        UnfitError: the pages differ, or are coded in a way that has no channels.
    """
    pages: list[Any] = [page.aspage() for page in file.pages]
    pages = [page for page in pages if not page.subfiletype & SMALLER_OR_MASK]
    if len({(page.imagelength, page.imagewidth) for page in pages}) > 1 and len(file.series[0].levels) > 1:
        pages = [page.aspage() for page in file.series[0].levels[0].pages if page is not None]
    if not pages:
        raise UnfitError("a TIFF file without a page that is an image; save it again")
    first = pages[0]
    if first.photometric not in (MINIMUM_IS_BLACK, COLOUR) and not (
        first.photometric == YCBCR and first.compression == JPEG
    ):
        raise UnfitError(
            f"a TIFF file of {getattr(first.photometric, 'name', first.photometric)} colours, expected grey, RGB or "
            "bands; save it as one of these"
        )
    shapes = [(page.imagelength, page.imagewidth, str(page.dtype)) for page in pages]
    other = next((place for place, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is not None:
        (h, w, kind), (h2, w2, kind2) = shapes[0], shapes[other]
        raise UnfitError(
            f"page 1 has {h} x {w} pixels of {kind} and page {other + 1} {h2} x {w2} of {kind2}, expected pages "
            "alike, one a channel; save the image alone"
        )
    if len(pages) > 1 and any(page.samplesperpixel > 1 for page in pages):
        raise UnfitError(
            f"{len(pages)} pages of {max(page.samplesperpixel for page in pages)} channels, expected one page, or "
            "pages of one channel; save the image alone"
        )
    return pages


def _samples(page: "TiffPage") -> np.ndarray:
    """One page's [H, W, S], whichever way its samples lie."""
    pixels = page.asarray(maxworkers=1)
    if pixels.ndim == 2:
        return pixels[..., None]
    if pixels.ndim != 3:
        raise UnfitError(f"a TIFF page of shape {list(pixels.shape)}, expected height, width and channels; save it so")
    return np.moveaxis(pixels, page.axes.index("S"), -1)


def _names(file: "TiffFile", pages: "list[TiffPage]") -> tuple[str, ...]:
    """The channels' names: GDAL's descriptions, ImageJ's labels, else by the kind of colours; empty where unknown."""
    first = pages[0]
    count = len(pages) if len(pages) > 1 else first.samplesperpixel
    described = unique(_gdal_names(first, count))
    if any(described):
        return described
    labels = (file.imagej_metadata or {}).get("Labels", [])
    if len(pages) > 1 and isinstance(labels, list) and len(labels) == count and all(unique(labels)):
        return unique(labels)
    if first.photometric in (COLOUR, YCBCR) and count >= len(RGB):
        extra = [("A" if kind in ALPHA else "") for kind in first.extrasamples]
        return unique((*RGB, *(*extra, *[""] * count)[: count - len(RGB)]))
    return (GREY,) if count == 1 else ("",) * count


def _gdal_names(page: "TiffPage", count: int) -> list[str]:
    """Band descriptions, which GDAL writes as `<Item name="DESCRIPTION" sample="0" role="description">B2</Item>`."""
    names = [""] * count
    for attributes, content in re.findall(r"<Item\s+([^>]*)>([^<]*)</Item>", _text(page, GDAL_METADATA)):
        sample = re.search(r'sample="(\d+)"', attributes)
        if 'role="description"' in attributes and sample and int(sample[1]) < count:
            names[int(sample[1])] = unescape(content)
    return names


def _nodata(page: "TiffPage") -> float | None:
    try:
        return float(_text(page, GDAL_NODATA).strip("\0 "))
    except ValueError:
        return None


def _text(page: "TiffPage", tag: int) -> str:
    value = page.tags.valueof(tag, "")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
