"""What an `--output` of a command must not be."""

from pathlib import Path

from maekit.errors import UserError


def refuse_file(output: Path | None) -> None:
    """Refuses an `--output` that is a file, before anything is loaded."""
    if output is not None and output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file, expected a folder; choose another")


def refuse_results_among_images(images: Path, output: Path) -> None:
    """Refuses an output folder in which the next run would take this one's results for images."""
    folder = images.resolve()
    if images.is_dir() and output.resolve().is_relative_to(folder):
        where = "is the folder of the images" if output.resolve() == folder else f"lies in the images' folder {images}"
        raise UserError(
            f"--output {output}: {where}, where the next run would take the results for images; "
            f"choose a folder outside, such as {images.absolute().parent / 'predictions'}"
        )
