"""Downloads: whole or not at all, resumed after any break, once for all processes, and one line when they fail."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from maekit.errors import UserError
from maekit.weights.get import download as download_module
from maekit.weights.get import fetch as fetch_module
from maekit.weights.get import find
from maekit.weights.get.download import download
from maekit.weights.get.find import find_weights
from maekit.weights.get.official import Official, official_weights
from maekit.weights.load.backbone import load_backbone
from tests.loopback import Loopback, loopback, unused_port
from tests.weights.helpers import encoder, released

FILE = "/mae/mae_pretrain_tiny.pth"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetch_module, "WAITS", (0.01, 0.01))
    with loopback() as back:
        back.files[FILE] = CHECKPOINT
        yield back


@pytest.fixture(scope="module", autouse=True)
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A real file of weights, small: what arrives must load."""
    global CHECKPOINT
    CHECKPOINT = released(tmp_path_factory.mktemp("made") / "tiny.pth", encoder()).read_bytes()
    assert len(CHECKPOINT) > 200_000


CHECKPOINT = b""


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()[:6]


def assert_whole(path: Path) -> None:
    """The same bytes, usable, and nothing half-done beside them."""
    assert path.read_bytes() == CHECKPOINT
    assert not list(path.parent.glob("*.part*"))
    tokens = encoder()
    torch.testing.assert_close(load_backbone(path, image_size=32).state_dict(), tokens, rtol=0, atol=0)


def failure(url: str, folder: Path, **more: str) -> str:
    with pytest.raises(UserError) as error:
        download(url, folder, **more)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_a_whole_download_and_no_request_after_it(server: Loopback, tmp_path: Path) -> None:
    url = server.url + FILE
    path = download(url, tmp_path / "new" / "weights", md5=md5(CHECKPOINT))
    assert path == tmp_path / "new/weights/mae_pretrain_tiny.pth"
    assert_whole(path)
    assert len(server.log) == 1
    assert download(url, path.parent, md5=md5(CHECKPOINT)) == path
    assert len(server.log) == 1


