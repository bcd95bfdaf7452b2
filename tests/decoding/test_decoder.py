from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from asr.audio import load_audio
from asr.config import Config, DecodingConfig
from asr.data.manifest import read_manifest
from asr.decoding.beam import BeamOptions
from asr.decoding.decoder import MANY, OF_FEW_WORDS, OF_MANY_WORDS, Decoder, beam_settings, of_lexicon
from asr.decoding.lexicon import Lexicon
from asr.decoding.recogniser import Recogniser
from asr.errors import AsrError, ConfigError, TextError
from asr.lm.training import train_ngram
from asr.text import BLANK, SPACE, PhoneTokenizer, Tokenizer
from asr.text.pronunciations import Pronunciations

if TYPE_CHECKING:
    from tests.conftest import Trained


@pytest.fixture(scope="module")
def lm(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "words.lm"
    train_ngram([trained.train], 2).model.save(path)
    return path


def decoded(trained: Trained, count: int = 20, **decoding: object) -> list[str]:
    recogniser = Recogniser.load(trained.folder, "cpu", decoding, threads=1)
    rows = list(read_manifest(trained.test))[:count]
    return [h.text for h in recogniser.decode([load_audio(row.audio, recogniser.sample_rate) for row in rows])]


def test_what_only_beam_search_can_do_switches_it_on() -> None:
    plain = DecodingConfig(batch_seconds=7)
    assert beam_settings(plain) == plain
    assert beam_settings(plain, beam=5).method == "beam"
    assert beam_settings(plain, nbest=2) == DecodingConfig(method="beam", nbest=2, batch_seconds=7)
    assert beam_settings(plain, beam=5, method="greedy").method == "greedy"


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ({"lexicon": "l"}, {"hotwords": "h"}, {"hotwords": "h"}),
        ({"lexicon": "l", "lm": "m"}, {"hotwords": "h"}, {"hotwords": "h", "lexicon": "l", "lm": "m"}),
        ({"lexicon": "l", "lm": "m"}, {"grammar": "g", "lm": None}, {"grammar": "g"}),
        ({"grammar": "g"}, {"hotwords": "h"}, {"hotwords": "h"}),
        ({"hotwords": "h"}, {"lexicon": "l"}, {"lexicon": "l"}),
        ({"hotwords": "h", "lm": "m"}, {"lexicon": "l"}, {"hotwords": "h", "lexicon": "l", "lm": "m"}),
        ({"grammar": "g", "lm": "m"}, {"lexicon": "l", "hotwords": "h"}, {"lexicon": "l", "hotwords": "h", "lm": "m"}),
    ],
)
def test_rules_that_are_given_replace_what_they_exclude(
    before: dict[str, str], changes: dict[str, str | None], after: dict[str, str]
) -> None:
    changed = beam_settings(DecodingConfig(method="beam", **before), **changes)
    assert changed == DecodingConfig(method="beam", **after)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beam": 0}, r"decoding options: decoding\.beam = 0"),
        ({"method": "greedy", "lm": "a.lm"}, "lm needs method: beam"),
        ({"hotwords": "a", "grammar": "b"}, "exclude each other"),
        ({"hotwords": "a", "lexicon": "b"}, "exclude each other"),
        ({"hotwords": "a", "grammar": "b", "lm": "c"}, "exclude each other"),
        ({"beam": 8, "lm_weight": 0.5}, "lm_weight means nothing without a language model"),
        ({"beams": 3}, r"unknown key 'decoding\.beams', did you mean 'decoding\.beam'\?"),
    ],
)
def test_impossible_settings_are_explained(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        beam_settings(DecodingConfig(), **changes)


def test_a_beam_finds_what_greedy_finds_where_the_model_is_sure(trained: Trained) -> None:
    greedy, beam = decoded(trained), decoded(trained, beam=16)
    assert sum(a == b for a, b in zip(greedy, beam, strict=True)) >= 17


def test_a_closed_language_model_lets_only_its_words_out(trained: Trained, lm: Path) -> None:
    known = {word for row in read_manifest(trained.train) for word in (row.text or "").split()}
    found = decoded(trained, lm=str(lm), closed=True)
    assert {word for text in found for word in text.split()} <= known
    references = [row.text for row in read_manifest(trained.test)]
    right = sum(a == b for a, b in zip(found, references, strict=True))
    assert right >= sum(a == b for a, b in zip(decoded(trained), references, strict=True))


def test_a_grammar_lets_only_its_sentences_out(trained: Trained, tmp_path: Path) -> None:
    sentences = [row.text or "" for row in read_manifest(trained.test)][:6]
    (tmp_path / "grammar.txt").write_text("\n".join(sentences) + "\n")
    found = decoded(trained, 20, grammar=str(tmp_path / "grammar.txt"))
    assert found[:6] == sentences
    assert set(found) <= {*sentences, ""}  # nothing, where no allowed sentence is anywhere near


def test_hot_words_come_out_when_they_weigh_enough(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "hot.txt").write_text("gab\t60\n")
    before, after = decoded(trained), decoded(trained, hotwords=str(tmp_path / "hot.txt"))
    assert sum(text.split().count("gab") for text in after) > sum(text.split().count("gab") for text in before)


def test_hot_words_come_out_beside_a_lexicon_and_a_language_model(trained: Trained, lm: Path, tmp_path: Path) -> None:
    words = sorted({word for row in read_manifest(trained.train) for word in (row.text or "").split()})
    (tmp_path / "lexicon.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "hot.txt").write_text(f"{words[0]}\t60\n")
    rules: dict[str, Any] = {"lm": str(lm), "lexicon": str(tmp_path / "lexicon.txt")}
    before, after = decoded(trained, **rules), decoded(trained, hotwords=str(tmp_path / "hot.txt"), **rules)
    assert sum(text.split().count(words[0]) for text in after) > sum(text.split().count(words[0]) for text in before)
    assert {word for text in after for word in text.split()} <= set(words)


def test_hot_words_of_phones_are_spelled_by_the_lexicon(tmp_path: Path) -> None:
    tokenizer = PhoneTokenizer([BLANK, SPACE, "AE", "B", "K", "T"], {"cat": [("K", "AE", "T")]})
    (tmp_path / "lexicon.txt").write_text("cat K AE T\nbat B AE T\n")
    (tmp_path / "hot.txt").write_text("bat\n")
    (tmp_path / "text.txt").write_text("bat\ncat\ncat\n")
    train_ngram([tmp_path / "text.txt"], 1).model.save(tmp_path / "words.lm")
    plain = {"method": "beam", "lm": str(tmp_path / "words.lm"), "hotwords": str(tmp_path / "hot.txt")}
    with pytest.raises(TextError, match="'bat' without a pronunciation"):
        Decoder(tokenizer, Config(decoding=DecodingConfig(**plain)))
    with_lexicon = DecodingConfig(**plain, lexicon=str(tmp_path / "lexicon.txt"))
    decoder = Decoder(tokenizer, Config(decoding=with_lexicon))
    # B and K are as likely as each other: without hot words the language model's "cat" would be heard.
    said = np.log(np.full((1, 3, 6), 0.001, np.float32))
    for frame, tokens in enumerate(({3: 0.498, 4: 0.498}, {2: 0.995}, {5: 0.995})):
        for token, probability in tokens.items():
            said[0, frame, token] = np.log(probability)
    said -= np.log(np.exp(said).sum(-1, keepdims=True))
    assert [found[0].text for found in decoder(said, np.array([3]))] == ["bat"]


def test_what_of_a_lexicon_cannot_come_out_is_noted(tmp_path: Path) -> None:
    tokenizer = PhoneTokenizer([BLANK, SPACE, "AE", "B", "K", "T"], {"cat": [("K", "AE", "T")]})
    (tmp_path / "lexicon.txt").write_text("cat K AE T\nbat B AE T\nzoo Z UW\n")
    (tmp_path / "text.txt").write_text("cat\n")
    train_ngram([tmp_path / "text.txt"], 1).model.save(tmp_path / "words.lm")
    alone = DecodingConfig(method="beam", lexicon=str(tmp_path / "lexicon.txt"))
    (left_out,) = Decoder(tokenizer, Config(decoding=alone), tmp_path / "model").notes
    assert left_out == (
        f"1 entries of the lexicon are left out; {tmp_path}/lexicon.txt, line 3: 'zoo' has 'Z', 'UW', not among the "
        "model's tokens; respell it"
    )
    both = alone.model_copy(update={"lm": str(tmp_path / "words.lm")})
    assert Decoder(tokenizer, Config(decoding=both)).notes[1].startswith("1 of 2 words of the lexicon are not in the l")
    own = both.model_copy(update={"lexicon": "lexicon.txt"})
    assert Decoder(tokenizer, Config(decoding=own), tmp_path).notes == []


@pytest.mark.parametrize("lm", [False, True])
def test_what_a_list_says_is_written_and_not_what_sounds_like_it(tmp_path: Path, lm: bool) -> None:
    tokens = [BLANK, SPACE, "AY", "EH", "IY", "N", "R", "D", "T"]
    known: Pronunciations = {"night": [("N", "AY", "T")], "knight": [("N", "AY", "T")]}
    known |= {"reed": [("R", "IY", "D")], "read": [("R", "EH", "D"), ("R", "IY", "D")]}
    tokenizer = PhoneTokenizer(tokens, known)
    (tmp_path / "text.txt").write_text("night\nnight reed\nknight read\nread\n" + "night\nreed\n" * 9)
    train_ngram([tmp_path / "text.txt"], 1).model.save(tmp_path / "words.lm")
    (tmp_path / "sentences.txt").write_text("knight read\nnight\n")
    (tmp_path / "words.txt").write_text("knight\nread\n")
    (tmp_path / "hot.txt").write_text("read knight\t20\n")

    def heard(phones: str, **decoding: Any) -> str:
        frames = [index for phone in phones.split() for index in (tokens.index(phone), 0)]
        log_probs = np.log(np.eye(len(tokens))[frames] * 0.99 + 0.01 / len(tokens)).astype(np.float32)[None]
        model = {"lm": str(tmp_path / "words.lm")} if lm else {}
        config = Config(decoding=DecodingConfig(method="beam", **model, **decoding))
        return Decoder(tokenizer, config)(log_probs, np.array([len(frames)]))[0][0].text

    both = "N AY T ▁ R IY D"
    assert heard(both) == "night reed"
    sentences = {"grammar": str(tmp_path / "sentences.txt")}
    assert heard(both, **sentences) == heard("N AY T ▁ R EH D", **sentences) == "knight read"
    assert heard("N AY T", **sentences) == "night"
    assert heard(f"R IY D ▁ {both}", grammar=str(tmp_path / "words.txt"), grammar_of="words") == "read knight read"
    if lm:
        assert heard("R IY D ▁ N AY T", hotwords=str(tmp_path / "hot.txt")) == "read knight"


def test_files_of_the_model_folder_are_found_by_name(trained: Trained, lm: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(trained.folder, folder)
    shutil.copy(lm, folder / "inside.lm")
    assert Recogniser.load(folder, "cpu", {"lm": "inside.lm"}).decoding.lm == "inside.lm"
    with pytest.raises(AsrError, match=r"outside\.lm"):
        Recogniser.load(folder, "cpu", {"lm": "outside.lm"})


def test_words_have_times_in_order_and_confidences(trained: Trained) -> None:
    recogniser = Recogniser.load(trained.folder, "cpu", {"word_times": True, "nbest": 3}, threads=1)
    row = next(row for row in read_manifest(trained.test) if len((row.text or "").split()) > 2)
    (hypotheses,) = recogniser.nbest([load_audio(row.audio, recogniser.sample_rate)])
    assert 1 <= len(hypotheses) <= 3
    assert len({h.text for h in hypotheses}) == len(hypotheses)
    assert [h.score for h in hypotheses] == sorted((h.score for h in hypotheses), reverse=True)
    words = hypotheses[0].words
    times = [time for word in words for time in (word.start, word.end)]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    assert 0 <= (times[0] or 0) < (times[-1] or 0) <= row.duration + 0.05
    assert all(word.confidence is not None and 0 < word.confidence <= 1 for word in words)


def test_a_lexicon_lets_only_its_words_out(trained: Trained, lm: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("ab\nbad\ncafe\n")
    for model in (None, str(lm)):
        found = decoded(trained, lexicon=str(tmp_path / "words.txt"), lm=model)
        assert {word for text in found for word in text.split()} == {"ab", "bad", "cafe"}


def test_only_among_many_words_the_unlikely_is_pruned(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"w{number}\n" for number in range(MANY)))
    many = train_ngram([text], 1).model
    few = train_ngram([text], 1, limit_vocabulary=MANY - 10).model
    letters = train_ngram([text], 1, "characters").model
    tokenizer = Tokenizer.from_characters("w0123456789")
    words = Lexicon.from_words([f"w{number}" for number in range(MANY)], tokenizer)
    own = Lexicon.from_words(["w1", "w2"], tokenizer)  # a user's few, beside the large language model
    for lm, lexicon, pruning in (
        (many, words, OF_MANY_WORDS),
        (many, own, OF_FEW_WORDS),
        (many, None, OF_FEW_WORDS),
        (few, words, OF_FEW_WORDS),
        (letters, words, OF_FEW_WORDS),
        (None, words, OF_FEW_WORDS),
    ):
        options = of_lexicon(BeamOptions(beam=7), lm, lexicon)
        assert (options.prune, options.token_min_log_prob, options.beam) == (*pruning, 7)


def test_a_second_pass_reorders_the_best_texts(trained: Trained, tmp_path: Path) -> None:
    from asr.lm.lstm import LstmConfig
    from asr.lm.lstm_training import LstmTraining, train_lstm

    sentences = [row.text or "" for row in read_manifest(trained.train)]
    made = train_lstm(sentences, LstmConfig(size=8), LstmTraining(epochs=1))
    made.save(tmp_path / "lstm")
    first = decoded(trained, nbest=5)
    assert decoded(trained, nbest=5, rescore=str(tmp_path / "lstm"), rescore_weight=0.0) == first
    recogniser = Recogniser.load(trained.folder, "cpu", {"nbest": 5, "rescore": str(tmp_path / "lstm")}, threads=1)
    row = next(iter(read_manifest(trained.test)))
    (texts,) = recogniser.nbest([load_audio(row.audio, recogniser.sample_rate)])
    plain = Recogniser.load(trained.folder, "cpu", {"nbest": 50}, threads=1)
    (before,) = plain.nbest([load_audio(row.audio, recogniser.sample_rate)])
    added = dict(zip([h.text for h in before], made.score([h.text for h in before]), strict=True))
    expected = {h.text: h.score + 0.4 * added[h.text] for h in before}
    assert len(texts) <= 5
    assert [h.text for h in texts] == sorted(expected, key=lambda text: -expected[text])[: len(texts)]
    assert texts[0].score == pytest.approx(expected[texts[0].text], abs=1e-3)
