"""How fast beam search is and how well it decodes, beside fast-ctc-decode, flashlight-text and pyctcdecode.

Peers that are not installed are left out. All get the same log-probs of a trained model, the same beam, and pruning as
alike as they allow: tokens below e^-9 open no prefixes (flashlight-text knows no such limit and considers all tokens),
prefixes e^16 below the best are dropped (fast-ctc-decode knows no such limit), and alignments are summed. With the
language model all take its words only, except pyctcdecode, which has no closed vocabulary.

python benchmarks/decoding.py --model exp/an4 --manifest data/an4/test --text data/an4/train --json
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # CPU-seconds of one thread: before numpy and torch are imported

import importlib.util
import logging
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from measure import alternate, print_json, print_table, ratio

from asr.audio import load_audio
from asr.cli.common import run_script
from asr.data.manifest import read_manifest
from asr.decoding.beam import BeamOptions, BeamSearch
from asr.decoding.recogniser import Recogniser
from asr.lm.ngram import NgramModel
from asr.lm.training import train_ngram
from asr.scoring import score
from asr.text import Tokenizer

LEAST, PRUNE = -9.0, 16.0
LM_WEIGHT, WORD_BONUS = 0.5, 0.0
TURN = 0.2
"""CPU-seconds that a decoder's turn lasts at least."""
SKIPS = (0.9999, 0.999, 0.99, 0.95)

Decode = Callable[[np.ndarray], str]
"""Log-probs `[frames, tokens]` to text."""


def ours(tokenizer: Tokenizer, beam: int, lm: NgramModel | None = None, skip: float | None = None) -> Decode:
    """This project's search, one utterance at a time."""
    options = BeamOptions(beam, LEAST, None, PRUNE, skip, LM_WEIGHT, WORD_BONUS)
    search = BeamSearch(tokenizer, options, lm=lm, closed=lm is not None, threads=1)
    return lambda log_probs: search.decode(log_probs[None], np.array([len(log_probs)]))[0][0].text


def fast_ctc_decode(tokenizer: Tokenizer, beam: int) -> Decode:
    """It wants probabilities; they are made outside of what is timed."""
    import fast_ctc_decode as peer

    alphabet = "".join(["_", *tokenizer.tokens[1:]])
    made: dict[int, np.ndarray] = {}

    def decode(log_probs: np.ndarray) -> str:
        probabilities = made.setdefault(id(log_probs), np.exp(log_probs))
        text, _ = peer.beam_search(probabilities, alphabet, beam, beam_cut_threshold=math.exp(LEAST))
        return tokenizer.decode(tokenizer.tokens.index(token) for token in text)

    return decode


def flashlight(tokenizer: Tokenizer, beam: int, lm: Path | None = None) -> Decode:
    """Its lexicon-free search; with a language model the one over a lexicon with KenLM, set up as torchaudio does."""
    from flashlight.lib.text import decoder as peer

    space, tokens = tokenizer.tokens.index("▁"), len(tokenizer)
    kept: list[Any] = []  # the decoder does not keep its parts alive
    if lm is None:
        options = peer.LexiconFreeDecoderOptions(beam, tokens, PRUNE, 0.0, 0.0, True, peer.CriterionType.CTC)
        kept.append(peer.ZeroLM())
        search = peer.LexiconFreeDecoder(options, kept[0], space, 0, [])
    else:
        from flashlight.lib.text.decoder.kenlm import KenLM
        from flashlight.lib.text.dictionary import Dictionary

        words = [word for word in NgramModel.load(lm).words[3:] if not tokenizer.missing(word)]
        dictionary = Dictionary([*words, "<unk>"])
        model = KenLM(str(lm), dictionary)
        trie, start = peer.Trie(tokens, space), model.start(False)
        for index, word in enumerate(words):
            trie.insert([*tokenizer.encode(word), space], index, model.score(start, index)[1])
        trie.smear(peer.SmearingMode.MAX)
        options = peer.LexiconDecoderOptions(
            beam, tokens, PRUNE, LM_WEIGHT, WORD_BONUS, -math.inf, 0.0, True, peer.CriterionType.CTC
        )
        search = peer.LexiconDecoder(options, trie, model, space, 0, len(words), [], False)
        kept += [dictionary, model, trie, start]
    # Its words end with a space, which the model need not put at the end of an utterance.
    last = np.full((1, tokens), math.log(1e-3 / (tokens - 1)), np.float32)
    last[0, space] = math.log(1 - 1e-3)
    made: dict[int, np.ndarray] = {}

    def decode(log_probs: np.ndarray) -> str:
        ended = log_probs if lm is None else made.setdefault(id(log_probs), np.concatenate([log_probs, last]))
        search.decode_begin()
        search.decode_step(ended.ctypes.data, *ended.shape)
        search.decode_end()
        best = search.get_best_hypothesis()
        if lm is not None:
            return " ".join(words[index] for index in best.words if index >= 0)
        path = best.tokens
        return tokenizer.decode(token for place, token in enumerate(path) if token and token != path[place - 1])

    decode.kept = kept  # type: ignore[attr-defined]
    return decode


