"""The images a user gave to a command: which files they are, how they are read, and which were left out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maekit.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from maekit.data.images.decode import Reading

SKIPPED = "skipped.txt"
SAMPLE = 200


@dataclass
class GivenImages:
    """What was found below the paths that a user gave, and what could not be used.

    Attributes:
        input: what the model's card says of its input; its `white` is used.
        skipped: path of and reason for each file that was left out; written to skipped.txt.
        unread: how many of those are images that could not be read.
        lines: what `look` says besides, on stderr.
        reading: how they are read, once `look` has decided it.
    """

    input: dict[str, Any] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    unread: int = 0
    lines: list[str] = field(default_factory=list)
    reading: "Reading | None" = None

    def look(self, files: Sequence[Path]) -> None:
        """Decides from a sample of the files what is white, and says what is not plain 8-bit RGB, on stderr."""
        from maekit.data.images.decode import Reading, reading_of
        from maekit.data.images.picture_form import notes
        from maekit.data.images.survey import choose_white, survey_files

        step = max(1, len(files) // SAMPLE)
        found = survey_files(files[::step])
        self.reading = reading_of(self.input)
        lines = [*self.lines, *notes(found, turn=True)]
        if self.reading.white is None:
            try:
                white, words = choose_white(found, None, flag="")
                self.reading = Reading(True, white)
                lines += [words] if words else []
            except UserError as error:
                lines.append(str(error))
        for line in lines:
            print(f"maekit: {line}", file=sys.stderr)

    def read(self, file: Path) -> "Image | None":
        """Reads one image, upright; says why on stderr and returns None where it cannot be read."""
        from maekit.data.images.decode import UPRIGHT

        try:
            return (self.reading or UPRIGHT)(file)
        except UserError as error:
            self.leave_out(file, str(error))
            return None

    def leave_out(self, file: Path, reason: str) -> None:
        """Notes an image that cannot be used, and says so on stderr."""
        print(f"maekit: left out: {reason}", file=sys.stderr)
        self.skipped.append((str(file), reason.removeprefix(f"{file}: ")))
        self.unread += 1

    def finish(self, folder: Path) -> str:
        """Writes skipped.txt into the folder of the results where there is something to say; returns words for it."""
        from maekit.features.files.listings import write_lines

        if not self.skipped:
            (folder / SKIPPED).unlink(missing_ok=True)
            return ""
        clean = ((name.replace("\n", "\\n"), reason) for name, reason in self.skipped)
        write_lines(folder / SKIPPED, (f"{name}\t{reason}" for name, reason in clean))
        others = len(self.skipped) - self.unread
        parts = [f"{self.unread:,} could not be read"] if self.unread else []
        parts += [f"{others:,} files are no images by their names"] if others else []
        return f"; {', '.join(parts)}, see {folder / SKIPPED}"
