"""Imports flow one way: one table of who may import whom, and no circle; lazy and typing imports are counted."""

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
EVERYBODY = {"errors", "version"}
# Who may import whom among the folders and files right below maekit/; a new folder needs a row here.
ALLOWED = {
    "errors": "",
    "version": "",
    "system": "",
    "backbone": "system",
    "optim": "system",
    "recipes": "optim system",
    "runs": "recipes system",
    "weights": "backbone runs system",
    "base": "backbone recipes weights system",
    "data": "base system",
    "drawing": "data system",
    "tiles": "base data drawing system",
    "features": "backbone base data drawing runs system weights",
    "classification": "backbone base data drawing system weights",
    "segmentation": "backbone base data drawing system tiles weights",
    "detection": "backbone base data drawing system tiles weights",
    "robustness": "base classification data system weights",
    "pretraining": "backbone base classification data drawing features system weights",
    "tasks": "backbone base classification data detection pretraining robustness segmentation system",
    "planning": "backbone base optim recipes system",
    "replay": "base recipes system weights version",
    "training": "base data optim planning recipes replay runs system weights",
    "study": "base optim recipes runs system training weights",
    "export": "backbone base data recipes runs system weights",
    "paper": "recipes runs system",
    "report": "paper recipes runs study system",
    "api": "base data optim planning recipes runs system training weights",
    "commands": "api backbone base data drawing export features optim paper planning pretraining recipes report runs "
    "replay study system tiles training weights",
    "maekit": "api",
    "cli": "commands recipes system",
    "__main__": "cli system",
}
FAMILIES = {"classification", "segmentation", "detection", "pretraining", "robustness"}
MOST_FILES, MOST_AT_THE_TOP, MOST_LINES = 20, 8, 260
FILES = sorted(path.relative_to(TOP) for folder in ("maekit", "tasks") for path in (TOP / folder).rglob("*.py"))


def module_of(file: Path) -> str:
    parts = list(file.with_suffix("").parts)
    parts = ["maekit", *parts] if parts[0] == "tasks" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imported(tree: ast.AST, *, top_level: bool = False) -> Iterator[str]:
    """Names of imported modules; only those imported with the module itself if `top_level`."""
    for node in ast.iter_child_nodes(tree) if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


TREES = {module: ast.parse((TOP / file).read_text()) for module, file in MODULES.items()}
IMPORTS = {module: set(imported(tree)) for module, tree in TREES.items()}
ARROWS = {module: {name for name in names if name in MODULES} - {module} for module, names in IMPORTS.items()}


def folder_of(module: str) -> str:
    """The folder or file right below `maekit`; `maekit` itself for the package."""
    return module.split(".")[1] if "." in module else "maekit"


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_table(module: str) -> None:
    own = folder_of(module)
    assert own in ALLOWED, f"maekit/{own} is in no row of ALLOWED"
    others = {folder_of(name) for name in ARROWS[module]} - {own}
    assert others <= EVERYBODY | set(ALLOWED[own].split())


@pytest.mark.parametrize("above", sorted({name.rpartition(".")[0] for name in MODULES if "." in name}))
def test_there_is_no_circle_between_what_a_folder_holds(above: str) -> None:
    """Files and sub-folders alike, a sub-folder being all that lies in it."""

    def child(name: str) -> str:
        return name.removeprefix(f"{above}.").split(".")[0]

    below = {module: arrows for module, arrows in ARROWS.items() if module.startswith(f"{above}.")}
    graph: dict[str, set[str]] = {child(module): set() for module in below}
    for module, arrows in below.items():
        inside = {child(name) for name in arrows if name.startswith(f"{above}.")}
        graph[child(module)] |= inside - {child(module)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"{above}: {' <- '.join(error.args[1])}")


def test_no_family_imports_another_inside_a_function() -> None:
    for module, tree in TREES.items():
        late = ARROWS[module] - set(imported(tree, top_level=True))
        others = {folder_of(name) for name in late} & FAMILIES - {folder_of(module)}
        assert not others or folder_of(module) not in FAMILIES, f"{module} imports {others} late"


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_are_where_they_belong(module: str) -> None:
    folder, libraries = folder_of(module), {name.split(".")[0] for name in IMPORTS[module]}
    at_top = set(imported(TREES[module], top_level=True))
    if folder not in ("training", "api"):
        assert not {"lightning", "pytorch_lightning"} & libraries
    if folder == "api":  # for typing alone
        assert not any(name.startswith("lightning") for name in at_top)
    if module != "maekit.recipes.settings":
        assert "jsonargparse" not in libraries
    if folder in ("runs", "paper", "report"):  # a hundred runs are read in a second
        assert not {"torch", "numpy", "optuna"} & libraries
    if folder in ("cli", "commands", "maekit") or module in ("maekit.recipes.tasks", "maekit.recipes.recipe"):
        heavy = {"torch", "numpy", "timm", "torchvision", "lightning"}
        assert not heavy & {name.split(".")[0] for name in at_top}
        assert not {"maekit.recipes.settings", "maekit.api", "maekit.base.model", "maekit.training.run"} & at_top


HEADS = (
    "maekit.classification.linear_head",
    "maekit.classification.probe_head",
    "maekit.classification.targets.heads",
    "maekit.segmentation.head",
    "maekit.detection.mask_rcnn",
    "maekit.detection.pyramids",
    "maekit.detection.channel_norm",
    "maekit.pretraining.decoder",
    "maekit.pretraining.target",
)


@pytest.mark.parametrize("head", HEADS)
def test_a_head_is_given_widths_and_tensors(head: str) -> None:
    """It imports neither a backbone nor weights, so that any backbone goes under it."""
    modules = [module for module in MODULES if f"{module}.".startswith(f"{head}.")]
    assert modules
    for module in modules:
        assert not {folder_of(name) for name in ARROWS[module]} & {"backbone", "weights"}, module


def test_folders_stay_small_and_are_packaged() -> None:
    counts = Counter(file.parent for file in FILES)
    assert counts[Path("maekit")] <= MOST_AT_THE_TOP
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}
    assert {folder for folder in counts if not (TOP / folder / "__init__.py").is_file()} == set()
    listed = set(tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(folder.parts) for folder in counts if folder.parts[0] == "maekit"}
    assert listed == found | {"maekit.tasks", "maekit.configs"}


def test_the_library_names_no_task() -> None:
    tasks = {path.stem for path in (TOP / "tasks").glob("*.py")} - {"__init__"}
    assert tasks
    for file in FILES:
        if file.parts[0] == "maekit":
            text = (TOP / file).read_text()
            assert not [name for name in tasks if name in text], file


def test_only_the_backbone_knows_where_its_prefix_tokens_are() -> None:
    """`tokens[:, 1:]` and `tokens[:, 0]` would average registers in silently, or take one for the class token."""
    for module, tree in TREES.items():
        if folder_of(module) == "backbone":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and "token" in ast.unparse(node.value):
                assert not ast.unparse(node).endswith(("[:, 0]", "[:, 1:]")), f"{module}: {ast.unparse(node)}"


def test_files_stay_short() -> None:
    """A file that does not fit a few screens is split."""
    for file in FILES:
        lines = [
            line for line in (TOP / file).read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")
        ]
        assert len(lines) <= MOST_LINES, f"{file}: {len(lines)} code lines"


def test_no_test_module_imports_another() -> None:
    for file in (TOP / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                parts = {part for name in names if name.startswith("tests.") for part in name.split(".")[1:-1]}
                assert not [part for part in parts if part.startswith("test_")], f"{file}: {node.module}"
