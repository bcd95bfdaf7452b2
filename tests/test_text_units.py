"""BPE pieces and phones: against sentencepiece itself and by hand."""

from __future__ import annotations

import io
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from asr.config import TextConfig, parse_config
from asr.errors import ConfigError, TextError
from asr.text import BLANK, SPACE, BpeTokenizer, PhoneTokenizer, Tokenizer, build_tokenizer, count_words, normalise
from asr.text.pronunciations import Pronunciations, read_pronunciations, unstressed

SENTENCES = [
    "the quick brown fox jumps over the lazy dog",
    "don't you think that the other brother is rather thin",
    "this and that and these and those are there",
    "over there they are all the same",
]
BPE = BpeTokenizer.train(count_words(SENTENCES, TextConfig()), 60)
CMU = ";;; made\nread R EH1 D\nread(2) R IY1 D\nred R EH1 D\nreed R IY1 D\nthe DH AH0\nthe(2) DH IY0 # before vowels\n"


def test_bpe_is_what_sentencepiece_learns_from_the_whole_sentences() -> None:
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=written,
        model_type="bpe",
        vocab_size=60,
        character_coverage=1.0,
        normalization_rule_name="identity",
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    reference = SentencePieceProcessor(model_proto=written.getvalue())
    assert BPE.tokens == [BLANK, *(reference.id_to_piece(index) for index in range(1, 60))]
    for sentence in [*SENTENCES, "brother fox", "z z zzz", ""]:
        assert [BPE.tokens[index] for index in BPE.encode(sentence)] == reference.encode(sentence, out_type=str)
        assert BPE.decode(BPE.encode(sentence)) == sentence
        assert BPE.decode(BPE.encode(sentence)) == reference.decode(reference.encode(sentence))


@given(st.text("abcdefghijklmnopqrstuvwxyz '", max_size=40))
def test_bpe_spells_any_text_of_its_characters_word_by_word(text: str) -> None:
    text = normalise(text)
    ids = BPE.encode(text)
    assert 0 not in ids
    assert BPE.decode(ids) == text
    assert ids == [index for word in text.split() for index in BPE.spellings(word)[0]]


def test_bpe_does_not_depend_on_the_order_of_utterances() -> None:
    backwards = count_words(SENTENCES[::-1], TextConfig())
    assert BpeTokenizer.train(backwards, 60).model == BPE.model


@pytest.mark.parametrize("text", ["thé dog", "over 9", f"a{SPACE}b", "<blank>"])
def test_unknown_character_is_an_error_as_with_characters(text: str) -> None:
    strange = [c for c in dict.fromkeys(text) if not c.isascii() or c not in "abcdefghijklmnopqrstuvwxyz' "]
    assert BPE.missing(text) == strange
    with pytest.raises(TextError) as caught:
        BPE.encode(text)
    assert f"{strange[0]!r} (U+{ord(strange[0]):04X})" in str(caught.value)
    assert BPE.spellings(text) == []


def test_alphabet_limits_and_extends_what_bpe_learns_from() -> None:
    config = TextConfig(units="bpe", vocabulary=12, alphabet="abxy")
    tokenizer = build_tokenizer(count_words(["ab ab ba café", "ab bab"], config), config)
    assert tokenizer.missing("abxy c") == ["c"]
    assert tokenizer.decode(tokenizer.encode("xab y")) == "xab y"


def test_vocabulary_that_does_not_fit_the_text_says_what_would() -> None:
    words = Counter({"ab": 3, "bad": 2})
    with pytest.raises(TextError, match=r"text\.vocabulary = 100 is too much .* the largest possible is 13"):
        BpeTokenizer.train(words, 100)
    assert len(BpeTokenizer.train(words, 13)) == 13
    with pytest.raises(TextError, match=r"text\.vocabulary = 4 is too little: .* 6 tokens"):
        BpeTokenizer.train(Counter({"abcd": 1}), 4)
    assert len(BpeTokenizer.train(Counter({"abcd": 1}), 6)) == 6


