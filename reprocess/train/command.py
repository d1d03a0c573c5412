"""`reprocess train`: from labelled or simulated frames to a weights file with its card.

Declares its options without torch, so that the command line works where it is not installed.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from reprocess.detectors.weights import ARCHITECTURES
from reprocess.errors import ConfigurationError
from reprocess.extras import require
from reprocess.train.recipe import NO_AUGMENTATION, Recipe

if TYPE_CHECKING:
    from reprocess.train.data import Data
    from reprocess.train.loop import Outcome
    from reprocess.train.ranks import Ranks

log = logging.getLogger("reprocess")

TRAINING_FAMILIES = ("training", "wide")
"""No other: the rest are there to be tested on."""
LEARNING_RATE = {True: 2e-3, False: 3e-4}
"""From scratch, and from weights that are good already."""
NOT_IN_CARD = ("workers", "cache", "resume", "minutes", "device")
"""Options that do not decide the result."""
FILES = ("output", "data", "split", "start")
NO_LICENCE = "not stated by whoever trained it; ask them before passing it on"
SIMULATED_LICENCE = "MIT, as reprocess"


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the options; defaults that decide a result are those of `Recipe`."""
    recipe = Recipe()
    verb.add_argument("output", metavar="OUT", type=Path, help="weights file to write, safetensors")
    group = verb.add_argument_group("frames to learn from; both may be given")
    group.add_argument("--data", metavar="DIR", type=Path, help="labelled folder (docs/labels.md)")
    group.add_argument(
        "--split", metavar="FILE", type=Path, help="which of its images train, validate and test"
    )
    group.add_argument(
        "--simulated", metavar="N", type=int, default=0, help="so many frames of the simulator"
    )
    group.add_argument(
        "--family", choices=TRAINING_FAMILIES, default="wide",
        help="of the simulated frames (docs/simulator.md); default wide",
    )  # fmt: skip
    group.add_argument(
        "--validation", metavar="N", type=int, default=160,
        help="simulated frames that choose the best weights, without --data; default 160",
    )  # fmt: skip
    group.add_argument(
        "--test", metavar="N", type=int, default=240,
        help="simulated frames of each test family, scored at the end; default 240",
    )  # fmt: skip
    group.add_argument("--cache", metavar="DIR", type=Path, help="keep simulated frames there")

    group = verb.add_argument_group("network")
    group.add_argument(
        "--architecture", choices=ARCHITECTURES, default=recipe.architecture,
        help=f"default {recipe.architecture}",
    )  # fmt: skip
    group.add_argument(
        "--start", metavar="START", default="scratch",
        help="scratch (default), imagenet, coco (fcn_resnet50), or a file: weights of ours, or a "
        "state dict with torchvision's names",
    )  # fmt: skip
    group.add_argument("--licence", metavar="TEXT", help="of the weights, for the card")

    group = verb.add_argument_group("training")
    for option, key, text in (
        ("--size", "size_px", "side of a frame, pixels"),
        ("--batch", "batch_frames", "frames a step, over all processes"),
        ("--steps", "steps", "length of the schedule"),
        ("--seed", "seed", "of weights, order and changes, and the first simulated scene"),
        ("--evaluate-every", "evaluate_every", "steps between evaluations"),
    ):
        group.add_argument(
            option, metavar="N", dest=key, type=int, default=getattr(recipe, key),
            help=f"{text}; default {getattr(recipe, key)}",
        )  # fmt: skip
    group.add_argument(
        "--patience", metavar="N", type=int, default=recipe.patience,
        help="end after so many evaluations without a better validation IoU; 0: never; default "
        f"{recipe.patience}",
    )  # fmt: skip
    group.add_argument(
        "--learning-rate", metavar="R", type=float,
        help="default {:g} from scratch, else {:g}".format(*LEARNING_RATE.values()),
    )  # fmt: skip
    group.add_argument(
        "--weight-decay", metavar="R", type=float, default=recipe.weight_decay,
        help=f"default {recipe.weight_decay:g}",
    )  # fmt: skip
    group.add_argument(
        "--positive-weight", metavar="W", type=float,
        help="how much more aurora weighs than background; default by their ratio, 1 to 2.5",
    )  # fmt: skip
    group.add_argument(
        "--small-share", metavar="S", type=float, default=recipe.small_share,
        help=f"share of the steps that see frames at half size; default {recipe.small_share:g}",
    )  # fmt: skip
    group.add_argument(
        "--freeze-batch-norm", action="store_true",
        help="keep the batch normalisation of the start: for batches of few frames",
    )  # fmt: skip
    group.add_argument("--no-augmentation", action="store_true", help="learn from frames unchanged")

    group = verb.add_argument_group("where and how long")
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto",
        help="default a GPU where there is one",
    )  # fmt: skip
    group.add_argument(
        "--precision", choices=("float32", "bfloat16", "float16"), default=recipe.precision,
        help="of the arithmetic; float16 on GPUs only",
    )  # fmt: skip
    group.add_argument(
        "--threads", metavar="N", type=int,
        help="of torch on a CPU; decides the last bits, so the card has it; default all cores",
    )  # fmt: skip
    group.add_argument(
        "--workers", metavar="N", type=int, default=2, help="threads that prepare frames; default 2"
    )
    group.add_argument(
        "--minutes", metavar="M", type=float,
        help="stop after so long, with the best weights so far; --resume goes on",
    )  # fmt: skip
    group.add_argument(
        "--resume", action="store_true", help="go on where a training of OUT was stopped"
    )


