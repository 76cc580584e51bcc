"""Class names for people, from the file that ImageNet's class folders come with."""

from pathlib import Path

from maekit.data.folders.text import read_text

MAPPING = "LOC_synset_mapping.txt"


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
