from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asr.data.manifest import read_manifest, write_manifest
from asr.decoding.recogniser import Recogniser
from asr.evaluation import Evaluation, evaluate
from asr.evaluation.sharing import gather, is_main, join, once, ranks, share, together
from asr.evaluation.tuning import tune
from asr.lm.training import train_ngram
from tests.evaluation.sharing_jobs import COSTS
from tests.launching import run, torchrun

if TYPE_CHECKING:
    from tests.conftest import Ran, Trained

RANKS = 3


@pytest.fixture(scope="module")
def broken(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test set with two recordings that are no audio, among the longest and so in one batch, and one that is."""
    folder = tmp_path_factory.mktemp("broken")
    utterances = list(read_manifest(trained.test))
    (folder / "lost.wav").write_bytes(b"no audio in here")
    lost = [replace(utterances[n], id=f"lost-{n}", audio=folder / "lost.wav", duration=9.0) for n in range(2)]
    write_manifest(folder / "cuts.jsonl", [*utterances[:9], lost[0], *utterances[9:], lost[1]])
    return folder


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("output")


@pytest.fixture(scope="module")
def found(trained: Trained, broken: Path, output: Path) -> list[dict[str, Any]]:
    """What each of three processes found, by rank."""
    command = [*torchrun(RANKS), "-m", "tests.evaluation.sharing_jobs"]
    ran = run([*command, *map(str, (trained.folder, trained.test, broken, output))])
    assert ran.returncode == 0, ran.stderr
    return [pickle.loads((output / f"{rank}.pickle").read_bytes()) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone(trained: Trained) -> Evaluation:
    return evaluate(Recogniser.load(trained.folder, "cpu", {"batch_seconds": 5.0}), trained.test)


def test_alone_a_process_does_everything() -> None:
    join("cpu")
    assert (ranks(), is_main(), share(COSTS)) == (1, True, list(range(len(COSTS))))
    assert (gather(lambda: 7), once(lambda: 8), together(lambda: 9)) == ([7], 8, 9)


def test_the_work_is_dealt_out_once_and_evenly(found: list[dict[str, Any]]) -> None:
    assert [(row["ranks"], row["main"]) for row in found] == [(3, True), (3, False), (3, False)]
    assert sorted(number for row in found for number in row["share"]) == list(range(len(COSTS)))
    loads = [sum(COSTS[number] for number in row["share"]) for row in found]
    assert sorted(loads) == [22.0, 23.0, 45.0]  # the dearest alone is half of all
    assert [row["few"] for row in found] == [[0], [], []]


def test_every_process_has_the_results_of_all(found: list[dict[str, Any]]) -> None:
    assert [row["gathered"] for row in found] == [[0, 10, 20]] * 3
    assert [row["once"] for row in found] == ["made by 0"] * 3


def test_an_error_of_one_process_reaches_all(found: list[dict[str, Any]]) -> None:
    assert [row["error"] for row in found] == ["AudioError: a.wav: torn"] * 3
    assert [row["error of the main process"] for row in found] == ["AudioError: a.wav: gone"] * 3
    elsewhere = "RuntimeError: process 2 of 3: MemoryError('no more')"
    assert [row["foreign error"] for row in found] == [elsewhere, elsewhere, "MemoryError: no more"]


def test_a_shared_evaluation_is_that_of_a_single_process(found: list[dict[str, Any]], alone: Evaluation) -> None:
    for row in found:
        shared = row["whole"]
        for part in ("references", "hypotheses", "facts", "utterances"):
            assert list(getattr(shared, part).items()) == list(getattr(alone, part).items())  # order and bits
        assert shared.to_dict() | {"decoding_seconds": 0, "times_real_time": 0} == alone.to_dict() | {
            "decoding_seconds": 0,
            "times_real_time": 0,
        }
        assert any(word.confidence for hypothesis in shared.hypotheses.values() for word in hypothesis.words)
    assert len({row["whole"].decoding_seconds for row in found}) == 1  # of the slowest
    assert found[0]["whole"].decoding_seconds > 0


def test_beam_search_and_the_tuning_of_its_weights_are_shared(found: list[dict[str, Any]], trained: Trained) -> None:
    beam = Recogniser.load(trained.folder, "cpu", {"beam": 8, "batch_seconds": 5.0}, threads=1)
    alone = evaluate(beam, trained.test, facts=False, confidence=False)
    recogniser = Recogniser.load(trained.folder, "cpu", {"batch_seconds": 5.0})
    tuned = tune(recogniser, trained.test, train_ngram([trained.test], 2).model, beam=4, threads=1)
    for row in found:
        assert row["beam"].hypotheses == alone.hypotheses
        assert row["tuned"] == tuned


def test_fewer_utterances_than_processes_are_no_trouble(found: list[dict[str, Any]], alone: Evaluation) -> None:
    for row in found:
        assert list(row["two"].hypotheses) == list(alone.hypotheses)[:2]
        assert row["two"].wer == found[0]["two"].wer


def test_recordings_that_cannot_be_read_are_told_everywhere(found: list[dict[str, Any]], alone: Evaluation) -> None:
    for row in found:
        assert [key for key, _ in row["broken"].failures] == ["lost-0", "lost-1"]
        assert row["broken"].wer == alone.wer
        assert "none of the 2 recordings could be read" in row["lost"]


def test_processes_with_different_test_sets_are_told_so(found: list[dict[str, Any]]) -> None:
    assert {row["different"].split(";")[0] for row in found} == {
        "ManifestError: the processes read different utterances"
    }
    assert all(row["absent"].startswith("ManifestError") and "absent" in row["absent"] for row in found)


def test_the_report_is_written_once_and_whole(found: list[dict[str, Any]], output: Path, alone: Evaluation) -> None:
    assert found
    assert json.loads((output / "whole/score.json").read_text())["wer"] == alone.wer
    assert len((output / "whole/hypotheses.jsonl").read_text().splitlines()) == len(alone.hypotheses)
    assert (output / "whole/report.html").read_text().rstrip().endswith("</html>")


@pytest.mark.slow
def test_asr_evaluate_of_two_processes_prints_and_writes_what_one_does(
    trained: Trained, broken: Path, tmp_path: Path, asr_command: Callable[..., Ran]
) -> None:
    shutil.copytree(trained.folder, tmp_path / "model")
    command = ["evaluate", trained.test, broken, "--model", tmp_path / "model", "--device", "cpu"]
    one = asr_command(*command, "--output", tmp_path / "one", "--table", tmp_path / "one.json")
    more = ["--output", tmp_path / "two", "--table", tmp_path / "two.json"]
    two = run([*torchrun(2), "-m", "asr", *map(str, [*command, *more])])
    assert (one.status, two.returncode) == (1, 1)  # of the unreadable recordings; torchrun says it in its own way
    assert len(two.stdout.splitlines()) == len(one.out.splitlines())
    assert two.stderr.count("error: lost-0") == 1
    tables = [json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json")]
    times = ("decoding_seconds", "times_real_time")
    assert [{key: row[key] for key in row if key not in times} for row in tables[1]] == [
        {key: row[key] for key in row if key not in times} for row in tables[0]
    ]
    names = {str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*")}
    assert {str(path.relative_to(tmp_path / "two")) for path in (tmp_path / "two").rglob("*")} == names
    for name in names:
        if name.endswith((".jsonl", ".txt")):
            assert (tmp_path / "two" / name).read_text() == (tmp_path / "one" / name).read_text()


LEAVING = """
import atexit, os, sys, time

def say(what):
    sys.stdout.write(f"{what} {len(os.listdir('/proc/self/task'))}\\n")
    sys.stdout.flush()

def left():
    until = time.monotonic() + 2  # a thread that has ended is listed a moment longer
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    say("left with")

atexit.register(left)  # runs last: the first that is registered
from asr.evaluation.sharing import gather, join, once
join("cpu")
gather(lambda: 1), once(lambda: 2)
say("worked with")
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in Linux's /proc")
def test_no_thread_of_the_group_outlives_its_work(tmp_path: Path) -> None:
    """One that does can abort a process at its very end, with nothing but an exit status to show for it."""
    (tmp_path / "leaving.py").write_text(LEAVING)
    ran = run(torchrun(2, tmp_path / "leaving.py"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("left with 1\n") == 2
    worked = [int(line.removeprefix("worked with ")) for line in ran.stdout.splitlines() if line.startswith("worked")]
    assert len(worked) == 2
    assert min(worked) > 1


@pytest.mark.slow
def test_an_error_is_printed_once_and_ends_all_processes(tmp_path: Path, trained: Trained) -> None:
    (tmp_path / "file").write_text("no folder")
    command = ["evaluate", trained.test, "--model", trained.folder, "--device", "cpu", "--output", tmp_path / "file"]
    ran = run([*torchrun(2), "-m", "asr", *map(str, command)])
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.count("file: cannot be written") == 1