def run(options: argparse.Namespace) -> bool:
    """Train, score, and write `OUT`, its card `OUT.md` and its log `OUT.csv`.

    Returns
    -------
    bool
        Whether the training has ended; if not, `--resume` goes on from `OUT.state`.

    Raises
    ------
    ConfigurationError
        If the options, the data, the start or the state do not fit.
    KeyboardInterrupt
        If it was interrupted or terminated, after its state was written.
    """
    require("torch", "torch", "reprocess train")
    recipe = _recipe(options)
    state = options.output.with_name(options.output.name + ".state")
    if state.exists() and not options.resume:
        raise ConfigurationError(
            f"{state}: found a training of {options.output} that was stopped; add --resume to go "
            f"on, or remove it to begin anew"
        )
    if not options.output.parent.is_dir():
        raise ConfigurationError(f"{options.output}: found no folder {options.output.parent}")

    import torch

    from reprocess.train.ranks import open_ranks

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with open_ranks(options.device) as ranks, _stop(options.minutes) as stop:
        ended, interrupted = _train(options, recipe, state, ranks, stop)
    if interrupted:
        raise KeyboardInterrupt
    return ended


def _train(
    options: argparse.Namespace, recipe: Recipe, state: Path, ranks: Ranks, stop: _Stop
) -> tuple[bool, bool]:
    from reprocess.train.data import gather_data
    from reprocess.train.dataset import colour_statistics
    from reprocess.train.loop import Training, check_place, train
    from reprocess.train.loss import positive_weight
    from reprocess.train.progress import TrainingLine
    from reprocess.train.start import make_start

    check_place(recipe, ranks)
    start = make_start(options.start, recipe.architecture, recipe.seed) if ranks.first else None
    with ranks.first_first():
        data = gather_data(options, recipe)
    said, mean, std = ranks.shared(None if start is None else (start.said, start.mean, start.std))
    if mean is None:
        mean, std = colour_statistics(data.training)
    weight = recipe.positive_weight or positive_weight(data.training)
    network = start.network if start is not None else _empty(recipe)
    training = Training(network, mean, std, recipe, weight, ranks)
    if ranks.first:
        if start is not None:
            log.info("%s", start.text())
        log.info("%s", data.text())
    identity = {"data": data.digest(), "start": said.get("sha256", said["from"])}
    with TrainingLine(options.output.with_name(options.output.name + ".csv")) as line:
        outcome = train(
            training, data.training, data.validation, state, identity=identity,
            resume=options.resume, threads=options.workers, stop=stop, tell=line,
        )  # fmt: skip
    stopped = outcome.ended == "stopped"
    interrupted = stopped and stop.interrupted
    if ranks.first:
        if not interrupted:
            # Scoring takes minutes: who interrupts does not wait for it, and the state has it all.
            card = _card(options, recipe, data, said, weight, ranks)
            _write(options.output, outcome, recipe, mean, std, card, data)
        if stopped:
            log.info("stopped at step %d of %d; --resume goes on", outcome.step, recipe.steps)
        else:
            state.unlink(missing_ok=True)
    return not stopped, interrupted


