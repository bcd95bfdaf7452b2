from __future__ import annotations

import io
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import soxr
import torch

from asr.audio import load_audio
from asr.data.manifest import Utterance, read_manifest
from asr.errors import AudioError, CheckpointError, ConfigError
from asr.scoring import score
from asr.transcription import Transcriber, Transcript, load_model
from asr.transcription.transcriber import NUMPY_BATCHES, POOLED_BATCHES
from asr.transcription.windows import WINDOW_SECONDS

if TYPE_CHECKING:
    from tests.conftest import Speech, Trained

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def utterances(trained: Trained) -> list[Utterance]:
    return list(read_manifest(trained.test))


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory, speech: Speech) -> tuple[Path, str]:
    """Three minutes of sentences, and their text."""
    sentences = speech.sentences(100, seed=77)
    waveform = np.concatenate([speech.say(text, seed) for seed, text in enumerate(sentences)])
    assert len(waveform) > 180 * speech.rate
    path = tmp_path_factory.mktemp("long") / "long.flac"
    soundfile.write(path, waveform, speech.rate)
    return path, " ".join(sentences)


def test_every_kind_of_source_gives_the_same_text(model: Transcriber, utterances: list[Utterance]) -> None:
    path = utterances[0].audio
    waveform = load_audio(path, model.sample_rate)
    text = utterances[0].text
    with open(path, "rb") as file:
        sources: list[Any] = [
            path,
            str(path),
            path.read_bytes(),
            file,
            io.BytesIO(path.read_bytes()),
            waveform,
            waveform.astype(np.float64),
            torch.from_numpy(waveform),
            torch.from_numpy(waveform).double().requires_grad_(),
        ]
        assert [model.transcribe(source, sample_rate=8000).text for source in sources] == [text] * len(sources)


@pytest.mark.parametrize("kind", ["reversed twice", "big-endian", "read-only", "bfloat16"])
def test_waveforms_of_any_memory_layout_are_taken(model: Transcriber, utterances: list[Utterance], kind: str) -> None:
    waveform = load_audio(utterances[0].audio, model.sample_rate)
    source: np.ndarray | torch.Tensor = {
        "reversed twice": np.ascontiguousarray(waveform[::-1])[::-1],
        "big-endian": waveform.astype(">f4"),
        "read-only": np.frombuffer(waveform.tobytes(), dtype=np.float32),
    }.get(kind, torch.from_numpy(waveform).bfloat16())
    assert model.transcribe(source, sample_rate=8000).text == utterances[0].text


@pytest.mark.parametrize("rate", [6000, 11025, 16000, 22050, 44100, 48000])
def test_other_sample_rates_are_resampled(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path, rate: int
) -> None:
    utterance = utterances[1]
    waveform = soxr.resample(load_audio(utterance.audio, 8000), 8000, rate)
    soundfile.write(tmp_path / "other.wav", waveform, rate)
    transcript = model.transcribe(tmp_path / "other.wav")
    assert transcript.text == model.transcribe(waveform, sample_rate=rate).text == utterance.text
    assert transcript.duration == pytest.approx(utterance.duration, abs=0.001)


def test_the_text_does_not_depend_on_the_company(model: Transcriber, utterances: list[Utterance]) -> None:
    alone = [model.transcribe(utterance.audio) for utterance in utterances]
    order = np.random.default_rng(0).permutation(len(utterances))
    together = list(model.transcribe_many(utterances[index].audio for index in order))
    for index, transcript in zip(order, together, strict=True):
        assert isinstance(transcript, Transcript)
        assert transcript.text == alone[index].text
        assert transcript.duration == alone[index].duration
        assert transcript.segments[0].score == pytest.approx(alone[index].segments[0].score, abs=1e-2)


