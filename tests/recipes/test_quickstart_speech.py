"""The quickstart's synthetic corpus: its sentences, its voices and its sound."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.manifest import read_manifest
from asr.errors import CorpusError
from recipes.quickstart.grammar import SPLITS, TEMPLATES, draw_sentences, expand, split_of, vocabulary
from recipes.quickstart.speech import SAMPLE_RATE, VOICES, Espeak, synthesise

needs_synthesisers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("hibari", "espeakng_loader")),
    reason="the speech synthesisers are not installed: pip install -e '.[demo]'",
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("quickstart")
    synthesise(output, seed=3, sentences=60)
    return output


def fingerprint(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("wav/*.wav"))}


def test_grammar_has_about_sixty_words_and_thousands_of_short_sentences() -> None:
    sentences = {sentence for template in TEMPLATES for sentence in expand(template)}
    assert len(sentences) > 10_000
    assert 55 <= len(vocabulary()) <= 70
    assert {word for sentence in sentences for word in sentence.split()} == set(vocabulary())
    assert all(re.fullmatch(r"[a-z']+( [a-z']+){1,6}", sentence) for sentence in sentences)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_sentences_are_never_trained_on_but_all_their_words_are(seed: int) -> None:
    drawn = {split: draw_sentences(split, count, seed) for split, count in zip(SPLITS, (1200, 120, 180), strict=True)}
    train, dev, test = (set(drawn[split]) for split in SPLITS)
    assert not train & dev
    assert not train & test
    assert not dev & test
    assert (len(dev), len(test)) == (120, 180)
    assert len(train) > 750
    heard = Counter(word for sentence in drawn["train"] for word in sentence.split())
    assert set(heard) == set(vocabulary())
    assert min(heard.values()) >= 8


def test_sentences_hang_on_the_seed_alone() -> None:
    assert draw_sentences("test", 50, 0) == draw_sentences("test", 50, 0)
    assert draw_sentences("test", 50, 0) != draw_sentences("test", 50, 1)
    assert all(split_of(sentence, 0) == "dev" for sentence in draw_sentences("dev", 50, 0))


def test_voices_of_the_splits_are_disjoint_even_without_their_accent() -> None:
    for one, other in (("train", "dev"), ("train", "test"), ("dev", "test")):
        variants = [{voice.name.partition("+")[2] or voice.name for voice in VOICES[split]} for split in (one, other)]
        assert not variants[0] & variants[1]
    assert {voice.engine for voice in VOICES["train"]} == {"espeak", "hibari"}


@needs_synthesisers
def test_every_voice_speaks() -> None:
    espeak = Espeak()
    heard = set()
    for voice in (voice for voices in VOICES.values() for voice in voices if voice.engine == "espeak"):
        speech = espeak.say("call nine one one", voice.name, speed=1.0, pitch=50, pitch_range=50, seed=1)
        assert 0.8 < len(speech) / espeak.sample_rate < 3.0, voice
        assert 0.05 < np.abs(speech).max() < 0.99, voice
        heard.add(speech.tobytes())
    assert len(heard) == sum(voice.engine == "espeak" for voices in VOICES.values() for voice in voices)


@needs_synthesisers
@pytest.mark.parametrize("name", ["en-us+nobody", "xx-nowhere"])
def test_unknown_espeak_voice_is_an_error_and_not_another_voice(name: str) -> None:
    with pytest.raises(CorpusError, match=re.escape(repr(name))):
        Espeak().say("volume up", name, speed=1.0, pitch=50, pitch_range=50, seed=1)


@needs_synthesisers
def test_recordings_are_audible_speech_of_plausible_length(corpus: Path) -> None:
    counts = {}
    for split in SPLITS:
        utterances = list(read_manifest(corpus / split))
        counts[split] = len(utterances)
        assert {utterance.speaker for utterance in utterances} <= {voice.speaker for voice in VOICES[split]}
        for utterance in utterances:
            samples, rate = soundfile.read(utterance.audio)
            assert rate == utterance.sample_rate == SAMPLE_RATE
            assert soundfile.info(utterance.audio).subtype == "PCM_16"
            assert samples.shape == (round(utterance.duration * rate),)
            assert 0.7 < utterance.duration < 4.5
            assert 0.09 < np.abs(samples).max() < 0.95
            assert set((utterance.text or "?").split()) <= set(vocabulary())
            # Speech comes and goes: its loudest 20 ms stand far above the noise of the silence before it.
            frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
            levels = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-10)
            assert levels.max() - levels[:2].mean() > 12, utterance.id
    assert counts == {"train": 48, "dev": 5, "test": 7}


@needs_synthesisers
def test_same_seed_gives_the_same_bytes_and_another_seed_others(corpus: Path, tmp_path: Path) -> None:
    synthesise(tmp_path / "again", seed=3, sentences=60)
    synthesise(tmp_path / "other", seed=4, sentences=60)
    assert len(fingerprint(corpus)) == 60
    assert fingerprint(tmp_path / "again") == fingerprint(corpus)
    assert not set(fingerprint(tmp_path / "other").values()) & set(fingerprint(corpus).values())


@needs_synthesisers
def test_complete_corpus_is_kept_and_an_interrupted_or_different_one_is_made_anew(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 16
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(tmp_path, sentences=16, progress=interrupt)
    done: list[int] = []
    manifests = synthesise(tmp_path, sentences=12, progress=lambda index, _: done.append(index))
    assert done == list(range(1, 13))
    assert len(list((tmp_path / "wav").iterdir())) == 12
    assert synthesise(tmp_path, sentences=12, progress=lambda index, _: done.append(index)) == manifests
    assert len(done) == 12


@pytest.mark.parametrize("sentences", [0, 11, 100_000])
def test_impossible_number_of_sentences_is_named(tmp_path: Path, sentences: int) -> None:
    with pytest.raises(CorpusError, match=f"sentences={sentences}"):
        synthesise(tmp_path, sentences=sentences)


@pytest.mark.parametrize(
    ("module", "package"), [("espeakng_loader", "espeakng-loader"), ("hibari", "hibari-tts")], ids=["espeak", "hibari"]
)
def test_missing_synthesiser_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    if module == "hibari":
        pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    monkeypatch.setitem(sys.modules, module, None)  # what Python itself does for a module that cannot be imported
    with pytest.raises(CorpusError, match=rf"{package}.*pip install -e '\.\[demo\]'"):
        synthesise(tmp_path / "corpus", sentences=12)
    assert not list(tmp_path.rglob("*.*"))


@needs_synthesisers
def test_unwritable_output_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "wav").write_text("a file where the folder should be")
    with pytest.raises(CorpusError, match=re.escape(str(tmp_path))):
        synthesise(tmp_path, sentences=12)