def _recipe(options: argparse.Namespace) -> Recipe:
    keys = (
        "architecture", "seed", "size_px", "batch_frames", "steps", "small_share", "weight_decay",
        "positive_weight", "freeze_batch_norm", "precision", "evaluate_every",
    )  # fmt: skip
    recipe = Recipe(
        **{key: getattr(options, key) for key in keys},
        learning_rate=options.learning_rate or LEARNING_RATE[options.start == "scratch"],
        patience=options.patience or None,
    )
    return replace(recipe, augmentation=NO_AUGMENTATION) if options.no_augmentation else recipe


def _empty(recipe: Recipe) -> Any:
    """The network of a process that gets its weights from the first one."""
    from reprocess.detectors.networks import build_network

    return build_network(recipe.architecture)


def _card(
    options: argparse.Namespace,
    recipe: Recipe,
    data: Data,
    said: dict[str, Any],
    weight: float,
    ranks: Ranks,
) -> dict[str, Any]:
    """All that the weights file tells but its metrics; nothing that differs between two runs."""
    import torch

    own = data.simulated_only and options.start == "scratch"
    return {
        "data": data.said,
        "split": data.split,
        "data_sha256": data.digest(),
        "started_from": said,
        "recipe": recipe.as_card() | {"positive_weight": round(weight, 4)},
        "seed": recipe.seed,
        "command": command_of(options),
        "intended_use": data.intended_use,
        "licence": options.licence or (SIMULATED_LICENCE if own else NO_LICENCE),
        "made_with": {
            "torch": torch.__version__,
            "device": ranks.device.type,
            "processes": ranks.size,
            "threads": torch.get_num_threads() if ranks.device.type == "cpu" else None,
        },
    }


def command_of(options: argparse.Namespace) -> str:
    """The command that makes the same weights: what is not a default, files without folders."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    words = ["reprocess", "train"]
    for action in parser._actions:
        value = getattr(options, action.dest)
        if action.dest in NOT_IN_CARD or value == action.default:
            continue
        words += action.option_strings[:1]
        if value is not True:
            words.append(Path(value).name if action.dest in FILES else str(value))
    return shlex.join(words)


def _write(
    output: Path,
    outcome: Outcome,
    recipe: Recipe,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    card: dict[str, Any],
    data: Data,
) -> None:
    """Write the weights, then score what was written: kernels are stored as float16."""
    from reprocess.detectors.card import card_text
    from reprocess.detectors.weights import load_network, save_network
    from reprocess.train.score import evaluate

    part = output.with_name(f".{output.name}.unscored")
    save_network(part, outcome.network, recipe.architecture, mean, std, card)
    try:
        stored = load_network(part).network
        scores = {
            name: evaluate(stored, frames, mean, std).as_card()
            for name, frames in {"validation": data.validation, **data.tests}.items()
        }
        whole = card | {
            "metrics": scores | {"caution": data.caution},
            "steps": {"done": outcome.step, "best": outcome.best_step, "ended": outcome.ended},
            "history": outcome.history,
        }
        digest = save_network(output, stored, recipe.architecture, mean, std, whole)
    finally:
        part.unlink(missing_ok=True)
    output.with_name(output.name + ".md").write_text(card_text(output), encoding="utf-8")
    for name, score in scores.items():
        log.info("%s: %s", name, ", ".join(f"{k} {v}" for k, v in score.items()))
    log.info("wrote %s, SHA-256 %s", output, digest)


class _Stop:
    """Whether to stop: time is over, or a signal came. A second signal interrupts at once."""

    def __init__(self, minutes: float | None) -> None:
        self._until = None if minutes is None else time.monotonic() + 60.0 * minutes
        self.interrupted = False

    def __call__(self) -> bool:
        return self.interrupted or (self._until is not None and time.monotonic() >= self._until)

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True


@contextmanager
def _stop(minutes: float | None) -> Iterator[_Stop]:
    stop = _Stop(minutes)
    before: dict[int, Callable[..., Any] | int | None] = {
        number: signal.signal(number, stop.on_signal) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