def pyctcdecode(tokenizer: Tokenizer, beam: int, lm: Path | None = None) -> Decode:
    """It needs the Python module of KenLM for a language model."""
    logging.disable(logging.WARNING)
    from pyctcdecode import build_ctcdecoder

    labels = ["", *(" " if token == "▁" else token for token in tokenizer.tokens[1:])]
    language = {} if lm is None else {"kenlm_model_path": str(lm), "unigrams": NgramModel.load(lm).words[3:]}
    search = build_ctcdecoder(labels, alpha=LM_WEIGHT, beta=WORD_BONUS, **language)
    options = {"beam_width": beam, "beam_prune_logp": -PRUNE, "token_min_logp": LEAST}
    return lambda log_probs: str(search.decode(log_probs, **options))


def all_of(decode: Decode, rows: list[np.ndarray]) -> None:
    """Decode one after the other."""
    for row in rows:
        decode(row)


def installed(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in modules)


def posteriors(model: Path, manifest: Path, seconds: float) -> tuple[list[np.ndarray], list[str], list[np.ndarray]]:
    """Log-probs and reference of each utterance, and log-probs of utterances joined to so many seconds."""
    recogniser = Recogniser.load(model, "cpu")
    log_probs, references, joined, waiting = [], [], [], []

    def run(waveform: np.ndarray) -> np.ndarray:
        output, lengths = recogniser.log_probs(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        return output[0, : int(lengths[0])].numpy().copy()

    for utterance in read_manifest(manifest):
        waveform = load_audio(utterance.audio, recogniser.sample_rate)
        log_probs.append(run(waveform))
        references.append(utterance.text or "")
        waiting.append(waveform)
        if sum(map(len, waiting)) >= seconds * recogniser.sample_rate:
            joined.append(run(np.concatenate(waiting)))
            waiting.clear()
    return log_probs, references, joined


def wall(search: BeamSearch, log_probs: list[np.ndarray], rounds: int) -> float:
    """Wall-clock seconds for a batch of all."""
    lengths = np.array([len(row) for row in log_probs])
    batch = np.zeros((len(log_probs), lengths.max(), log_probs[0].shape[1]), np.float32)
    for index, row in enumerate(log_probs):
        batch[index, : len(row)] = row
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        search.decode(batch, lengths)
        times.append(time.perf_counter() - started)
    return min(times)


def main(
    model: Annotated[Path, typer.Option(help="Model folder.")] = Path("exp/an4"),
    manifest: Annotated[Path, typer.Option(help="Manifest to decode.")] = Path("data/an4/test"),
    text: Annotated[Path, typer.Option(help="Text or manifest for the word 3-gram.")] = Path("data/an4/train"),
    seconds: Annotated[float, typer.Option(help="Audio of which the timed log-probs are.")] = 20.0,
    rounds: Annotated[int, typer.Option(help="Turns of each decoder; medians are shown.")] = 3,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object as the last line.")] = False,
) -> None:
    """Measure frames per CPU-second of one thread at three beams, and word error rates."""
    log_probs, references, joined = posteriors(model, manifest, seconds)
    tokenizer = Tokenizer.load(model / "tokens.txt")
    frames = sum(map(len, joined))
    lm = train_ngram([text], 3).model

    def timed(decoders: dict[str, Decode]) -> dict[str, list[float]]:
        """CPU-seconds of a pass over all frames; fast decoders take so many that their turns last as well."""
        jobs, passes = {}, {}
        for name, decode in decoders.items():
            started = [time.process_time()]
            for _ in range(2):
                all_of(decode, joined)
                started.append(time.process_time())
            passes[name] = max(1, math.ceil(TURN / (started[2] - started[1])))
            jobs[name] = partial(all_of, decode, joined * passes[name])
        return {name: [one / passes[name] for one in times] for name, times in alternate(jobs, rounds).items()}

    def error_rate(decode: Decode) -> float:
        return score(references, [decode(row) for row in log_probs]).wer

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "lm.arpa"
        lm.save(arpa)
        for with_lm in (False, True):
            for beam in (16, 64, 256):
                decoders = {"ours": ours(tokenizer, beam, lm if with_lm else None)}
                if installed("fast_ctc_decode") and not with_lm:
                    decoders["fast-ctc-decode"] = fast_ctc_decode(tokenizer, beam)
                if installed("flashlight"):
                    decoders["flashlight-text"] = flashlight(tokenizer, beam, arpa if with_lm else None)
                if installed("pyctcdecode", *["kenlm"] * with_lm):
                    decoders["pyctcdecode"] = pyctcdecode(tokenizer, beam, arpa if with_lm else None)
                times = timed(decoders)
                for name, decode in decoders.items():
                    rows.append(
                        {
                            "lm": with_lm,
                            "beam": beam,
                            "decoder": name,
                            "frames_per_cpu_second": frames / median(times[name]),
                            "ratio": ratio(times["ours"], times[name]),
                            "wer": error_rate(decode),
                        }
                    )
    skips = []
    for skip in (None, *SKIPS):
        decode = ours(tokenizer, 64, skip=skip)
        speed = frames / median(timed({"ours": decode})["ours"])
        skips.append({"blank_skip": skip, "frames_per_cpu_second": speed, "wer": error_rate(decode)})
    threads = {n: wall(BeamSearch(tokenizer, BeamOptions(256), threads=n), joined * 4, rounds) for n in (1, 2)}
    peers = [row for row in rows if row["decoder"] != "ours"]
    without = [row["ratio"] for row in peers if not row["lm"]]
    print_table(
        f"Beam search over {len(tokenizer)} tokens, {len(joined)} utterances of {seconds:g} s, {frames} frames, one "
        f"thread; error rates over {len(log_probs)} utterances",
        ["", "beam", "frames per CPU-s", "ours is faster by", "WER"],
        [
            [
                str(row["decoder"]) + (", word 3-gram" if row["lm"] else ""),
                str(row["beam"]),
                f"{row['frames_per_cpu_second']:,.0f}",
                "" if row["decoder"] == "ours" else f"{row['ratio']:.1f}",
                f"{row['wer']:.2%}",
            ]
            for row in rows
        ],
    )
    print_table(
        "Blank skip, beam 64",
        ["blank_skip", "frames per CPU-s", "WER"],
        [[str(row["blank_skip"]), f"{row['frames_per_cpu_second']:,.0f}", f"{row['wer']:.2%}"] for row in skips],
    )
    print_table(
        "Wall-clock time of a batch, beam 256",
        ["threads", "seconds", "times one thread"],
        [[str(n), f"{value:.3f}", f"{threads[1] / value:.2f}"] for n, value in threads.items()],
    )
    if json_:
        print_json(
            {
                "benchmark": "decoding",
                "ratio": min(without) if without else None,
                "rows": rows,
                "blank_skip": skips,
                "threads": {str(n): value for n, value in threads.items()},
            }
        )


if __name__ == "__main__":
    run_script(main)
