"""The training loop learns, scores honestly and writes what it learned."""

import numpy as np
import pytest
import torch

from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import load_network
from reprocess.train.dataset import render_frames
from reprocess.train.loop import (
    Recipe,
    coarse_loss,
    evaluate,
    normalise,
    positive_weight,
    train,
)

MEAN, STD = [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]


@pytest.fixture(scope="module")
def frames():
    return render_frames("training", 0, 12, 64)


class _Says(torch.nn.Module):
    """A network that answers the same logit difference everywhere."""

    def __init__(self, difference):
        super().__init__()
        self.difference = difference

    def forward(self, images):
        n, _, h, w = images.shape
        logits = torch.zeros(n, 2, h // 8, w // 8)
        logits[:, 1] = self.difference
        return logits


def test_overfits_one_batch(frames):
    torch.manual_seed(0)
    network = build_network("fcn_resnet18").train()
    images = normalise(frames.image[:4], MEAN, STD)
    share = torch.from_numpy(
        frames.aurora[:4].reshape(4, 8, 8, 8, 8).mean(axis=(2, 4)).astype(np.float32)
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(25):
        loss = coarse_loss(network(images), share, 2.0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]


def test_coarse_loss_is_two_class_cross_entropy():
    torch.manual_seed(1)
    logits, target = torch.randn(2, 2, 3, 3), torch.randint(0, 2, (2, 3, 3))
    expected = torch.nn.functional.cross_entropy(logits, target)
    assert float(coarse_loss(logits, target.float(), 1.0)) == pytest.approx(float(expected))


def test_normalise_puts_channels_first_and_scales():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[..., 2] = 255
    pixels = normalise(image, [0.5, 0.5, 0.5], [0.25, 0.5, 0.1])
    assert pixels.shape == (1, 3, 8, 8)
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([-2.0, -1.0, 5.0])


def test_scores_of_networks_that_always_say_yes_or_no(frames):
    share = frames.aurora.mean()
    yes = evaluate(_Says(1.0), frames, MEAN, STD)
    assert (yes.recall, yes.empty_false) == (1.0, 1.0)
    assert yes.precision == pytest.approx(share)
    assert yes.iou == pytest.approx(share)
    no = evaluate(_Says(-1.0), frames, MEAN, STD)
    assert (no.recall, no.f1, no.empty_false) == (0.0, 0.0, 0.0)


def test_positive_weight_is_the_fourth_root_of_the_ratio(frames):
    share = frames.aurora.mean()
    assert positive_weight(frames) == pytest.approx(min(((1 - share) / share) ** 0.25, 2.5))


def test_training_writes_a_file_that_scores_as_its_card_says(frames, tmp_path):
    out = tmp_path / "weights.safetensors"
    recipe = Recipe(size_px=64, batch_frames=4, steps=6, seed=2)
    _, progress = train(frames, frames, recipe, MEAN, STD, out, {"data": "simulated"})
    assert progress.step == 6
    assert np.isfinite(progress.loss)
    loaded = load_network(out)
    assert loaded.card["data"] == "simulated"
    assert loaded.card["steps"] == 6
    assert loaded.card["recipe"]["seed"] == 2
    score = evaluate(loaded.network, frames, MEAN, STD)
    assert score.f1 == pytest.approx(loaded.card["validation"]["f1"], abs=0.02)


def test_training_with_a_step_limit_follows_the_seed(frames, tmp_path):
    recipe = Recipe(size_px=64, batch_frames=2, steps=2, seed=4)
    digests = []
    for name in ("a", "b"):
        torch.manual_seed(99)
        train(frames, frames, recipe, MEAN, STD, tmp_path / name, {})
        loaded = load_network(tmp_path / name)
        digests.append([float(p.sum()) for p in loaded.network.parameters()])
    assert digests[0] == digests[1]
