"""The training loop: AdamW on a cosine, evaluated, stopped early, resumed exactly."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reprocess.errors import ConfigurationError
from reprocess.train.batches import Batch, batches
from reprocess.train.dataset import Frames
from reprocess.train.loss import summed_loss
from reprocess.train.ranks import Ranks, bare
from reprocess.train.recipe import Precision, Recipe
from reprocess.train.score import ALONE, evaluate, normalise
from reprocess.train.state import load_state, save_state

GRADIENT_NORM_MAX = 5.0
LOSS_MEMORY = 0.97
"""The loss that is told is a running mean; so much of it stays at each step."""

Ended = Literal["steps", "patience", "stopped"]


@dataclass(frozen=True)
class Progress:
    """How far a training is; `evaluation` is a row of the log, at the steps that have one."""

    step: int
    steps: int
    loss: float
    frames_per_s: float
    evaluation: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a training came to.

    Attributes
    ----------
    network : with the best weights so far, in eval mode, on the CPU
    step, best_step : steps done; the one whose weights these are
    history : a row for each evaluation, as in the log
    ended : all steps; no better validation IoU; or it was stopped and can be resumed
    """

    network: nn.Module
    step: int
    best_step: int
    history: list[dict[str, Any]]
    ended: Ended


class Training:
    """A network on its way: `step` changes it, `live` and `restore` carry it to another process.

    Parameters
    ----------
    network : to be trained, in place; alike in every process
    mean, std : normalisation of `image / 255`
    positive_weight : see `loss.summed_loss`

    Raises
    ------
    ConfigurationError
        If the recipe does not fit the device or the number of processes.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        recipe: Recipe,
        positive_weight: float,
        ranks: Ranks = ALONE,
    ) -> None:
        check_place(recipe, ranks)
        self.recipe, self.ranks = recipe, ranks
        self.mean, self.std, self.positive_weight = mean, std, positive_weight
        self.steps_done = 0
        self.position = 0
        self.loss = math.nan
        network = network.to(device=ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._frozen = _norms(network) if recipe.freeze_batch_norm else []
        for norm in self._frozen:
            norm.requires_grad_(False)
        self.spread = ranks.spread(network)
        learned = [p for p in self.spread.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            learned, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.scaler = torch.amp.GradScaler("cuda", enabled=recipe.precision == "float16")
        # Dropout: another mask in every process.
        torch.manual_seed(recipe.seed * 1000 + ranks.rank)

    @property
    def network(self) -> nn.Module:
        return bare(self.spread)

    def step(self, batch: Batch, *, stop: bool = False) -> bool:
        """Learn from one batch.

        Parameters
        ----------
        stop : whether this process was asked to stop

        Returns
        -------
        bool
            Whether any process was asked to: all then stop after the same step.

        Raises
        ------
        ConfigurationError
            If the loss is not finite any more.
        """
        recipe, device = self.recipe, self.ranks.device
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.rate(batch.step)
        self._train_mode()
        images = normalise(torch.from_numpy(batch.image).to(device), self.mean, self.std)
        share = torch.from_numpy(batch.share).to(device)
        judged = torch.from_numpy(batch.judged).to(device)
        with _arithmetic(recipe.precision, device.type):
            logits = self.spread(images.contiguous(memory_format=torch.channels_last))
        summed = summed_loss(logits, share, judged, self.positive_weight)
        told = torch.stack([judged.sum(), summed.detach(), judged.new_tensor(float(stop))])
        weight, total, stops = self.ranks.total(told).tolist()
        if not math.isfinite(total):
            raise ConfigurationError(
                f"training: the loss is {total} at step {batch.step + 1}, expected a number; begin "
                f"anew with a smaller --learning-rate than {recipe.learning_rate:g}"
                + (", or in another --precision" if recipe.precision != "float32" else "")
            )
        # The mean over what the whole batch judges: averaging over processes divides by their
        # number, so each loss is multiplied by it.
        loss = summed * (self.ranks.size / max(weight, 1e-6))
        self.optimiser.zero_grad()
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.spread.parameters(), GRADIENT_NORM_MAX)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        value = total / max(weight, 1e-6)
        if math.isfinite(self.loss):
            value = LOSS_MEMORY * self.loss + (1 - LOSS_MEMORY) * value
        self.loss = value
        self.steps_done = batch.step + 1
        self.position = batch.first + batch.count
        return bool(stops > 0)

    def live(self) -> dict[str, Any]:
        """Everything that changes, in the first process; all of them have to call this."""
        randoms = [torch.get_rng_state()]
        if self.ranks.device.type == "cuda":
            randoms.append(torch.cuda.get_rng_state(self.ranks.device))
        return {
            "step": self.steps_done,
            "position": self.position,
            "loss": self.loss,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": self.ranks.every(randoms),
        }

    def restore(self, live: Mapping[str, Any]) -> None:
        """Go on from what `live` gave."""
        self.network.load_state_dict(live["network"])
        self.optimiser.load_state_dict(live["optimiser"])
        self.scaler.load_state_dict(live["scaler"])
        randoms = live["random"][self.ranks.rank]
        torch.set_rng_state(randoms[0])
        if self.ranks.device.type == "cuda":
            torch.cuda.set_rng_state(randoms[1], self.ranks.device)
        self.steps_done, self.position = live["step"], live["position"]
        self.loss = live["loss"]

    def _train_mode(self) -> None:
        self.spread.train()
        for norm in self._frozen:
            norm.eval()


def train(
    training: Training,
    frames: Frames,
    validation: Frames,
    state: Path | None = None,
    *,
    identity: Mapping[str, Any] | None = None,
    resume: bool = False,
    threads: int = 1,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[Progress], None] = lambda _progress: None,
) -> Outcome:
    """Train to the end of the recipe, to where it no longer improves, or until stopped.

    Parameters
    ----------
    frames, validation : what to learn from, and what chooses the best weights, by IoU
    state : file to keep the state in, from the first evaluation until the training has ended;
        None: it cannot be resumed
    identity : what must not differ from the training that is resumed, beside the recipe
    resume : go on from `state`, if it exists
    threads : that prepare frames; never changes the result
    stop : asked before each step
    tell : called after each step, in the first process only

    Notes
    -----
    On a CPU, with one number of torch threads, a training that was stopped and resumed ends with
    the same bytes as one that was not. On GPUs some sums are in no fixed order.
    """
    recipe, ranks = training.recipe, training.ranks
    whole = {
        "recipe": recipe.as_card(),
        "processes": ranks.size,
        "device": ranks.device.type,
        **(identity or {}),
    }
    course = _Course(training, validation, len(frames))
    if resume and state is not None and state.is_file():
        live = load_state(state, whole)
        training.restore(live)
        course.restore(live)
    ended: Ended = "steps" if course.ended is None else course.ended
    began, at_start = time.monotonic(), training.position
    source = batches(
        frames, recipe, training.steps_done, training.position,
        rank=ranks.rank, ranks=ranks.size, threads=threads,
    )  # fmt: skip
    with contextlib.closing(source):
        for batch in source if course.ended is None else ():
            stopped = training.step(batch, stop=stop())
            evaluation = None
            if training.steps_done % recipe.evaluate_every == 0 or (
                training.steps_done == recipe.steps
            ):
                evaluation = course.evaluate()
            if evaluation is not None or stopped:
                live = training.live() | course.live()
                if state is not None and ranks.first:
                    save_state(state, whole, live)
            if ranks.first:
                rate = (training.position - at_start) / max(time.monotonic() - began, 1e-9)
                tell(Progress(training.steps_done, recipe.steps, training.loss, rate, evaluation))
            if course.ended is not None:
                ended = course.ended
                break
            if stopped:
                ended = "stopped"
                break
    return course.outcome(ended)


class _Course:
    """Evaluations of a training, and the best weights among them."""

    def __init__(self, training: Training, validation: Frames, n_frames: int) -> None:
        self._training = training
        self._validation = validation
        self._n_frames = n_frames
        self._history: list[dict[str, Any]] = []
        self._best: dict[str, Tensor] | None = None
        self._best_iou = -1.0
        self._best_step = 0
        self._worse = 0

    @property
    def ended(self) -> Ended | None:
        """Whether there is a reason not to go on."""
        recipe = self._training.recipe
        if self._training.steps_done >= recipe.steps:
            return "steps"
        if recipe.patience is not None and self._worse >= recipe.patience:
            return "patience"
        return None

    def evaluate(self) -> dict[str, Any]:
        """Score the network as it is and keep it if it is the best."""
        training = self._training
        training.ranks.align(training.network)
        score = evaluate(
            training.network, self._validation, training.mean, training.std, training.ranks
        )
        # Where no validation frame has aurora and none was found there is no IoU.
        iou = -1.0 if math.isnan(score.iou) else score.iou
        better = iou > self._best_iou or self._best is None
        if better:
            self._best_iou, self._best_step, self._worse = iou, training.steps_done, 0
            self._best = {
                n: t.detach().to("cpu", copy=True) for n, t in training.network.state_dict().items()
            }
        elif not training.recipe.is_small(training.steps_done - 1):
            self._worse += 1
        row = {
            "step": training.steps_done,
            "epoch": round(training.position / self._n_frames, 3),
            "learning_rate": training.recipe.rate(training.steps_done - 1),
            "loss": round(training.loss, 6),
            **{k: v for k, v in score.as_card().items() if k != "frames"},
            "best": better,
        }
        self._history.append(row)
        return row

    def live(self) -> dict[str, Any]:
        return {
            "history": self._history, "best": self._best, "best_iou": self._best_iou,
            "best_step": self._best_step, "worse": self._worse,
        }  # fmt: skip

    def restore(self, live: Mapping[str, Any]) -> None:
        self._history, self._best = list(live["history"]), live["best"]
        self._best_iou, self._best_step = live["best_iou"], live["best_step"]
        self._worse = live["worse"]

    def outcome(self, ended: Ended) -> Outcome:
        training = self._training
        network = training.network.to("cpu")
        best_step = training.steps_done
        if self._best is not None:
            network.load_state_dict(self._best)
            best_step = self._best_step
        return Outcome(network.eval(), training.steps_done, best_step, self._history, ended)


def check_place(recipe: Recipe, ranks: Ranks) -> None:
    """Refuse a recipe that this device or number of processes cannot follow.

    Raises
    ------
    ConfigurationError
    """
    if recipe.precision == "float16" and ranks.device.type != "cuda":
        raise ConfigurationError(
            f"--precision float16: found device {ranks.device.type}, expected cuda; a CPU trains "
            f"in float32 or bfloat16"
        )
    if recipe.batch_frames % ranks.size:
        raise ConfigurationError(
            f"--batch {recipe.batch_frames}: found {ranks.size} processes, expected a batch that "
            f"they can share evenly, such as {ranks.size * -(-recipe.batch_frames // ranks.size)}"
        )


def _norms(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def _arithmetic(precision: Precision, device: str) -> contextlib.AbstractContextManager[Any]:
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device, dtype=getattr(torch, precision))