def test_results_come_while_sources_are_still_read(model: Transcriber, utterances: list[Utterance]) -> None:
    opened: list[int] = []

    def sources() -> object:
        for index in range(2000):
            opened.append(index)
            yield utterances[index % len(utterances)].audio

    results = model.transcribe_many(sources())  # type: ignore[arg-type]
    assert isinstance(next(results), Transcript)
    longest = max(utterance.duration for utterance in utterances)
    shortest = min(utterance.duration for utterance in utterances)
    assert len(opened) <= (POOLED_BATCHES * model.config.decoding.batch_seconds + longest) / shortest
    results.close()  # type: ignore[attr-defined]


def test_numpy_takes_several_batches_as_one_and_says_the_same(
    trained: Trained, model: Transcriber, utterances: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [utterance.audio for utterance in utterances[:12]]
    longest = max(utterance.duration for utterance in utterances[:12])
    light = load_model(trained.folder, device="numpy", decoding={"batch_seconds": 2 * longest})
    compute = light.nbest
    sizes: list[int] = []

    def counted(waveforms: list[np.ndarray]) -> Any:
        sizes.append(len(waveforms))
        return compute(waveforms)

    monkeypatch.setattr(light, "nbest", counted)
    found = [result.text for result in light.transcribe_many(sources) if isinstance(result, Transcript)]
    assert found == [model.transcribe(source).text for source in sources]
    assert max(sizes) >= 2 * NUMPY_BATCHES


@pytest.mark.parametrize("samples", [1, 80, 160])
def test_a_few_milliseconds_have_no_words(model: Transcriber, tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "short.wav", np.random.default_rng(0).normal(0, 0.01, samples), 8000)
    transcript = model.transcribe(tmp_path / "short.wav")
    assert transcript.text == ""
    assert transcript.words == []
    assert transcript.duration == pytest.approx(samples / 8000)


@pytest.mark.parametrize("seconds", [0.5, 70.0])
def test_digital_silence_has_no_words(model: Transcriber, seconds: float) -> None:
    transcript = model.transcribe(np.zeros(round(8000 * seconds), np.float32), sample_rate=8000)
    assert transcript.text == ""
    assert transcript.duration == seconds


def test_eight_channels_at_96_khz_and_24_bit(model: Transcriber, utterances: list[Utterance], tmp_path: Path) -> None:
    waveform = soxr.resample(load_audio(utterances[2].audio, 8000), 8000, 96000)
    soundfile.write(tmp_path / "studio.wav", np.tile(waveform[:, None], (1, 8)), 96000, subtype="PCM_24")
    assert model.transcribe(tmp_path / "studio.wav").text == utterances[2].text


def bad_files(folder: Path) -> dict[Path, str]:
    """Files that cannot be transcribed, each with what its error must say."""
    soundfile.write(folder / "empty.wav", np.zeros(0), 8000)
    soundfile.write(folder / "nan.wav", np.full(4000, np.nan, np.float32), 8000, subtype="FLOAT")
    soundfile.write(folder / "cut.wav", np.zeros(8000), 8000)
    os.truncate(folder / "cut.wav", 3000)
    (folder / "nothing.wav").touch()
    (folder / "letter.wav").write_text("Dear Sir or Madam, this is not a recording. " * 40)
    (folder / "folder.wav").mkdir()
    return {
        folder / "missing.wav": "no such file",
        folder / "empty.wav": "zero samples",
        folder / "nan.wav": "4000 of 4000 samples are NaN or infinite",
        folder / "cut.wav": "cut short",
        folder / "nothing.wav": "empty file",
        folder / "letter.wav": "not audio",
        folder / "folder.wav": "is a directory",
    }


def test_a_bad_file_is_an_error_that_names_it(model: Transcriber, tmp_path: Path) -> None:
    for path, message in bad_files(tmp_path).items():
        with pytest.raises(AudioError, match=f"{path.name}: .*{message}"):
            model.transcribe(path)


def test_bad_files_do_not_stop_the_others(model: Transcriber, utterances: list[Utterance], tmp_path: Path) -> None:
    bad = list(bad_files(tmp_path))
    sources = [path for pair in zip([row.audio for row in utterances], bad, strict=False) for path in pair]
    results = list(model.transcribe_many(sources))
    assert [isinstance(result, AudioError) for result in results] == [False, True] * len(bad)
    for result, path in zip(results[1::2], bad, strict=True):
        assert path.name in str(result)
    for result, utterance in zip(results[::2], utterances, strict=False):
        assert isinstance(result, Transcript)
        assert result.text == utterance.text


def test_damage_late_in_a_long_file_is_that_files_error_alone(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    waveform = np.random.default_rng(0).normal(0, 0.01, 8000 * 100).astype(np.float32)
    waveform[-5] = np.inf
    soundfile.write(tmp_path / "late.wav", waveform, 8000, subtype="FLOAT")
    bad, good = model.transcribe_many([tmp_path / "late.wav", utterances[0].audio])
    assert isinstance(bad, AudioError)
    assert isinstance(good, Transcript)
    assert good.text == utterances[0].text


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((2, 800), np.float32), "one-dimensional"),
        (np.zeros(800, np.int16), "divide 16-bit samples by 32768"),
        (torch.zeros(1, 800), "one-dimensional"),
        (np.array([0.0, np.nan, np.inf], np.float32), "2 samples that are NaN or infinite"),
        (np.zeros(0, np.float32), "samples"),
        (np.zeros(800, np.float32), "give sample_rate=, in Hz .8000 is what the model hears"),
    ],
)
def test_a_waveform_that_is_none_is_an_error(
    model: Transcriber, waveform: np.ndarray | torch.Tensor, message: str
) -> None:
    with pytest.raises(AudioError, match=message):
        model.transcribe(waveform)


