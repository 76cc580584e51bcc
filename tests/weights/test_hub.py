"""Models of the Hugging Face hub, from a small hub on 127.0.0.1: what is fetched, what is not, and what is said."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from maekit.errors import UserError
from maekit.export.convert import convert
from maekit.weights.get.find import find_weights
from maekit.weights.load.backbone import load_backbone
from tests.loopback import COMMIT, Loopback, loopback, unused_port
from tests.weights.helpers import encoder, released

CONFIG = json.dumps({"model_type": "vit"}).encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Loopback]:
    from huggingface_hub import constants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with loopback() as back:
        monkeypatch.setenv("HF_ENDPOINT", back.url)
        yield back


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused_port()}")


def whole() -> dict[str, bytes]:
    return {
        "README.md": b"#",
        "config.json": CONFIG,
        "preprocessor_config.json": b"{}",
        "model.safetensors": safetensors.torch.save(encoder()),
        "pytorch_model.bin": b"old",
        "tf_model.h5": b"other",
        "flax_model.msgpack": b"other",
    }


def sharded() -> dict[str, bytes]:
    tensors = list(encoder().items())
    parts = {f"model-0000{i + 1}-of-00002.safetensors": dict(tensors[i::2]) for i in range(2)}
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    return {
        "config.json": CONFIG,
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{file: safetensors.torch.save(part) for file, part in parts.items()},
    }


def read(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in safetensors.torch.load_file(file).items()}


def failure(given: str) -> str:
    with pytest.raises(UserError) as error:
        find_weights(given)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_configuration_and_weights_are_fetched_and_nothing_else(hub: Loopback) -> None:
    hub.add_model("someone/vit", whole())
    folder = find_weights("hf:someone/vit")
    assert {path.name for path in folder.iterdir()} == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert folder.name == COMMIT
    torch.testing.assert_close(read(folder), encoder(), rtol=0, atol=0)
    before = len(hub.log)
    assert find_weights("hf:someone/vit") == folder
    assert not [request for request in hub.log[before:] if "/resolve/" in request.path and request.method == "GET"]
    assert not [request for request in hub.log if "torch" in request.agent]


def test_a_commit_can_be_named(hub: Loopback) -> None:
    hub.add_model("someone/vit", whole())
    assert find_weights(f"hf:someone/vit@{COMMIT}").name == COMMIT


@pytest.mark.parametrize("files", [whole(), sharded()], ids=["whole", "sharded"])
def test_without_a_connection_what_was_fetched_is_used(
    hub: Loopback, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]
) -> None:
    hub.add_model("someone/vit", files)
    folder = find_weights("hf:someone/vit")
    torch.testing.assert_close(read(folder), encoder(), rtol=0, atol=0)
    offline(monkeypatch)
    assert find_weights("hf:someone/vit") == folder
    next(folder.glob("model*.safetensors")).unlink()
    assert "cannot get someone/vit from http://127.0.0.1" in failure("hf:someone/vit")


def test_older_weights_are_taken_where_there_are_no_others(hub: Loopback) -> None:
    hub.add_model("someone/vit", {name: data for name, data in whole().items() if name != "model.safetensors"})
    folder = find_weights("hf:someone/vit")
    assert (folder / "pytorch_model.bin").read_bytes() == b"old"


def test_other_formats_are_named_and_not_fetched(hub: Loopback) -> None:
    hub.add_model("someone/vit", {"config.json": CONFIG, "tf_model.h5": b"x" * 10})
    assert "has tf_model.h5, expected model.safetensors or pytorch_model.bin" in failure("hf:someone/vit")
    assert not [request for request in hub.log if "/resolve/" in request.path]


def test_what_is_fetched_loads(hub: Loopback, tmp_path: Path) -> None:
    made = tmp_path / "made"
    convert(released(tmp_path / "a.pth", encoder()), "hf", made)
    hub.add_model("someone/mae", {path.name: path.read_bytes() for path in made.iterdir()})
    torch.testing.assert_close(load_backbone("hf:someone/mae", image_size=32).state_dict(), encoder(), rtol=0, atol=0)


def test_of_a_model_of_timm_the_file_is_taken(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"config.json": b'{"architecture": "vit_tiny"}', "model.safetensors": safetensors.torch.save(encoder())}
    hub.add_model("timm/vit", files)
    assert find_weights("hf:timm/vit").name == "model.safetensors"
    offline(monkeypatch)
    torch.testing.assert_close(load_backbone("hf:timm/vit", image_size=32).state_dict(), encoder(), rtol=0, atol=0)


def test_an_unknown_model_or_revision_is_one_line(hub: Loopback) -> None:
    hub.add_model("someone/vit", whole())
    missing = "/api/models/someone/vti/revision/main"
    hub.headers[missing] = {"X-Error-Code": "RepoNotFound"}
    assert f"there is no model someone/vti at {hub.url}, or it is private; check the name" in failure("hf:someone/vti")
    hub.headers["/api/models/someone/vit/revision/v2"] = {"X-Error-Code": "RevisionNotFound"}
    assert "the model someone/vit has no revision 'v2'" in failure("hf:someone/vit@v2")


def test_a_gated_model_says_where_to_ask(hub: Loopback) -> None:
    hub.add_model("someone/vit", whole())
    for path in [path for path in hub.files if "/resolve/" in path]:
        hub.status[path], hub.headers[path] = 403, {"X-Error-Code": "GatedRepo"}
    line = failure("hf:someone/vit")
    assert f"is gated: accept its terms at {hub.url}/someone/vit and set HF_TOKEN" in line
    assert "give their folder as --model.weights DIR" in line


def test_without_a_connection_the_line_says_what_to_fetch_by_hand(
    hub: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch)
    line = failure("hf:someone/vit@v1")
    assert "Connection refused" in line
    assert "download config.json and model.safetensors (or pytorch_model.bin) from http://127.0.0.1" in line
    assert "/someone/vit/tree/v1 by hand and give their folder as --model.weights DIR" in line


def test_offline_mode_is_respected(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    hub.add_model("someone/vit", whole())
    folder = find_weights("hf:someone/vit")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.log)
    assert find_weights("hf:someone/vit") == folder
    assert len(hub.log) == before


def test_a_download_that_breaks_off_is_taken_up(hub: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.add_model("someone/vit", whole())
    hub.cut = [10_000_000, 50_000]  # the list of files whole, the weights not
    torch.testing.assert_close(read(find_weights("hf:someone/vit")), encoder(), rtol=0, atol=0)
    assert [request.range for request in hub.gets() if request.path.endswith("main/model.safetensors")] == [
        "",
        "bytes=50000-",
    ]
