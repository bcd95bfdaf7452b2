"""Is a training stuck where CTC begins: at blanks alone?"""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE = 400
"""Steps on the plateau before it is worth a line; then twice as many, and so on."""
FEW = 0.05
"""Frames with a token other than the blank, per label, below which there are only blanks; a model that has learnt
something has one or more."""
FALL = 0.9
"""A loss that has come down to this share of what it was still falls."""


@dataclass
class Plateau:
    """Watches the loss and what is emitted.

    A CTC model first learns that blanks are likely everywhere, and stays there, at the same loss, until it finds out
    what single tokens sound like (Graves et al. 2006; Sak et al. 2015). That takes some hundred steps, or for ever
    where transcripts do not belong to the audio.

    Attributes:
        since: the step at which it began; None when the training is not on it.
        loss: there, per label.
        next: the steps on the plateau that are said next.
    """

    since: int | None = None
    loss: float = 0.0
    next: int = PATIENCE

    def update(self, step: int, loss: float, emitted: float) -> str | None:
        """A line to print, or None.

        Args:
            step: how many have been taken.
            loss: per label.
            emitted: frames whose likeliest token is not the blank, per label.
        """
        if emitted >= FEW:
            left = f"step {step}: off the plateau, the first tokens come out" if self.next > PATIENCE else None
            self.since, self.next = None, PATIENCE
            return left
        if self.since is None or loss < FALL * self.loss:
            self.since, self.loss = step, loss
        steps = step - self.since
        if steps < self.next:
            return None
        self.next *= 2
        return (
            f"step {step}: nothing but blanks comes out, and for {steps} steps the loss has been about {loss:.2f} a "
            "label: the plateau on which CTC begins. Smaller batches (data.batch_seconds), data.shortest_first or a "
            "higher training.learning_rate end it sooner; if it never ends, see with `asr data doctor` whether the "
            "transcripts belong to the audio"
        )
