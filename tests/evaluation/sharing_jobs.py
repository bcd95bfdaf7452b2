"""What each process of `test_sharing.py` does; its findings go to OUT/RANK.pickle."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist

from asr.data.manifest import read_manifest
from asr.decoding.recogniser import Recogniser
from asr.errors import AudioError
from asr.evaluation import evaluate
from asr.evaluation.sharing import gather, is_main, join, once, ranks, share, together
from asr.evaluation.tuning import tune
from asr.lm.training import train_ngram

COSTS = [1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 5.0, 45.0]


def failing(error: Exception, where: int) -> str:
    if dist.get_rank() == where:
        raise error
    return "well"


def told(work: Any) -> str:
    """The error that reaches this process."""
    try:
        return f"no error: {work()}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def findings(model: Path, test: Path, broken: Path, output: Path) -> dict[str, Any]:
    rank = dist.get_rank()
    found: dict[str, Any] = {"ranks": ranks(), "main": is_main(), "share": share(COSTS), "few": share([1.0])}
    found["gathered"] = gather(lambda: rank * 10)
    found["once"] = once(lambda: f"made by {rank}")
    found["error"] = told(lambda: together(lambda: failing(AudioError("a.wav: torn"), 1)))
    found["foreign error"] = told(lambda: gather(lambda: failing(MemoryError("no more"), 2)))
    found["error of the main process"] = told(lambda: once(lambda: failing(AudioError("a.wav: gone"), 0)))

    recogniser = Recogniser.load(model, "cpu", {"batch_seconds": 5.0})
    utterances = list(read_manifest(test))
    found["whole"] = evaluate(recogniser, test, output=output / "whole")
    found["two"] = evaluate(recogniser, utterances[:2])
    found["broken"] = evaluate(recogniser, broken)
    found["lost"] = told(lambda: evaluate(recogniser, [u for u in read_manifest(broken) if "lost" in u.id]))
    found["different"] = told(lambda: evaluate(recogniser, utterances[rank:]))
    found["absent"] = told(lambda: evaluate(recogniser, test if rank else test / "absent"))
    beam = Recogniser.load(model, "cpu", {"beam": 8, "batch_seconds": 5.0}, threads=1)
    found["beam"] = evaluate(beam, test, facts=False, confidence=False)
    found["tuned"] = tune(recogniser, test, train_ngram([test], 2).model, beam=4, threads=1)
    return found


if __name__ == "__main__":
    join("cpu")
    folders = [Path(argument) for argument in sys.argv[1:]]
    (folders[-1] / f"{os.environ['RANK']}.pickle").write_bytes(pickle.dumps(findings(*folders)))
