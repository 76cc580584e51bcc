"""`maekit report`: a page, Markdown, LaTeX and CSV of a run, a study or a folder of runs."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from maekit.errors import UserError

if TYPE_CHECKING:
    from maekit.report.document import Document

FORWARDS = False
_STUDY = "study.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this command."""
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a run's folder or number (3, smoke/3), a study's folder, or a folder of runs; or several: of studies of "
        "several tasks one table says which weights are best for which",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="default: PATH/report, and `report` for several paths; an earlier report there is replaced",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="STUDY",
        help="for a study by successive halving: the full grid's study, with which its best cell is compared",
    )
    parser.add_argument("--json", action="store_true", help="also print the whole report as one JSON object")


def main(args: argparse.Namespace) -> int:
    """Writes the report and says where it is."""
    from maekit.report.document import as_json
    from maekit.report.formats.write import write_report
    from maekit.runs.named import existing_run

    paths = [existing_run(path) for path in args.paths]
    document = make_document(paths, args.against)
    folder = args.output or (paths[0] / "report" if len(paths) == 1 else Path("report"))
    files = write_report(document, folder)
    if args.json:
        listed = [{"path": str(file), "bytes": file.stat().st_size} for file in files]
        print(json.dumps({**as_json(document), "files": listed}))
        return 0
    print(document.title)
    for line in document.summary:
        print(f"  {line}")
    for file in files:
        if file.parent == folder:
            print(f"{file.stat().st_size:>10,} bytes  {file}")
    for name in ("tables", "charts"):
        inside = [file for file in files if file.parent.name == name]
        if inside:
            print(f"{sum(file.stat().st_size for file in inside):>10,} bytes  {folder / name} ({len(inside)} files)")
    return 0


def make_document(paths: list[Path], against: Path | None) -> "Document":
    """The report of what the paths are.

    Raises:
        UserError: a path does not exist, nothing in it is a run, or `against` does not fit.
    """
    from maekit.report.formats.write import created_line
    from maekit.report.runs.overview import overview_document
    from maekit.report.runs.report import run_document
    from maekit.runs.find import find_runs

    if len(paths) == 1 and (paths[0] / _STUDY).is_file():
        from maekit.report.studies.report import study_document
        from maekit.study.saved import read_study

        full = read_study(against) if against is not None else None
        return study_document(read_study(paths[0]), full, created_line())
    are_studies = [(path / _STUDY).is_file() for path in paths]
    if against is None and all(are_studies):
        from maekit.report.studies.several import studies_document
        from maekit.study.saved import read_study

        return studies_document([read_study(path) for path in paths], created_line())
    if against is not None:
        raise UserError(f"--against is for one study, and {paths[0]} is none: there is no {_STUDY} in it")
    runs = find_runs(paths)
    if len(paths) == 1 and len(runs) == 1 and runs[0].folder.resolve() == paths[0].expanduser().resolve():
        return run_document(runs[0], created_line())
    return overview_document(runs, created_line())
