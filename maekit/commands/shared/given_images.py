"""The images that a user gives to a command: which files they are, how they are read, which are left out and why."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from maekit.commands.shared.image_words import list_lines, list_of, listed_path, matches, refuse_url, unique
from maekit.errors import UserError, nearest
from maekit.system.numbers import plural
from maekit.system.terminal import on_one_line

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from maekit.data.images.reading_of import AnyReading

SKIPPED = "skipped.txt"
SAMPLE = 200  # files that are looked into to find out what is white
Sample = TypeVar("Sample")


@dataclass
class GivenImages:
    """Finds and reads images, and collects what cannot be used.

    Call `find_all`, or `find` for each path, then `choose_reading` once, then `read` or `batches`, and `write_skipped`
    at the end.

    Attributes:
        input: the input transform in the model's card or configuration; its `white` and `clip` are used.
        skipped: path of and reason for each file that was left out.
        num_unread: how many of those are images that could not be read.
        notices: lines about what `find` left out, which `choose_reading` prints.
        reading: how images are read; `choose_reading` decides it.
        folders: that images were looked for in.
    """

    input: Mapping[str, object] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    num_unread: int = 0
    notices: list[str] = field(default_factory=list)
    reading: "AnyReading | None" = None
    folders: list[Path] = field(default_factory=list)

    def find_all(self, words: Sequence[str]) -> list[Path]:
        """Returns the images that some words name, each once: files, folders, patterns and lists (`image_words`).

        Lines of a list that name nothing are left out.

        Raises:
            UserError: a word names no image, or is an address.
        """
        found = [file for word in words for file in self._named(word)]
        files = list(unique(found))
        if twice := len(found) - len(files):
            self.notices.append(f"{plural(twice, 'image')} named more than once, taken once")
        return files

    def _named(self, word: str) -> list[Path]:
        refuse_url(word)
        if list_file := list_of(word):
            return self._listed(list_file)
        if (matched := matches(word)) is not None:
            return self._matched(word, *matched)
        return self.find(Path(word).expanduser())

    def _matched(self, pattern: str, paths: Sequence[Path], folder: Path) -> list[Path]:
        """Returns the images that a pattern found; of files only those that are images by their names."""
        from maekit.data.folders.file_names import EXPECTED_IMAGES, is_array_name, is_image_name

        recursive = "**" in pattern
        self.folders += [folder] if recursive else []
        files: list[Path] = []
        for path in paths:
            if path.is_dir():
                files += [] if recursive else self.find(path)
            elif is_image_name(path.name) or is_array_name(path.name):
                files.append(path)
            else:
                self.skipped.append((str(path), "its name is not an image's"))
        if not files:
            what = f"matches {plural(len(paths), 'path')}, none an image" if paths else "matches nothing"
            raise UserError(f"{pattern}: {what}, {EXPECTED_IMAGES}")
        return files

    def _listed(self, list_file: Path) -> list[Path]:
        files: list[Path] = []
        missing: list[str] = []
        lines = list_lines(list_file)
        for number, line in lines:
            path = listed_path(line, list_file)
            if path.exists():
                files += self.find(path)
            else:
                missing.append(line)
                self.skipped.append((str(path), f"no such file (line {number} of {list_file})"))
        if len(missing) == len(lines):
            raise UserError(
                f"{list_file}: none of its {plural(len(lines), 'line')} is an image or folder, such as {missing[0]}; "
                f"paths are relative to the current folder or to {list_file.absolute().parent}"
            )
        if missing:
            self.num_unread += len(missing)
            lost = plural(len(missing), "line that names", "lines that name")
            self.notices.append(f"{list_file}: left out: {lost} no file, the first: {missing[0]}")
        return files

    def find(self, path: Path) -> list[Path]:
        """Returns the image itself, or every image below a folder, sorted by relative path.

        Raises:
            UserError: there is no such path, or the folder has no images.
        """
        from maekit.data.folders.file_names import EXPECTED_IMAGES
        from maekit.data.folders.listing import scan_images

        if path.is_file():
            return [path]
        if not path.is_dir():
            if path.exists():
                raise UserError(f"{path}: a pipe or a device, expected an image or a folder")
            near = nearest(path.name, [file.name for file in path.parent.iterdir()]) if path.parent.is_dir() else ""
            raise UserError(f"no image or folder {path}{near}")
        self.folders.append(path)
        names, left_out = scan_images(path)
        if not names:
            raise UserError(f"{path}: no images in this folder, {EXPECTED_IMAGES}")
        self.skipped += [(str(path / name), reason) for name, reason in left_out.reasons()]
        if left_out:
            self.notices.append(f"{path}: {left_out.words()}")
        return [path / name for name in names]

    def choose_reading(self, files: Sequence[Path]) -> None:
        """Decides what is white from the card or a sample of the files; prints to stderr what is not 8-bit RGB."""
        from maekit.data.images.decode import Reading
        from maekit.data.images.picture_form import notes
        from maekit.data.images.reading_of import reading_of
        from maekit.data.images.survey import choose_white, survey_files

        self.reading = reading_of(self.input)
        plain = isinstance(self.reading, Reading)
        found = survey_files(files[:: max(1, len(files) // SAMPLE)] if plain else ())
        lines = [*self.notices, *notes(found, turn=True)]
        if isinstance(self.reading, Reading) and self.reading.white is None:
            try:
                white, notice = choose_white(found, None, flag="")
                self.reading = replace(self.reading, white=white)
                lines += [notice] if notice else []
            except UserError as error:
                lines.append(str(error))
        for line in lines:
            print(f"maekit: {line}", file=sys.stderr)

    def read(self, file: Path) -> "Image | Tensor | None":
        """Returns one image, upright: 8-bit RGB, or bands [H, W, C]; None if it cannot be read, printed to stderr."""
        from maekit.data.images.decode import UPRIGHT

        try:
            return (self.reading or UPRIGHT)(file)
        except UserError as error:
            self.leave_out(file, str(error))
            return None

    def batches(
        self, files: Sequence[Path], prepare: "Callable[[Image | Tensor], Sample]", size: int
    ) -> Iterator[tuple[list[Path], list[Sample]]]:
        """Yields up to `size` files at a time with what `prepare` makes of their images; leaves out the unusable."""
        names: list[Path] = []
        samples: list[Sample] = []
        for file in files:
            image = self.read(file)
            if image is None:
                continue
            try:
                samples.append(prepare(image))
                names.append(file)
            except UserError as error:
                self.leave_out(file, str(error))
            if len(names) == size:
                yield names, samples
                names, samples = [], []
        if names:
            yield names, samples

    def leave_out(self, file: Path, reason: str) -> None:
        """Records an image that cannot be used, and prints it to stderr."""
        print(f"maekit: left out: {on_one_line(reason)}", file=sys.stderr)
        self.skipped.append((str(file), reason.removeprefix(f"{file}: ")))
        self.num_unread += 1

    def write_skipped(self, folder: Path) -> str:
        """Writes skipped.txt if files were left out, else removes an old one; returns the end of a line of text.

        Args:
            folder: of the results; it exists.
        """
        from maekit.features.files.listings import write_lines

        if not self.skipped:
            (folder / SKIPPED).unlink(missing_ok=True)
            return ""
        lines = (f"{on_one_line(name)}\t{on_one_line(reason)}" for name, reason in self.skipped)
        write_lines(folder / SKIPPED, lines)
        others = len(self.skipped) - self.num_unread
        parts = [f"{self.num_unread:,} could not be read"] if self.num_unread else []
        names = plural(others, "file is no image by its name", "files are no images by their names")
        parts += [names] if others else []
        return f"; {', '.join(parts)}, see {folder / SKIPPED}"