@pytest.mark.parametrize("rate", [0, -8000, 10**7])
def test_an_impossible_sample_rate_is_an_error(model: Transcriber, rate: int) -> None:
    with pytest.raises(AudioError, match=str(rate)):
        model.transcribe(np.zeros(8000, np.float32), sample_rate=rate)


def test_a_long_recording_has_the_words_of_its_sentences(model: Transcriber, long_recording: tuple[Path, str]) -> None:
    path, reference = long_recording
    transcript = model.transcribe(path)
    assert transcript.duration == pytest.approx(len(load_audio(path, model.sample_rate)) / model.sample_rate)
    assert transcript.text == " ".join(segment.text for segment in transcript.segments)
    assert score([reference], [transcript.text]).wer <= 0.1


@pytest.mark.parametrize("window", [2.0, 5.0])
def test_speech_without_pauses_loses_and_doubles_no_word_at_the_seams(
    trained: Trained, speech: Speech, window: float
) -> None:
    words = [word for sentence in speech.sentences(60, seed=5) for word in sentence.split()]
    waveform = np.concatenate([speech.say(word, seed)[400:-400] for seed, word in enumerate(words)])
    rush = waveform + np.random.default_rng(0).normal(0, 0.02, len(waveform)).astype(np.float32)  # no pause is quiet
    model = load_model(trained.folder, device="cpu", decoding={"window_seconds": window, "word_times": True})
    transcript = model.transcribe(rush, sample_rate=speech.rate)
    assert score([" ".join(words)], [transcript.text]).wer <= 0.2
    times = [time for word in transcript.words for time in (word.start or 0.0, word.end or 0.0)]
    assert times == sorted(times)


def test_segments_follow_one_another(model: Transcriber, long_recording: tuple[Path, str]) -> None:
    transcript = model.transcribe(long_recording[0])
    segments = transcript.segments
    assert len(segments) > 6
    assert segments[0].start >= 0
    assert segments[-1].end <= transcript.duration
    assert all(before.end <= after.start for before, after in pairwise(segments))
    assert all(0 < segment.end - segment.start <= WINDOW_SECONDS for segment in segments)
    assert [word.text for word in transcript.words] == transcript.text.split()


def test_segments_come_one_by_one_while_the_recording_is_read(
    model: Transcriber, long_recording: tuple[Path, str]
) -> None:
    whole = model.transcribe(long_recording[0])
    stream = model.stream(long_recording[0])
    first = next(stream)
    assert first == whole.segments[0]
    assert [segment.text for segment in stream] == [segment.text for segment in whole.segments[1:]]


