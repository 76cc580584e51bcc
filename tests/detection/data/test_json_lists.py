"""Reading the three lists of a COCO file: what json.dumps writes, and what other programs do."""

import gzip
import json
from pathlib import Path

import pytest

from maekit.detection.data.coco.json_lists import read_lists
from maekit.errors import UserError


def lists_of(path: Path) -> dict[str, list[object]]:
    return {
        name: [json.loads(bytes(memoryview(entry))) for entry in found]
        for name, found in read_lists(path)._asdict().items()
    }


def test_entries_are_those_of_the_json_module(tmp_path: Path) -> None:
    content = {
        "categories": [],
        "info": {"note": 'a "list": [1, {"images": []}]', "images": [1]},
        "images": [{"id": 1, "file_name": 'ä\\ " é \u2603 \U0001f600'}, 7, None, [1.5e-3], "x"],
        "annotations": [{"segmentation": [[0.1, 2, -3.25]]}],
    }
    for text in (json.dumps(content), json.dumps(content, indent=1), json.dumps(content, ensure_ascii=False)):
        for data in (text.encode(), b"\xef\xbb\xbf \n" + text.encode() + b"\r\n", gzip.compress(text.encode())):
            (tmp_path / "a.json").write_bytes(data)
            found = lists_of(tmp_path / "a.json")
            assert found == {name: content[name] for name in ("images", "annotations", "categories")}


def test_nan_and_infinity_are_null_and_the_same_words_in_strings_stay(tmp_path: Path) -> None:
    entry = '{"a": NaN, "b": [-Infinity,Infinity ,1], "NaN": "NaN, NaN", "c": "\\"NaN,\\\\", "d": NaN}'
    (tmp_path / "a.json").write_text(f'{{"images": [{entry}, NaN], "annotations": [], "categories": [], "x": NaN}}')
    expected = {"a": None, "b": [None, None, 1], "NaN": "NaN, NaN", "c": '"NaN,\\', "d": None}
    assert lists_of(tmp_path / "a.json") == {"images": [expected, None], "annotations": [], "categories": []}


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        (b'{"images": [1, 2', "not whole or not JSON"),
        (b'{"images": [NaN, 2', "not whole or not JSON"),
        (b'{"images": [nan]}', "not whole or not JSON"),
        (b"[" * 100_000, "not whole or not JSON"),
        (b'{"images": ["\\ud800"]}', "not whole or not JSON"),
        (b"7", "not whole or not JSON"),
        (b"[]", 'no list "images" and no "annotations" and no "categories"'),
        (b'{"images": [], "annotations": null, "categories": {}}', 'it has no list "annotations" and no "categories"'),
        (b'{"images": ["\xe4", ]}', "not text in UTF-8 (invalid continuation byte at byte 13)"),
    ],
)
def test_what_cannot_be_read_is_one_line(data: bytes, fact: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_lists(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path}/a.json: ")
    assert fact in str(caught.value)
    assert "\n" not in str(caught.value)
