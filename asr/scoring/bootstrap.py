"""Error bars: the bootstrap interval of an error rate over the utterances of a test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000  # the ends then wander from seed to seed by about 1 % of the interval's width
_DRAWS_AT_ONCE = 1 << 20  # bounds the memory to some tens of megabytes whatever the number of utterances


def rate_interval(
    errors: Sequence[int], totals: Sequence[int], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of sum(errors) / sum(totals), resampling whole utterances.

    Utterances are drawn, not words, because errors cluster within an utterance (Bisani and Ney, "Bootstrap
    estimates for confidence intervals in ASR performance evaluation", ICASSP 2004).  Draws without a single
    reference word have no error rate and are left out.  The interval can show only what varies between the
    utterances at hand: it has no width when there is one utterance or no error at all, and is too narrow for
    a handful.

    Args:
        errors: errors of each utterance, `[utterances]`.
        totals: reference words (or characters) of each utterance, `[utterances]`; their sum is not zero.
        level: share of the resampled rates inside the interval.
        resamples: how many times the test set is drawn again.
        seed: of the random draws; the same seed gives the same interval.
    """
    error_counts, total_counts = np.asarray(errors, np.int64), np.asarray(totals, np.int64)
    utterances = len(error_counts)
    generator = np.random.default_rng(seed)
    chunk = max(1, _DRAWS_AT_ONCE // utterances)
    rates = []
    for start in range(0, resamples, chunk):
        drawn = generator.integers(utterances, size=(min(chunk, resamples - start), utterances), dtype=np.int32)
        drawn_errors, drawn_totals = error_counts[drawn].sum(axis=1), total_counts[drawn].sum(axis=1)
        defined = drawn_totals > 0
        rates.append(drawn_errors[defined] / drawn_totals[defined])
    low, high = np.quantile(np.concatenate(rates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
