"""The table of cases names tests that exist."""

import ast
import re
from pathlib import Path

TABLE = Path(__file__).with_name("cases.md")
TEST_ID = re.compile(r"`tests/([\w/]+\.py)::(\w+)")


def test_every_case_has_a_test_that_exists() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    cases = [row for row in rows if not row.startswith(("| reported", "| ---"))]
    assert len(cases) > 100
    functions: dict[str, set[str]] = {}
    for row in cases:
        found = TEST_ID.findall(row)
        assert found, row
        for file, name in found:
            if file not in functions:
                tree = ast.parse((TABLE.parent / file).read_text(encoding="utf-8"))
                functions[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in functions[file], f"{file}::{name}"