def test_a_cached_file_is_not_hashed_again(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    download(server.url + FILE, tmp_path, md5=md5(CHECKPOINT))
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed"))
    download(server.url + FILE, tmp_path, md5=md5(CHECKPOINT))


def test_a_dropped_connection_is_taken_up_in_the_same_call(
    server: Loopback, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.cut = [50_000, 70_000]
    assert_whole(download(server.url + FILE, tmp_path, md5=md5(CHECKPOINT)))
    assert [(request.range, request.sent) for request in server.log] == [
        ("", 50_000),
        ("bytes=50000-", 70_000),
        ("bytes=120000-", len(CHECKPOINT) - 120_000),
    ]
    assert "at 50,000 bytes; going on in" in capsys.readouterr().err


def test_a_later_call_goes_on(server: Loopback, tmp_path: Path) -> None:
    server.cut = [50_000, 0, 0, 0, 0]
    line = failure(server.url + FILE, tmp_path)
    assert "the 50,000 bytes that are there are kept for the next try" in line
    assert f"fetch {server.url}{FILE} by hand and put it at {tmp_path}/mae_pretrain_tiny.pth" in line
    assert not (tmp_path / "mae_pretrain_tiny.pth").exists()
    server.cut, server.log = [], []
    assert_whole(download(server.url + FILE, tmp_path))
    assert [(request.range, request.sent) for request in server.log] == [("bytes=50000-", len(CHECKPOINT) - 50_000)]


def test_tries_end_where_nothing_new_comes(server: Loopback, tmp_path: Path) -> None:
    server.ranges, server.cut = False, [50_000] * 9
    assert "broke (the connection was cut)" in failure(server.url + FILE, tmp_path)
    assert len(server.log) == 3


@pytest.mark.parametrize("by", ["ranges", "validators"])
def test_a_server_that_cannot_go_on_starts_again(server: Loopback, tmp_path: Path, by: str) -> None:
    server.cut, server.minds_if_range = [50_000], False
    setattr(server, by, False)
    assert_whole(download(server.url + FILE, tmp_path))
    assert [request.sent for request in server.log] == [50_000, len(CHECKPOINT)]


@pytest.mark.parametrize(
    ("length", "minds", "answers"),
    [(300, True, [200]), (400_000, True, [200]), (300, False, [416, 200]), (400_000, False, [206, 200])],
)
def test_a_file_that_changed_under_way_is_begun_again(
    server: Loopback,
    tmp_path: Path,
    length: int,
    minds: bool,
    answers: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.cut, other = [150_000, 0, 0, 0, 0], os.urandom(length)
    server.files[FILE] = os.urandom(300_000)
    failure(server.url + FILE, tmp_path)
    server.cut, server.files[FILE], server.log = [], other, []
    server.minds_if_range = minds
    path = download(server.url + FILE, tmp_path, md5=md5(other))
    assert path.read_bytes() == other
    assert [request.status for request in server.log] == answers
    assert " has changed on the server" in capsys.readouterr().err


def test_a_part_longer_than_the_file_is_begun_again(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "mae_pretrain_tiny.pth.part").write_bytes(bytes(len(CHECKPOINT) + 10))
    tag = f'"{hashlib.md5(CHECKPOINT).hexdigest()}"'
    note = fetch_module.Source(server.url + FILE, len(CHECKPOINT) + 20, tag)
    fetch_module.write_note(tmp_path / "mae_pretrain_tiny.pth.part", note)
    assert_whole(download(server.url + FILE, tmp_path))
    assert [request.status for request in server.log] == [416, 200]


def test_a_finished_part_needs_no_request(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(download_module, "write_note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            download(server.url + FILE, tmp_path)
    assert_whole(download(server.url + FILE, tmp_path, md5=md5(CHECKPOINT)))
    assert len(server.log) == 1


def test_a_part_of_another_address_is_not_gone_on_with(server: Loopback, tmp_path: Path) -> None:
    server.cut = [50_000, 0, 0, 0, 0]
    server.files["/other" + FILE] = os.urandom(60_000)
    failure(server.url + "/other" + FILE, tmp_path)
    server.cut = []
    assert_whole(download(server.url + FILE, tmp_path))


def test_a_wrong_checksum_leaves_nothing(server: Loopback, tmp_path: Path) -> None:
    line = failure(server.url + FILE, tmp_path, md5="abcdef")
    assert f"has the MD5 {md5(CHECKPOINT)}..., expected abcdef...; it was removed" in line
    assert not list(tmp_path.glob("*.pth*")) or {path.suffix for path in tmp_path.iterdir()} == {".lock"}


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_in_the_files_place_is_refused(server: Loopback, tmp_path: Path, kind: str) -> None:
    server.pages[FILE] = kind
    assert "gave a web page, expected the file" in failure(server.url + FILE, tmp_path)
    assert not (tmp_path / "mae_pretrain_tiny.pth").exists()
    server.pages.clear()
    assert_whole(download(server.url + FILE, tmp_path))


@pytest.mark.parametrize("begins", [b"<", b" <\x00\x00", b"<vNM", b"\n<\xff"])
def test_bytes_that_begin_like_a_tag_are_no_web_page(server: Loopback, tmp_path: Path, begins: bytes) -> None:
    """A safetensors file opens with its header's length, whose bytes may be any."""
    server.files[FILE] = begins + bytes(5000)
    assert download(server.url + FILE, tmp_path).read_bytes() == begins + bytes(5000)


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (403, 1), (500, 3), (503, 3)])
def test_an_error_answer_is_one_line_and_a_busy_server_is_asked_again(
    server: Loopback, tmp_path: Path, status: int, requests: int
) -> None:
    server.status[FILE] = status
    line = failure(server.url + FILE, tmp_path)
    assert f"{FILE} gave the answer {status}" in line
    assert "by hand and put it at" in line
    assert len(server.log) == requests


def test_a_stalled_connection_is_taken_up(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "TIMEOUT", 0.2)
    server.stall = [0.5]
    assert_whole(download(server.url + FILE, tmp_path))
    assert server.log[1].range == "bytes=4096-"


def test_without_a_connection_it_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    port = unused_port()
    line = failure(f"http://127.0.0.1:{port}/x.pth", tmp_path)
    assert line.startswith(f"cannot reach 127.0.0.1:{port} (Connection refused): no connection?; or fetch http://")
    assert line.endswith(f"/x.pth by hand and put it at {tmp_path}/x.pth")


def test_no_room_is_said_before_a_byte_comes(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert f"needs {len(CHECKPOINT):,} bytes more, the disk of {tmp_path} has 1,000" in failure(
        server.url + FILE, tmp_path
    )


def test_a_disk_that_fills_up_is_one_line(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "mae_pretrain_tiny.pth.part").symlink_to("/dev/full")
    assert "No space left on device; make room" in failure(server.url + FILE, tmp_path)


def test_a_folder_that_is_a_file(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("")
    assert "set MAEKIT_CACHE to a folder you can write to" in failure(server.url + FILE, tmp_path / "weights")


def test_a_file_put_there_by_hand_is_checked_once_and_used(server: Loopback, tmp_path: Path) -> None:
    path = tmp_path / "mae_pretrain_tiny.pth"
    path.write_bytes(CHECKPOINT[:-1])
    assert f"{path} has the MD5" in failure(server.url + FILE, tmp_path, md5=md5(CHECKPOINT))
    path.write_bytes(CHECKPOINT)
    assert download(server.url + FILE, tmp_path, md5=md5(CHECKPOINT)) == path
    path.write_bytes(CHECKPOINT[:-1])
    assert f"has {len(CHECKPOINT) - 1:,} bytes, its download had {len(CHECKPOINT):,}; remove it" in failure(
        server.url + FILE, tmp_path, md5=md5(CHECKPOINT)
    )
    assert not server.log


def start(url: str, folder: Path) -> subprocess.Popen[str]:
    code = "import sys; from pathlib import Path; from maekit.weights.get.download import download; "
    code += "print(download(sys.argv[1], Path(sys.argv[2])))"
    words = [sys.executable, "-c", code, url, str(folder)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_part(folder: Path, size: int) -> None:
    part, end = folder / "mae_pretrain_tiny.pth.part", time.monotonic() + 20
    while not (part.is_file() and part.stat().st_size > size):
        assert time.monotonic() < end, "the download did not begin"
        time.sleep(0.01)


def test_processes_at_once_download_once(server: Loopback, tmp_path: Path) -> None:
    server.slow = 0.01
    several = [start(server.url + FILE, tmp_path) for _ in range(3)]
    ends = [process.communicate(timeout=60) for process in several]
    assert [out.strip() for out, _ in ends] == [str(tmp_path / "mae_pretrain_tiny.pth")] * 3, ends
    assert len(server.log) == 1
    assert_whole(tmp_path / "mae_pretrain_tiny.pth")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_process_leaves_what_the_next_goes_on_with(
    server: Loopback, tmp_path: Path, how: signal.Signals
) -> None:
    server.slow = 0.1
    process = start(server.url + FILE, tmp_path)
    wait_for_part(tmp_path, 20_000)
    process.send_signal(how)
    process.communicate(timeout=20)
    have = (tmp_path / "mae_pretrain_tiny.pth.part").stat().st_size
    assert 20_000 < have < len(CHECKPOINT)
    server.slow, server.log = 0.0, []
    assert_whole(download(server.url + FILE, tmp_path, md5=md5(CHECKPOINT)))
    assert [(request.range, request.sent) for request in server.log] == [(f"bytes={have}-", len(CHECKPOINT) - have)]


def test_the_official_files_are_complete() -> None:
    known = official_weights()
    assert len([name for name in known if name.startswith("mae")]) == 9
    for size in ("base", "large", "huge"):
        for name, file in (
            (f"mae_vit_{size}", f"pretrain/mae_pretrain_vit_{size}.pth"),
            (f"mae_vit_{size}_full", f"pretrain/mae_pretrain_vit_{size}_full.pth"),
            (f"mae_finetuned_vit_{size}", f"finetune/mae_finetuned_vit_{size}.pth"),
        ):
            assert known[name].url == f"https://dl.fbaipublicfiles.com/mae/{file}"
            assert len(known[name].md5) == (0 if name.endswith("_full") else 6)


@pytest.mark.parametrize("name", ["mae_tiny", "mae_pretrain_tiny"])
def test_an_official_name_downloads_and_says_its_licence(
    server: Loopback, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official = Official("mae_tiny", server.url + FILE, "the encoder", md5(CHECKPOINT), "CC-BY-NC 4.0", "the source")
    monkeypatch.setattr(find, "official_weights", lambda: {"mae_tiny": official})
    monkeypatch.setenv("MAEKIT_CACHE", str(tmp_path))
    for _ in range(2):
        path = find_weights(name)
        assert_whole(path)
        assert path == tmp_path / "weights/mae_pretrain_tiny.pth"
        said = capsys.readouterr()
        assert said.err == f"{name}: CC-BY-NC 4.0 (no commercial use), the source; file: {path}\n"
        assert not said.out
    assert len(server.log) == 1
    monkeypatch.setenv("LOCAL_RANK", "1")
    find_weights(name)
    assert not capsys.readouterr().err
    torch.testing.assert_close(load_backbone(name, image_size=32).state_dict(), encoder(), rtol=0, atol=0)


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mae_vit_base").write_bytes(b"mine")
    assert find_weights("mae_vit_base") == Path("mae_vit_base")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("mae_vit_bse", "did you mean 'mae_vit_base'?"),
        ("mae_pretrain_vit_larg.pth", "did you mean 'mae_pretrain_vit_large'?"),
        ("mymodel.pt", "did you mean 'mymodel.pth'?"),
        ("runs/x/best.ckpt", "there is no folder runs/x; check the path"),
        ("here/mymodl.pth", "did you mean 'mymodel.pth'?"),
        ("facebook/vit-mae-base", "for a model of the Hugging Face hub give hf:facebook/vit-mae-base"),
        ("zzz", "known names: mae_vit_base, mae_vit_large, "),
        ("hf:facebook", "expected hf:owner/name"),
    ],
)
def test_a_wrong_name_is_one_line(given: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    for folder in (tmp_path, tmp_path / "here"):
        (folder / "mymodel.pth").write_bytes(b"")
    with pytest.raises(UserError) as error:
        find_weights(given)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_a_name_that_no_disk_can_have_is_one_line() -> None:
    with pytest.raises(UserError, match="File name too long; check its name"):
        find_weights("x" * 300)
