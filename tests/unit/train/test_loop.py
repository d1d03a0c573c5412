"""The training learns, is resumed exactly, stops where it should, and refuses another's state."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reprocess.detectors.networks import build_network
from reprocess.detectors.weights import load_network, save_network
from reprocess.errors import ConfigurationError
from reprocess.train.batches import Batch
from reprocess.train.dataset import Frames
from reprocess.train.loop import Training, train
from reprocess.train.loss import positive_weight, summed_loss
from reprocess.train.ranks import Ranks
from reprocess.train.score import aurora_masks, evaluate, normalise
from reprocess.train.start import make_start

MEAN, STD = (0.1, 0.2, 0.1), (0.1, 0.2, 0.1)


def tiny_network(seed):
    """Stride 8 and two logits like the real ones, with batch normalisation and dropout."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, kernel_size=8, stride=8),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.1),
        torch.nn.Conv2d(16, 2, kernel_size=3, padding=1),
    )


def make_training(recipe, ranks=Ranks(), network=None):  # noqa: B008 - a frozen value
    network = tiny_network(recipe.seed) if network is None else network
    return Training(network, MEAN, STD, recipe, 1.5, ranks)


def real_network(recipe):
    return make_start("scratch", recipe.architecture, recipe.seed).network


def tensors(network):
    return {name: t.clone() for name, t in network.state_dict().items()}


def assert_same_tensors(one, two):
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def batch_of(frames, step=0):
    mask = frames.mask.reshape(len(frames), 8, 8, 8, 8)
    judged = (mask != 128).mean(axis=(2, 4)).astype(np.float32)
    aurora = (mask == 255).mean(axis=(2, 4)).astype(np.float32)
    share = np.divide(aurora, judged, out=np.zeros_like(aurora), where=judged > 0)
    return Batch(step, step * len(frames), len(frames), frames.image, share, judged)


def test_overfits_one_batch(squares, small_recipe):
    frames = squares(4, 64)
    recipe = small_recipe(steps=30, small_share=0.0, learning_rate=3e-3)
    training = make_training(recipe, network=real_network(recipe))
    losses = []
    for step in range(30):
        training.loss = float("nan")  # the running mean begins anew
        training.step(batch_of(frames, step))
        losses.append(training.loss)
    assert losses[-1] < 0.1 * losses[0]
    score = evaluate(training.network, frames, MEAN, STD)
    assert score.iou > 0.8
    assert score.empty_false < 0.01


def test_training_on_other_frames_carries_over(squares, small_recipe):
    recipe = small_recipe(steps=150, evaluate_every=150, learning_rate=2e-2)
    outcome = train(make_training(recipe), squares(40, 64), squares(10, 64, seed=9))
    assert outcome.history[-1]["iou"] > 0.5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resumed_equals_uninterrupted_bit_for_bit(squares, small_recipe, tmp_path, precision):
    frames, validation = squares(10, 64), squares(4, 64, seed=5)
    recipe = small_recipe(precision=precision)
    straight = train(make_training(recipe), frames, validation)
    assert straight.ended == "steps"

    state = tmp_path / "state"
    asked = iter([False, False, False, True])  # between two evaluations
    first = train(make_training(recipe), frames, validation, state, stop=lambda: next(asked))
    assert (first.ended, first.step) == ("stopped", 4)
    torch.manual_seed(999)
    np.random.default_rng(0)
    last = train(make_training(recipe), frames, validation, state, resume=True, threads=0)

    assert last.history == straight.history
    assert (last.step, last.best_step) == (straight.step, straight.best_step)
    assert_same_tensors(tensors(last.network), tensors(straight.network))


def test_bfloat16_is_another_arithmetic_and_learns_too(squares, small_recipe):
    frames, validation = squares(40, 64), squares(10, 64, seed=9)
    full, half = (
        train(
            make_training(
                small_recipe(
                    steps=150, evaluate_every=150, learning_rate=2e-2, precision=precision
                )
            ),
            frames, validation,
        )
        for precision in ("float32", "bfloat16")
    )  # fmt: skip
    assert full.history != half.history
    assert half.history[-1]["iou"] > 0.5


def test_a_killed_training_goes_on_from_its_last_evaluation(squares, small_recipe, tmp_path):
    frames, validation, recipe = squares(10, 64), squares(4, 64, seed=5), small_recipe()
    straight = train(make_training(recipe), frames, validation)
    state = tmp_path / "state"

    class Killed(BaseException):
        pass

    def tell(progress):
        if progress.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(make_training(recipe), frames, validation, state, tell=tell)
    steps = []
    last = train(
        make_training(recipe), frames, validation, state, resume=True,
        tell=lambda progress: steps.append(progress.step),
    )  # fmt: skip
    assert steps == [5, 6]
    assert last.history == straight.history
    assert_same_tensors(tensors(last.network), tensors(straight.network))