def test_a_stream_that_breaks_gives_what_came_before(model: Transcriber, tmp_path: Path, speech: Speech) -> None:
    waveform = np.concatenate([speech.say("bad cafe deaf", seed) for seed in range(80)])
    waveform[-5] = np.nan
    soundfile.write(tmp_path / "late.wav", waveform, speech.rate, subtype="FLOAT")
    stream = model.stream(tmp_path / "late.wav")
    heard = [next(stream).text for _ in range(3)]
    with pytest.raises(AudioError, match=r"late\.wav: 1 of"):
        list(stream)
    assert "bad cafe deaf" in " ".join(heard)


def test_progress_adds_up_to_the_audio(
    model: Transcriber, utterances: list[Utterance], long_recording: tuple[Path, str]
) -> None:
    told: list[float] = []
    sources: list[Any] = [utterances[0].audio, *[long_recording[0]] * 8, np.zeros(8000, np.float32)]
    results = [r for r in model.transcribe_many(sources, progress=told.append) if isinstance(r, Transcript)]
    assert sum(told) == pytest.approx(sum(result.duration for result in results))
    assert len(told) > 2


def test_an_utterance_of_a_manifest_is_its_part_of_the_recording(
    model: Transcriber, utterances: list[Utterance], tmp_path: Path
) -> None:
    parts = [load_audio(utterance.audio, 8000) for utterance in utterances[:3]]
    soundfile.write(tmp_path / "all.wav", np.concatenate(parts), 8000, subtype="FLOAT")
    second = Utterance(
        "second",
        tmp_path / "all.wav",
        start=len(parts[0]) / 8000,
        duration=len(parts[1]) / 8000,
        recording_samples=sum(map(len, parts)),
        sample_rate=8000,
    )
    assert [model.transcribe(source).text for source in (second, utterances[0])] == [
        utterances[1].text,
        utterances[0].text,
    ]


def test_a_long_and_short_recordings_together(
    model: Transcriber, utterances: list[Utterance], long_recording: tuple[Path, str]
) -> None:
    sources = [utterances[0].audio, long_recording[0], utterances[1].audio]
    together = [result for result in model.transcribe_many(sources) if isinstance(result, Transcript)]
    assert [result.text for result in together] == [model.transcribe(source).text for source in sources]
    assert [len(result.segments) for result in together][::2] == [1, 1]


def test_a_transcript_becomes_plain_json(model: Transcriber, utterances: list[Utterance]) -> None:
    row = model.transcribe(utterances[0].audio).to_dict()
    assert row["text"] == utterances[0].text
    assert row["segments"][0]["words"][0]["text"] == (utterances[0].text or "").split()[0]


TWO_HOURS = r"""
import re, sys
from pathlib import Path
import numpy as np, soundfile
rng = np.random.default_rng(0)
with soundfile.SoundFile(sys.argv[2], "w", 8000, 1, "PCM_16") as out:
    for _ in range(120):
        out.write(rng.integers(-30, 30, 8000 * 60, dtype=np.int16))
import torch
torch.set_num_threads(1)
import asr
transcript = asr.load_model(sys.argv[1], device="cpu").transcribe(sys.argv[2])
# Not getrusage's maxrss, which a process inherits from the one that started it.
print(transcript.duration, re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_two_hours_take_less_than_two_gigabytes(trained: Trained, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_HOURS, trained.folder, tmp_path / "two-hours.wav"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    duration, kilobytes = map(float, done.stdout.split())
    assert duration == 7200
    assert kilobytes < 2e6


def test_a_folder_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere: no such model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="not a complete model folder"):
        load_model(tmp_path)


def test_an_unknown_device_is_an_error(trained: Trained) -> None:
    with pytest.raises(ConfigError, match=r"--device gpu: expected auto, cpu, cuda or cuda:N; .* numpy"):
        load_model(trained.folder, device="gpu")
