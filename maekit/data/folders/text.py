"""Reading the text files that come with data sets, with or without a byte order mark."""

import codecs
from pathlib import Path

from maekit.errors import UserError


def read_text(path: Path) -> str:
    """Returns a text file in UTF-8 or, where its byte order mark says so, in UTF-16; line ends become `\\n`.

    Raises:
        UserError: it cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
        encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); unpack the list again") from None
    except UnicodeDecodeError as error:
        advice = "save it as UTF-8, or unpack it again"
        raise UserError(f"{path}: cannot be read (not text in UTF-8: byte {error.start}); {advice}") from None