def test_real_network_is_resumed_bit_for_bit(squares, small_recipe, tmp_path):
    frames, recipe = squares(6, 64), small_recipe(steps=4, batch_frames=2)
    straight = train(make_training(recipe, network=real_network(recipe)), frames, frames)
    state, asked = tmp_path / "state", iter([False, False, True])
    for resume in (False, True):
        training = make_training(recipe, network=real_network(recipe))
        stop = (lambda: False) if resume else (lambda: next(asked))
        last = train(training, frames, frames, state, resume=resume, stop=stop)
    assert last.history == straight.history
    assert_same_tensors(tensors(last.network), tensors(straight.network))


def test_state_of_another_training_is_refused_with_both_sides(squares, small_recipe, tmp_path):
    frames, recipe, state = squares(6, 64), small_recipe(), tmp_path / "state"
    train(make_training(recipe), frames, frames, state, stop=lambda: True, identity={"data": "a"})
    other = replace(recipe, learning_rate=0.5, architecture="fcn_resnet50")
    with pytest.raises(ConfigurationError) as error:
        train(make_training(other), frames, frames, state, resume=True, identity={"data": "b"})
    for said in (
        "recipe.architecture was 'fcn_resnet18', now 'fcn_resnet50'",
        "recipe.learning_rate was 0.002, now 0.5",
        "data was 'a', now 'b'",
    ):
        assert said in str(error.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no state of anything"])
def test_a_damaged_state_is_refused(squares, small_recipe, tmp_path, content):
    frames, state = squares(4, 64), tmp_path / "state"
    state.write_bytes(content)
    with pytest.raises(ConfigurationError, match="cannot be read as the state"):
        train(make_training(small_recipe()), frames, frames, state, resume=True)


def test_stops_where_it_no_longer_improves_and_keeps_the_best(squares, small_recipe):
    frames = squares(6, 64)
    nothing = Frames(frames.image, np.zeros_like(frames.mask))  # IoU is never above 0
    recipe = small_recipe(steps=50, small_share=0.1, evaluate_every=1, patience=3)
    kept = {}

    def tell(progress):
        if progress.evaluation["best"]:
            kept[progress.step] = tensors(training.network)

    training = make_training(recipe)
    outcome = train(training, frames, nothing, tell=tell)
    assert outcome.ended == "patience"
    best = outcome.best_step
    # Evaluations of the half-size steps (the first five) do not count as patience lost.
    assert outcome.step == max(best, 5) + 3
    assert [row["best"] for row in outcome.history].index(True) == 0
    assert_same_tensors(tensors(outcome.network), kept[best])


def test_saved_and_reloaded_network_gives_identical_masks(squares, small_recipe, tmp_path):
    frames = squares(6, 64)
    recipe = small_recipe(steps=12, evaluate_every=12, learning_rate=3e-3)
    training = make_training(recipe, network=real_network(recipe))
    network = train(training, frames, frames).network
    masks = aurora_masks(network, frames.image, MEAN, STD)
    assert 0.01 < masks.mean() < 0.5
    path = tmp_path / "whole.safetensors"
    save_network(path, network, "fcn_resnet18", MEAN, STD, {}, half=False)
    again = aurora_masks(load_network(path).network, frames.image, MEAN, STD)
    np.testing.assert_array_equal(again, masks)
    # As it is shipped, with kernels of 16 bits: what was loaded is what is saved again.
    save_network(path, network, "fcn_resnet18", MEAN, STD, {})
    half = load_network(path).network
    save_network(tmp_path / "again.safetensors", half, "fcn_resnet18", MEAN, STD, {})
    reloaded = load_network(tmp_path / "again.safetensors").network
    np.testing.assert_array_equal(
        aurora_masks(reloaded, frames.image, MEAN, STD), aurora_masks(half, frames.image, MEAN, STD)
    )


def test_loss_is_two_class_cross_entropy_of_what_is_judged():
    torch.manual_seed(1)
    logits, target = torch.randn(2, 2, 3, 3), torch.randint(0, 2, (2, 3, 3))
    judged = torch.ones(2, 3, 3)
    judged[0, 1] = 0
    each = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    found = summed_loss(logits, target.float(), judged, 1.0)
    assert float(found) == pytest.approx(float((each * judged).sum()))
    weighed = summed_loss(logits, target.float(), judged, 3.0)
    assert float(weighed) == pytest.approx(float((each * judged * (1 + 2 * target)).sum()))


def test_what_is_not_judged_changes_nothing(squares, small_recipe):
    """Two trainings whose masks differ only where a pixel's image is hidden from the loss."""
    frames, recipe = squares(4, 64), small_recipe(small_share=0.0)
    batch = batch_of(frames)
    hidden = batch.judged == 0
    assert hidden.any() or (batch.judged < 1).any()
    share = np.where(batch.judged < 1, 1.0, batch.share).astype(np.float32)
    judged = np.where(batch.judged < 1, 0.0, 1.0).astype(np.float32)
    results = []
    for aurora in (share, np.where(judged == 0, 0.0, share).astype(np.float32)):
        training = make_training(recipe)
        training.step(replace(batch, share=aurora, judged=judged))
        results.append(tensors(training.network))
    assert_same_tensors(*results)


def test_positive_weight_is_the_fourth_root_of_the_ratio_within_bounds():
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, :16] = 255
    frames = Frames(np.zeros((1, 64, 64, 3), np.uint8), mask)
    assert positive_weight(frames) == pytest.approx(3**0.25)
    mask[0, 1:] = 0
    mask[0, 0, 1:] = 0
    assert positive_weight(frames) == 2.5
    mask[0, :60] = 255
    assert positive_weight(frames) == 1.0
    mask[:] = 0
    with pytest.raises(ConfigurationError, match="found 0% aurora"):
        positive_weight(frames)


