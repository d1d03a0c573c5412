"""Run by torchrun in test_ranks.py; alone it is the single process to compare with.

python on_ranks.py FOLDER: trains on FOLDER/frames.npz; each process writes what it came to.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from reprocess.train.batches import batches
from reprocess.train.dataset import Frames
from reprocess.train.loop import Training, train
from reprocess.train.ranks import open_ranks
from reprocess.train.recipe import Recipe
from reprocess.train.start import make_start

MEAN, STD = (0.1, 0.2, 0.1), (0.1, 0.2, 0.1)


def make_training(ranks, *, frozen):
    recipe = Recipe(
        size_px=64, batch_frames=4, steps=4, small_share=0.25, evaluate_every=2, seed=3,
        freeze_batch_norm=frozen,
    )  # fmt: skip
    # The first process alone has the start; the others get it from there.
    network = make_start("scratch", recipe.architecture, 3 if ranks.first else 77).network
    return Training(network, MEAN, STD, recipe, 1.5, ranks)


def steps(frames, ranks, *, frozen):
    """Weights, gradients and losses after each step of the recipe."""
    training = make_training(ranks, frozen=frozen)
    losses = []
    for batch in batches(frames, training.recipe, rank=ranks.rank, ranks=ranks.size, threads=0):
        training.loss = float("nan")  # the running mean begins anew
        training.step(batch)
        losses.append(training.loss)
    named = {n: p for n, p in training.network.named_parameters() if p.requires_grad}
    return {
        "losses": losses,
        "weights": {n: p.detach() for n, p in named.items()},
        "gradients": {n: p.grad for n, p in named.items()},
    }


def stopped_and_resumed(frames, ranks, state):
    """The last process alone is asked to stop; then all go on."""
    found = []
    for resume in (False, True):
        training = make_training(ranks, frozen=False)
        asked = ranks.rank == ranks.size - 1 and not resume
        outcome = train(
            training, frames, frames, state, resume=resume, threads=0,
            stop=lambda t=training, a=asked: a and t.steps_done == 2,
        )  # fmt: skip
        found.append({"ended": outcome.ended, "step": outcome.step, "history": outcome.history})
    return found


def main(folder):
    torch.set_num_threads(1)
    with np.load(folder / "frames.npz") as stored:
        frames = Frames(stored["image"], stored["mask"])
    with open_ranks("cpu") as ranks:
        results = {
            "frozen": steps(frames, ranks, frozen=True),
            "normal": steps(frames, ranks, frozen=False),
            "trained": stopped_and_resumed(frames, ranks, folder / f"state-{ranks.size}"),
            "shared": ranks.shared(f"from {ranks.rank}"),
            "every": ranks.every(ranks.rank),
        }
        torch.save(results, folder / f"{ranks.size}-{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