def test_saved_bpe_reads_back_equal_and_is_no_pickle(tmp_path: Path) -> None:
    BPE.save(tmp_path / "tokens.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bpe.model", "tokens.txt"]
    SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))  # others can use it
    loaded = Tokenizer.load(tmp_path / "tokens.txt")
    assert isinstance(loaded, BpeTokenizer)
    assert (loaded.units, loaded.tokens) == ("bpe", BPE.tokens)
    assert loaded.encode(SENTENCES[0]) == BPE.encode(SENTENCES[0])
    assert pickle.loads(pickle.dumps(BPE)).encode("the fox") == BPE.encode("the fox")


def test_broken_or_foreign_bpe_model_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    BPE.save(path)
    (tmp_path / "bpe.model").write_bytes(b"\x80\x04garbage")
    with pytest.raises(TextError, match=r"tokens\.txt.*no sentencepiece model"):
        Tokenizer.load(path)
    (tmp_path / "bpe.model").write_bytes(BpeTokenizer.train(Counter({"ab": 3, "bad": 2}), 9).model)
    with pytest.raises(TextError, match="of another table"):
        Tokenizer.load(path)
    (tmp_path / "bpe.model").unlink()
    with pytest.raises(TextError, match=r"need bpe\.model beside them"):
        Tokenizer.load(path, "bpe")


@pytest.fixture
def phones(tmp_path: Path) -> PhoneTokenizer:
    (tmp_path / "cmu.dict").write_text(CMU + "ZOO Z UW1\n", encoding="utf-8")
    config = TextConfig(units="phones", lexicon=str(tmp_path / "cmu.dict"))
    tokenizer = build_tokenizer(count_words(["Read the red reed", "the red", "unheard the"], config), config)
    assert isinstance(tokenizer, PhoneTokenizer)
    return tokenizer


def test_phones_of_the_training_words(phones: PhoneTokenizer) -> None:
    assert phones.tokens == [BLANK, SPACE, "AH", "D", "DH", "EH", "IY", "R"]  # no Z: zoo is in no transcript
    assert phones.encode("the red reed") == [4, 2, 1, 7, 5, 3, 1, 7, 6, 3]
    assert phones.spellings("read") == [(7, 5, 3), (7, 6, 3)]
    assert phones.missing("the zoo red unheard zoo") == ["zoo", "unheard"]
    with pytest.raises(TextError, match=r"'zoo', 'unheard' without a pronunciation in the lexicon; `asr lexicon`"):
        phones.encode("the zoo red unheard")


def test_pronunciations_become_the_most_frequent_of_the_words_that_have_them_first(phones: PhoneTokenizer) -> None:
    assert list(phones.pronunciations) == ["the", "red", "read", "reed"]  # 3, 2, 1 and 1 times
    assert phones.decode([7, 5, 3]) == "red"  # more often than read
    assert phones.decode([7, 6, 3]) == "reed"  # its first pronunciation; of read the second
    assert phones.decode([4, 6, 1, 4, 2]) == "the the"
    assert phones.decode([1, 5, 3, 1, 1, 4, 3]) == "red the"  # EH D, DH D: one phone from a word
    assert phones.decode([1, 3, 5, 1, 1, 7, 5, 3, 1]) == "<d-eh> red"  # D EH: two of two phones from any
    assert phones.decode([]) == phones.decode([1]) == ""


def edits(first: Sequence[int], second: Sequence[int]) -> int:
    """Levenshtein's distance by its definition."""
    if not first or not second:
        return len(first) + len(second)
    kept = edits(first[1:], second[1:]) + (first[0] != second[0])
    return min(kept, edits(first[1:], second) + 1, edits(first, second[1:]) + 1)


