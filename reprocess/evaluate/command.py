"""`reprocess evaluate`: the verb's arguments, and what it prints."""

from __future__ import annotations

import argparse
from pathlib import Path

from reprocess.options import add_overrides


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reprocess evaluate`."""
    verb.add_argument("weights", metavar="WEIGHTS", help="safetensors file, or package:NAME")
    verb.add_argument(
        "--data", metavar="DIR", type=Path, required=True, help="folder of a labelled set"
    )
    verb.add_argument(
        "--split", metavar="FILE", type=Path,
        help="of `reprocess labels split`; default the one in the network's card if it is of this "
        "set, else all images",
    )  # fmt: skip
    verb.add_argument("--part", default="test", metavar="NAME", help="of the split; default test")
    verb.add_argument(
        "--campaign", metavar="FILE",
        help="whose cells, cell rule and difference detectors are used",
    )  # fmt: skip
    add_overrides(verb)
    verb.add_argument("--size", type=int, metavar="PX", help="default the campaign's, or 256")
    verb.add_argument(
        "--lag", type=float, metavar="S", help="of the difference; default the campaign's, or 120"
    )
    verb.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("evaluation"),
        help="folder for evaluation.json, .md and .html; default evaluation",
    )  # fmt: skip
    verb.add_argument(
        "--worst", type=int, default=4, metavar="N",
        help="images drawn of each kind of failure; default 4, 0 draws none",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Evaluate, write the three files, print where they are and the table of all."""
    from tqdm import tqdm

    from reprocess.campaign import load_campaign
    from reprocess.evaluate.evaluate import Choice, evaluate
    from reprocess.evaluate.text import summary
    from reprocess.evaluate.write import write_evaluation

    campaign = None
    if options.campaign is not None:
        campaign = load_campaign(options.campaign, options.overrides)
    choice = Choice(
        options.weights, options.data, options.split, options.part, campaign, options.size,
        lag_s=options.lag,
    )  # fmt: skip
    with tqdm(unit="image", desc="evaluate", disable=None) as line:

        def show(done: int, total: int) -> None:
            line.total = total
            line.update(done - line.n)

        found = evaluate(choice, show)
    paths = write_evaluation(found, options.out, options.worst)
    print(summary(found))
    print(*paths, sep="\n")
    return 0
