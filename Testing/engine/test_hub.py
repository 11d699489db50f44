"""Language models of the Hugging Face hub, through its own library, from a hub on this machine."""

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
import transformers

import llmboost
from llmboost.booster import hub
from llmboost.booster.sources import load_blocks
from llmboost.errors import LLMBoostError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = "hub:lab/tiny-llama"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """What the hub has: folders by the names of repositories."""
    root = tmp_path_factory.mktemp("hub")
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "vocab_size": 50}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**sizes, num_hidden_layers=3, num_key_value_heads=2, pad_token_id=None)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(root / "lab/tiny-llama", max_shard_size="60KB")
    (root / "lab/tiny-llama/README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    model.save_pretrained(root / "lab/single-llama")
    transformers.GPT2Config().save_pretrained(root / "lab/gpt2")
    config.save_pretrained(root / "lab/pickles")
    (root / "lab/pickles/pytorch_model.bin").write_bytes(b"pickle")
    return root


@pytest.fixture
def server(published):
    """A hub on this machine: its address, and the paths that it was asked for."""
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.command, self.path))
            name, _, rest = self.path.lstrip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            if name == "lab/gated":
                return self.answer(403, {"X-Error-Code": "GatedRepo"})
            if name == "lab/down":
                return self.answer(500, {})
            if not (published / name).is_dir():
                return self.answer(404, {"X-Error-Code": "RepoNotFound"})
            if revision not in ("main", "v1.0", COMMIT):
                return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            if not (published / name / file).is_file():
                return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            data = (published / name / file).read_bytes()
            return self.answer(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(data).hexdigest()}"'}, data)

        do_HEAD = do_GET

        def answer(self, status, headers, data=b""):
            self.send_response(status)
            for key, value in {**headers, "Content-Length": len(data)}.items():
                self.send_header(key, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield SimpleNamespace(url=f"http://127.0.0.1:{http.server_port}", asked=asked)
        http.shutdown()
        thread.join()


def point_to(url, cache, monkeypatch):
    """What HF_ENDPOINT and HF_HUB_CACHE do before the library is imported."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its tries, more than 20 s in all


@pytest.fixture
def asked(server, tmp_path, monkeypatch):
    """Paths asked for of the hub; the cache is empty."""
    point_to(server.url, tmp_path / "cache", monkeypatch)
    return server.asked


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to connect to anything fails the test."""

    def connect(*arguments):
        pytest.fail(f"connects to {arguments}")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, connect)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


def refusal(source, *, download=True, layers=(1,)):
    with pytest.raises(LLMBoostError) as caught:
        hub.find(source, layers, download=download)
    assert "\n" not in str(caught.value)
    assert source in str(caught.value) or "snapshots" in str(caught.value)
    return str(caught.value)


def test_only_the_shards_of_the_wanted_layer_are_fetched(asked, published):
    hub.find(SOURCE, (1,), download=True)
    fetched = {path.rsplit("/", 1)[1] for method, path in asked if method == "GET"}
    small = {"config.json", "README.md", "model.safetensors.index.json"}
    reference = load_blocks(str(published / "lab/tiny-llama"), (1,))
    assert small < fetched
    assert 0 < len(fetched - small) < len(list((published / "lab/tiny-llama").glob("*.safetensors")))

    before = len(asked)
    weights = load_blocks(SOURCE, (1,))
    assert len(asked) == before, "what is cached is not asked for"
    assert all(torch.equal(weights.states[0][name], tensor) for name, tensor in reference.states[0].items())
    assert weights.source == f"{SOURCE}@{COMMIT}"
    assert weights.description == f"{SOURCE}@{COMMIT}, fp32, license mit"
    # another layer's shards are not there yet
    assert refusal(SOURCE, download=False, layers=(2,)).endswith("is not in the cache; add --download")
    hub.find(SOURCE, (2,), download=True)
    assert load_blocks(SOURCE, ()).layers == (2,)


@pytest.mark.parametrize("revision", ["v1.0", COMMIT])
def test_revisions(asked, revision):
    hub.find(f"{SOURCE}@{revision}", (0,), download=True)
    assert load_blocks(f"{SOURCE}@{revision}", (0,)).source == f"{SOURCE}@{COMMIT}"
    assert "is not in the cache" in refusal(SOURCE, download=False)


def test_a_model_of_a_single_file(asked):
    hub.find("hub:lab/single-llama", (), download=True)
    assert load_blocks("hub:lab/single-llama", ()).layers == (2,)


def test_nothing_is_fetched_unless_told(asked, no_network):
    message = refusal(SOURCE, download=False)
    assert message == f"booster '{SOURCE}': config.json is not in the cache; add --download"
    with pytest.raises(LLMBoostError, match="add --download"):
        load_blocks(SOURCE, (1,))
    assert asked == []


def test_a_cached_model_needs_no_network(asked, request):
    hub.find(SOURCE, (1,), download=True)
    request.getfixturevalue("no_network")
    assert load_blocks(SOURCE, (1,)).layers == (1,)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hub:lab/gated", "gated; accept its terms at http://127.0.0.1"),
        ("hub:lab/missing", "no such repository"),
        ("hub:lab/tiny-llama@v9", "no revision 'v9'"),
        ("hub:lab/down", "the hub cannot be reached"),
        ("hub:", "no repository's name"),
        ("hub:a b", "no repository's name"),
        ("hub:../../etc", "no repository's name"),
        ("hub:lab/gpt2", "model type 'gpt2' is not supported"),
        ("hub:lab/pickles", "model.safetensors is not on the hub; use a model published as safetensors"),
    ],
)
def test_what_cannot_be_had(asked, source, told):
    assert told in refusal(source)


@pytest.mark.parametrize("source", ["smollm2", "lab/tiny-llama", "none"])
def test_sources_that_are_not_of_the_hub(asked, source):
    assert "only hub:NAME can be downloaded" in refusal(source)
    assert asked == []


def test_no_layer_is_fetched_that_the_model_lacks(asked):
    assert "no layer 3; it has layers 0 to 2" in refusal(SOURCE, layers=(3,))
    assert not [path for method, path in asked if path.endswith(".safetensors")]


def test_a_pickled_model_is_not_fetched(asked):
    refusal("hub:lab/pickles")
    assert not [path for method, path in asked if path.endswith(".bin")]


def test_no_connection(tmp_path, monkeypatch):
    with socket.socket() as closed:  # bound, but it does not listen
        closed.bind(("127.0.0.1", 0))
        point_to(f"http://127.0.0.1:{closed.getsockname()[1]}", tmp_path / "cache", monkeypatch)
        assert "the hub cannot be reached; check the connection" in refusal(SOURCE)


def test_offline_mode(asked, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "the hub cannot be reached" in refusal(SOURCE)
    assert asked == []


def test_a_read_only_cache(asked, tmp_path):
    (tmp_path / "cache").write_text("a file in the folder's place")
    assert "cannot be fetched" in refusal(SOURCE)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install huggingface_hub" in refusal(SOURCE, download=False)


def test_environment_variables_of_the_library_are_honored(server, tmp_path):
    """A mirror and a cache of one's own, as a hospital may have them."""
    code = f"from llmboost.booster import hub; print(hub.find({SOURCE!r}, (1,), download=True))"
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(llmboost.__file__).parents[1],
        env={**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_CACHE": str(tmp_path / "mine")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    assert Path(child.stdout.strip()).is_relative_to(tmp_path / "mine")
    assert server.asked