def test_the_nearest_pronunciation_is_that_of_every_distance_counted() -> None:
    rng = random.Random(4)
    phones = ["AA", "B", "CH", "D", "EH"]
    ways = dict.fromkeys(tuple(rng.choices(phones, k=rng.randint(1, 5))) for _ in range(40))
    tokenizer = PhoneTokenizer([BLANK, SPACE, *phones], {f"w{place}": [way] for place, way in enumerate(ways)})
    spelled = [tokenizer.encode(word) for word in tokenizer.pronunciations]
    visible = 0
    for _ in range(60):
        heard = rng.choices(range(2, 7), k=rng.randint(1, 6))
        distances = [edits(heard, word) for word in spelled]
        written = tokenizer.decode(heard)
        if min(distances) <= max(1, len(heard) // 2):
            assert written == f"w{distances.index(min(distances))}", heard
        else:
            assert written.startswith("<")
            visible += 1
    longest = tokenizer.decode([2] * 12)
    assert longest == "<" + "-".join(["aa"] * 12) + ">"
    assert visible < 60


def test_of_equally_frequent_words_that_sound_alike_the_first_of_the_alphabet() -> None:
    dictionary: Pronunciations = {"two": [("T", "UW")], "too": [("T", "UW")], "to": [("T", "UW")]}
    assert PhoneTokenizer.from_words({"two": 2, "too": 2, "to": 1}, dictionary).decode([2, 3]) == "too"


def test_figures_of_phones_that_are_not_cmudicts_vowels_are_kept() -> None:
    assert [unstressed(phone) for phone in ("AH0", "ER2", "T", "a1", "ma4", "AX3", "N2")] == (
        ["AH", "ER", "T", "a1", "ma4", "AX3", "N2"]
    )


def test_stress_is_kept_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "cmu.dict").write_text(CMU, encoding="utf-8")
    config = TextConfig(units="phones", lexicon=str(tmp_path / "cmu.dict"), stress=True, case="upper")
    tokenizer = build_tokenizer(count_words(["the red"], config), config)
    assert tokenizer.tokens == [BLANK, SPACE, "AH0", "D", "DH", "EH1", "R"]
    assert tokenizer.decode(tokenizer.encode("THE RED")) == "THE RED"
    assert len(tokenizer.spellings("THE")) == 1  # the second has IY0, which no word here is spelled by


def test_saved_phones_read_back_equal(phones: PhoneTokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    phones.save(folder / "tokens.txt")
    assert (folder / "pronunciations.txt").read_text().split("\n")[:3] == ["the DH AH", "the(2) DH IY", "red R EH D"]
    loaded = Tokenizer.load(folder / "tokens.txt")
    assert isinstance(loaded, PhoneTokenizer)
    assert (loaded.tokens, loaded.pronunciations) == (phones.tokens, phones.pronunciations)
    assert loaded.decode([7, 5, 3]) == "red"
    (folder / "pronunciations.txt").write_text("zoo Z UW\n")
    with pytest.raises(TextError, match="'zoo' has 'Z', which is not in the token table"):
        Tokenizer.load(folder / "tokens.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("red\n", "line 1: 'red' has no phones"),
        ("red R EH D\nof ▁ V\n", "line 2: <blank> and ▁ are no phones"),
        (";;; nothing\n\n", "no pronunciations"),
    ],
)
def test_bad_dictionary_is_named_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.dict"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(TextError) as caught:
        read_pronunciations(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    with pytest.raises(TextError, match="no such pronunciation dictionary"):
        read_pronunciations(tmp_path / "absent")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"vocabulary": 100}, "vocabulary is an option of units: bpe"),
        ({"units": "phones", "lexicon": "x", "vocabulary": 100}, "vocabulary is an option of units: bpe"),
        ({"units": "bpe", "lexicon": "x"}, "lexicon is an option of units: phones"),
        ({"stress": True}, "stress is an option of units: phones"),
        ({"units": "phones"}, "units: phones needs a lexicon; `asr lexicon"),
        ({"units": "phones", "lexicon": "x", "alphabet": "ab"}, "alphabet is an option of units: characters and bpe"),
        ({"units": "words"}, "text.units"),
        ({"units": "bpe", "vocabulary": 2}, "text.vocabulary"),
    ],
)
def test_impossible_units_are_refused(text: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"text": text})
    assert message in str(caught.value)


def test_bpe_has_300_tokens_where_nothing_is_said() -> None:
    assert parse_config({"text": {"units": "bpe"}}).text.vocabulary == 300
    assert parse_config({}).text.vocabulary is None
    again = parse_config(parse_config({"text": {"units": "bpe"}}).model_dump())
    assert again.text.vocabulary == 300
