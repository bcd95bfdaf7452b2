from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from asr.config import Config
from asr.data.loading import Batch
from asr.model.acoustic import AcousticModel
from asr.training import step as step_module
from asr.training.step import Step

TOKENS = 9
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def batch(seed: int = 0, utterances: int = 3) -> Batch:
    """Noise of half a second to a second with five labels each."""
    torch.manual_seed(seed)
    lengths = torch.randint(4000, 8000, (utterances,))
    waveforms = torch.randn(utterances, int(lengths.max())) * (torch.arange(int(lengths.max())) < lengths[:, None])
    tokens = torch.randint(1, TOKENS, (utterances, 5))
    return Batch([f"u{i}" for i in range(utterances)], waveforms, lengths, tokens, torch.full((utterances,), 5))


@pytest.fixture
def make_step(small_config: Callable[..., Config]) -> Iterator[Callable[..., Step]]:
    """`make_step(training={...}, device="cuda", precision="bf16")`: a small model with its optimiser."""

    def make(device: str = "cpu", precision: str = "no", **sections: object) -> Step:
        AcceleratorState._reset_state(reset_partial_state=True)
        config = small_config(**sections)
        torch.manual_seed(0)
        accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision)
        step = Step(config, accelerator, AcousticModel(config, TOKENS))
        step.model.train()
        return step

    yield make
    AcceleratorState._reset_state(reset_partial_state=True)


def weights(step: Step) -> list[torch.Tensor]:
    return [weight.detach().cpu().clone() for weight in step.bare.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_step_depends_on_its_number_and_not_on_what_was_drawn_before(make_step: Callable[..., Step]) -> None:
    found = []
    for drawn, number in ((0, 5), (100, 5), (0, 6)):
        step = make_step(model={"dropout": 0.5})
        torch.rand(drawn)
        step(batch(), number, 1e-3)
        found.append(weights(step))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_what_is_evaluated_is_computed_in_float32_whatever_the_precision_of_the_training(
    make_step: Callable[..., Step],
) -> None:
    step = make_step(precision="bf16")
    step(batch(), 0, 1e-3)
    plain = AcousticModel(step.config, TOKENS)
    plain.load_state_dict(step.bare.state_dict())
    one = batch(3)
    found, _ = step.bare.eval()(one.waveforms, one.lengths)
    expected, _ = plain.eval()(one.waveforms, one.lengths)
    assert torch.equal(found, expected)


def test_any_seed_will_do(make_step: Callable[..., Step]) -> None:
    step = make_step(training={"seed": 2**63 + 5})
    step(batch(), 3, 1e-3)
    assert not step.read().skipped[0]


def test_the_counts_are_those_of_the_batches(make_step: Callable[..., Step]) -> None:
    step, batches = make_step(model={"dropout": 0.0}, augmentation={"spec_augment": None}), [batch(1), batch(2, 4)]
    expected_loss, emitted = 0.0, 0
    for number, one in enumerate(batches):
        with torch.no_grad():
            log_probs, lengths = step.bare(one.waveforms, one.lengths)
        for row, length in enumerate(lengths.tolist()):
            own = log_probs[row : row + 1, :length]
            expected_loss += float(
                torch.nn.functional.ctc_loss(
                    own.transpose(0, 1),
                    one.tokens[row : row + 1],
                    torch.tensor([length]),
                    torch.tensor([5]),
                    reduction="sum",
                )
            )
            emitted += int((own.argmax(-1) != 0).sum())
        step(one, number, 1e-3)
    counts = step.read()
    assert counts.loss == pytest.approx(expected_loss, rel=1e-5)
    assert (counts.labels, counts.emitted) == (35, emitted)
    assert counts.seconds == pytest.approx(sum(int(one.lengths.sum()) for one in batches) / 8000)
    assert counts.skipped == (False, False)
    assert not counts.asked
    empty = step.read()
    assert (empty.loss, empty.labels, empty.skipped) == (0.0, 0, ())


@pytest.mark.parametrize("spoilt", ["sample", "labels"])
def test_a_step_that_is_not_finite_changes_nothing_and_the_next_one_does(
    make_step: Callable[..., Step], spoilt: str
) -> None:
    step, bad = make_step(), batch(1)
    if spoilt == "sample":
        bad.waveforms[1, 100] = torch.nan
    else:  # more labels than frames: an infinite loss
        bad.tokens, bad.token_lengths = torch.ones(3, 60, dtype=torch.long), torch.full((3,), 60)
    step(batch(0), 0, 1e-3)
    before, moments = weights(step), [v["exp_avg"].clone() for v in step.optimiser.state.values()]
    step(bad, 1, 1e-3)
    assert same(before, weights(step))
    assert same(moments, [v["exp_avg"] for v in step.optimiser.state.values()])
    step(batch(2), 2, 1e-3)
    assert not same(before, weights(step))
    counts = step.read()
    assert counts.skipped == (False, True, False)
    assert counts.labels == 30  # of the two that counted


def test_a_batch_of_which_nothing_could_be_read_changes_no_weight(make_step: Callable[..., Step]) -> None:
    step = make_step(training={"weight_decay": 0.5})
    step(batch(0), 0, 1e-2)
    before = weights(step)
    none = torch.zeros(0, dtype=torch.long)
    step(Batch([], torch.zeros(0, 0), none, none.reshape(0, 0), none), 1, 1e-2)
    assert same(before, weights(step))
    assert step.read().skipped == (False, False)


def test_being_asked_to_stop_is_read_with_the_counts(make_step: Callable[..., Step]) -> None:
    step = make_step()
    step(batch(), 0, 1e-3, asked=True)
    step(batch(), 1, 1e-3)
    assert step.read().asked


@needs_gpu
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_on_a_gpu_the_host_waits_for_nothing_within_a_step(
    make_step: Callable[..., Step], monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """But for what torch's CTC kernel does: it copies the lengths to the device, and waits for these few bytes."""
    monkeypatch.setattr(step_module, "ctc_loss", lambda log_probs, *_: -log_probs[:, :, 1].sum(1))
    step, one = make_step("cuda", precision, training={"ema": 0.9}), batch()
    one = one.pin_memory()
    for number in range(3):  # kernels are chosen and memory is taken in the first
        step(one, number, 1e-3)
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(one, 3, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert step.read().skipped == (False,) * 4


@needs_gpu
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_on_a_gpu_both_directions_run_in_cudnn(make_step: Callable[..., Step], precision: str) -> None:
    step = make_step("cuda", precision)
    step(batch(), 0, 1e-3)
    with torch.profiler.profile() as profile:
        step(batch(), 1, 1e-3)
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls["aten::_cudnn_rnn"] == 2 * step.config.model.layers
    assert calls["aten::_cudnn_rnn_backward"] == 2 * step.config.model.layers


@needs_gpu
def test_on_a_gpu_the_loss_is_that_of_the_cpu(make_step: Callable[..., Step]) -> None:
    plain = {"model": {"dropout": 0.0}, "augmentation": {"spec_augment": None}}
    found = []
    for device in ("cpu", "cuda"):
        step = make_step(device, **plain)
        for number in range(5):
            step(batch(number), number, 1e-3)
        found.append(step.read().loss)
    assert found[1] == pytest.approx(found[0], rel=1e-3)
