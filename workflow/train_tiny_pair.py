"""Make the pair of tiny Llama models that comes with the library.

    python workflow/train_tiny_pair.py selectlib/attention/tiny_pair

trains draft and target side by side, one thread each (about ten minutes), and writes the weights of both, of the draft
after its text stage, the tokenizer, and provenance.json: seed, steps, checksums, versions, and what was measured.
"""

import argparse
import hashlib
import json
import platform
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from selectlib.attention._tiny_pair import CONTEXT, CURRICULA, SIZES, TEXT_LESSONS, new_tiny, new_tokenizer, tiny_texts
from selectlib.attention._tiny_quality import answer_accuracy, text_perplexity
from selectlib.attention._tiny_training import train_on_needles, train_on_text
from selectlib.data import topic_texts

DOCUMENTS = 34  # as many as the held-out text fills


def make(name: str, seed: int, folder: Path) -> dict:
    """Train one model and write its weights; what was measured on held-out topics."""
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    train, held_out = tiny_texts(tokenizer)
    model = new_tiny(name, seed)

    def report(step: int, loss: float) -> None:
        print(f"{name:6} step {step:5}  loss {loss:.3f}", flush=True)

    measured = {}
    train_on_text(model, train, TEXT_LESSONS[name], seed=seed, progress=report)
    measured["perplexity_after_text"] = text_perplexity(model, held_out, length=CONTEXT)
    if name == "draft":
        write(model, folder / "draft_text")
        with torch.no_grad():  # the second stage begins with the weights as written, so that it can be repeated
            for weights in model.parameters():
                weights.copy_(weights.half())
    train_on_needles(model, train, CURRICULA[name], seed=seed, progress=report)
    write(model, folder / name)
    measured["perplexity"] = text_perplexity(model, held_out, length=CONTEXT)
    measured["accuracy"] = answer_accuracy(model, held_out, n=DOCUMENTS, length=CONTEXT, seed=seed)
    return measured


def write(model, folder: Path) -> None:
    """Write a model in the hub's format, in half precision; the tied output matrix is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.to_json_file(str(folder / "config.json"), use_diff=True)
    weights = {name: w.half().contiguous() for name, w in model.state_dict().items() if name != "lm_head.weight"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, help="where the files go")
    arguments.add_argument("--seed", type=int, default=100, help="of weights and batches (default 100)")
    given = arguments.parse_args()
    folder = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    new_tokenizer().save(str(folder / "tokenizer.json"))
    with ProcessPoolExecutor(len(SIZES), get_context("spawn")) as pool:
        measured = dict(zip(SIZES, pool.map(make, SIZES, [given.seed] * 2, [folder] * 2), strict=True))
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "provenance.json")
    provenance = {
        "command": "python workflow/train_tiny_pair.py selectlib/attention/tiny_pair",
        "seed": given.seed,
        "text_lessons": {name: vars(lesson) for name, lesson in TEXT_LESSONS.items()},
        "curricula": {name: [vars(lesson) for lesson in lessons] for name, lessons in CURRICULA.items()},
        "training_text": {
            "what": topic_texts().description,
            "sha256": topic_texts().sha256,
            "held_out": "every eighth",
        },
        "measured_on_held_out_text": {"length": CONTEXT, "documents": DOCUMENTS, **measured},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "tokenizers", "safetensors")},
        },
        "files": {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files},
    }
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main()
