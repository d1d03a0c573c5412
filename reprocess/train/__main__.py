"""Command line of the training: `python -m reprocess.train --help`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

try:
    import torch
except ModuleNotFoundError as error:
    raise SystemExit(f"{error}; install it: pip install 'reprocess[torch]'") from error

from reprocess.detectors.networks import ARCHITECTURES
from reprocess.detectors.weights import load_network, read_card, save_network
from reprocess.train.dataset import VALIDATION_FROM, cached_frames, colour_statistics
from reprocess.train.loop import Recipe, evaluate, train

START_KEYS = ("command", "seed", "steps", "minutes", "split", "started_from")


def main(arguments: list[str] | None = None) -> int:
    """Render, train, score on the test family, and write the weights with their card."""
    parser = argparse.ArgumentParser(
        prog="python -m reprocess.train",
        description="Train an aurora segmentation network on simulated frames.",
    )
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    parser.add_argument("--frames", type=int, default=4000, help="training frames to render")
    parser.add_argument("--minutes", type=float, default=30.0, help="time budget of the training")
    parser.add_argument("--steps", type=int, help="train so many steps instead of --minutes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--validation", type=int, default=160, help="frames for validation")
    parser.add_argument("--test", type=int, default=240, help="frames of the test family")
    parser.add_argument("--size", type=int, default=256, help="side of a frame, pixels")
    parser.add_argument("--architecture", choices=sorted(ARCHITECTURES), default="fcn_resnet18")
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--small-share", type=float, default=Recipe.small_share)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--threads", type=int, default=1, help="torch and rendering threads")
    parser.add_argument("--cache", type=Path, help="folder to keep the rendered frames in")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    log = logging.getLogger("reprocess.train")

    first = (args.seed - 1) * 100_000
    frames = cached_frames(
        args.cache, "training", first, args.frames, args.size, processes=args.threads
    )
    validation = cached_frames(args.cache, "training", VALIDATION_FROM, args.validation, args.size)
    test = cached_frames(args.cache, "test", 0, args.test, args.size)
    without = float((~frames.aurora.any(axis=(1, 2))).mean())
    log.info("%d frames, %.2f without visible aurora", len(frames), without)
    start = load_network(args.start) if args.start else None
    if start is None:
        mean, std = colour_statistics(frames)
    else:
        mean, std = list(start.mean), list(start.std)
    recipe = Recipe(
        architecture=args.architecture,
        seed=args.seed,
        size_px=args.size,
        minutes=args.minutes,
        steps=args.steps,
        learning_rate=args.learning_rate,
        small_share=args.small_share,
    )
    command = list(sys.argv[1:] if arguments is None else arguments)
    if "--cache" in command:
        at = command.index("--cache")
        del command[at : at + 2]
    for option, path in (("--out", args.out), ("--start", args.start)):
        if option in command:
            command[command.index(option) + 1] = path.name
    card = {
        "data": "simulated all-sky frames only (reprocess.simulate); no real image was trained on, "
        "though the simulator's ranges were widened after looking at some",
        "split": {
            "training": f"family training, scenes {first} to {first + args.frames - 1}",
            "validation": f"family training, {args.validation} scenes from {VALIDATION_FROM} on; "
            "chooses the checkpoint",
            "test": f"family test, scenes 0 to {args.test - 1}; ranges disjoint from training",
        },
        "frames_without_visible_aurora": round(without, 3),
        "seed": args.seed,
        "normalisation": "(image / 255 - mean) / std",
        "command": "python -m reprocess.train " + " ".join(command),
        "started_from": None
        if start is None
        else {"sha256": start.digest, **{k: start.card.get(k) for k in START_KEYS}},
        "torch": torch.__version__,
        "intended_use": "the sample campaign and tests; on a real camera only as a first look",
    }
    part = args.out.with_name(f".{args.out.name}.{os.getpid()}.training")
    _, progress = train(
        frames,
        validation,
        recipe,
        mean,
        std,
        part,
        card,
        start.network if start is not None else None,
    )
    best = load_network(part)
    score = evaluate(best.network, test, mean, std)
    whole = read_card(part)["card"] | {"test": score.as_card(), "history": progress.history}
    digest = save_network(args.out, best.network, best.architecture, mean, std, whole)
    part.unlink()
    log.info("test family %s; wrote %s, sha256 %s", score.as_card(), args.out, digest)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