def test_frozen_batch_normalisation_stays_as_it_was(squares, small_recipe):
    recipe = small_recipe(freeze_batch_norm=True)
    training = make_training(recipe)
    norms = [m for m in training.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    before = [tensors(m) for m in norms]
    start = tensors(training.network)
    train(training, squares(4, 64), squares(2, 64))
    for norm, was in zip(norms, before, strict=True):
        assert_same_tensors(tensors(norm), was)
    assert not torch.equal(start["0.weight"], training.network.state_dict()["0.weight"])


def test_a_loss_that_is_no_number_ends_the_training(squares, small_recipe):
    training = make_training(small_recipe())
    with torch.no_grad():
        training.network[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ConfigurationError, match=r"loss is nan at step 1.*--learning-rate"):
        training.step(batch_of(squares(4, 64)))


def test_float16_is_for_gpus(small_recipe):
    with pytest.raises(ConfigurationError, match="float16: found device cpu"):
        make_training(small_recipe(precision="float16"))


def test_a_batch_that_processes_cannot_share_is_refused(small_recipe):
    with pytest.raises(ConfigurationError, match=r"found 3 processes.* such as 6"):
        make_training(small_recipe(batch_frames=4), Ranks(0, 3))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size_px", 72), ("steps", 0), ("learning_rate", float("nan")), ("small_share", 1.5),
        ("architecture", "unet"), ("patience", 0), ("batch_frames", 0), ("positive_weight", -1.0),
    ],
)  # fmt: skip
def test_recipes_that_cannot_be_are_refused(small_recipe, key, value):
    with pytest.raises(ConfigurationError, match=f"{key} is {value!r}, expected"):
        small_recipe(**{key: value})


def test_schedule_rises_and_falls_to_a_hundredth(small_recipe):
    recipe = small_recipe(steps=1000, learning_rate=1.0)
    rates = [recipe.rate(step) for step in range(1001)]
    assert rates[0] < 0.05
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.01)
    peak = rates.index(max(rates))
    assert 25 <= peak <= 35
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


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


def test_scores_of_networks_that_always_say_yes_or_no(squares):
    frames = squares(6, 64)
    yes = evaluate(_Says(1.0), frames, MEAN, STD)
    assert (yes.recall, yes.empty_false) == (1.0, 1.0)
    assert yes.iou == yes.precision == pytest.approx(frames.aurora_share)
    no = evaluate(_Says(-1.0), frames, MEAN, STD)
    assert (no.recall, no.f1, no.iou, no.empty_false) == (0.0, 0.0, 0.0, 0.0)
    assert np.isnan(no.precision)
    assert no.as_card()["precision"] is None


def test_unjudged_pixels_are_not_scored():
    mask = np.full((1, 64, 64), 128, np.uint8)
    mask[0, :8] = 255
    score = evaluate(_Says(1.0), Frames(np.zeros((1, 64, 64, 3), np.uint8), mask), MEAN, STD)
    assert (score.precision, score.recall, score.iou) == (1.0, 1.0, 1.0)


def test_normalise_puts_channels_first_and_scales():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[..., 2] = 255
    pixels = normalise(torch.from_numpy(image), (0.5, 0.5, 0.5), (0.25, 0.5, 0.1))
    assert pixels.shape == (1, 3, 8, 8)
    assert pixels[0, :, 0, 0].tolist() == pytest.approx([-2.0, -1.0, 5.0])


def test_a_training_sees_what_a_detector_sees(squares, tmp_path):
    """Masks of the training's own scoring are those of the runtime that a campaign uses."""
    from reprocess.detectors.runtimes import TorchCpu

    frames = squares(2, 64)
    network = build_network("fcn_resnet18").eval()
    path = tmp_path / "w.safetensors"
    save_network(path, network, "fcn_resnet18", MEAN, STD, {})
    loaded = load_network(path)
    logits = torch.from_numpy(TorchCpu(loaded, 64).logits(frames.image, 1).astype(np.float32))
    full = torch.nn.functional.interpolate(logits[:, None], size=(64, 64), mode="bilinear")
    masks = aurora_masks(load_network(path).network, frames.image, MEAN, STD)
    far = np.abs(full[:, 0].numpy()) > 2e-3  # the stored logits have 16 bits
    assert far.mean() > 0.9
    np.testing.assert_array_equal((full[:, 0] >= 0).numpy()[far], masks[far])
