"""Reading the text and JSON files that come with data sets, with or without a byte order mark, and ImageNet's names."""

import codecs
import json
from pathlib import Path
from typing import TypeVar

import msgspec

from maekit.errors import UserError

MAPPING = "LOC_synset_mapping.txt"
Content = TypeVar("Content")


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


def read_json(path: Path, form: type[Content], expected: str) -> Content:
    """Reads a JSON file into the types that it should have; keys that the types do not name are skipped.

    Args:
        path: of the file.
        form: a `msgspec.Struct`, or any other type that msgspec can decode.
        expected: the end of the error of a file of another form: what it should hold and what to do.

    Raises:
        UserError: the file cannot be read, is not JSON, or a value has another type; it says where, as
            `$.images[1].file_name`.
    """
    try:
        data = path.read_bytes()
        try:
            return msgspec.json.decode(data, type=form)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # Python's parser also takes UTF-16, a byte order mark, NaN and lone surrogates
            return msgspec.convert(json.loads(data), type=form)
    except msgspec.ValidationError as error:
        reason = str(error)
        raise UserError(f"{path}: {reason[0].lower()}{reason[1:]}; {expected}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        reason, size = " ".join(str(error).split()), path.stat().st_size
        raise UserError(
            f"{path}: not whole or not JSON ({reason}; the file has {size:,} bytes); download and unpack it again"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend its permissions or links") from None


def readable_names(root: Path, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Returns one name a class: from `LOC_synset_mapping.txt` where it names them all, else the folder names.

    The file holds lines like `n01440764 tench, Tinca tinca`. Kaggle's ImageNet has it three folders above
    ILSVRC/Data/CLS-LOC. A name that two classes share (`crane`) gets its folder name after it.

    Args:
        root: the data folder.
        classes: names of the class folders, in label order.
    """
    for folder in (root, *list(root.parents)[:3]):
        if (folder / MAPPING).is_file():
            lines = read_text(folder / MAPPING).split("\n")
            known = {ident: name.strip() for ident, _, name in (line.partition(" ") for line in lines) if name.strip()}
            if known.keys() >= set(classes):
                names = [known[ident] for ident in classes]
                return tuple(n if names.count(n) == 1 else f"{n} ({i})" for n, i in zip(names, classes, strict=True))
    return classes
