"""The network detector: the same logits on any number of threads, from the weights it names."""

import ctypes
import gc
import shutil
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reprocess.archive.frames import FrameBlock
from reprocess.campaign import Fcn
from reprocess.detectors import fcn, networks, runtimes
from reprocess.detectors.detector import Evidence, EvidenceStatus
from reprocess.detectors.fcn import FcnDetector
from reprocess.detectors.runtimes import OpenVino, TorchCpu, TorchDevice
from reprocess.detectors.weights import load_network, save_network
from reprocess.errors import ConfigurationError

SIZE = 64
MEAN = (0.1, 0.15, 0.12)
STD = (0.2, 0.25, 0.3)
CAMPAIGN = SimpleNamespace(image=SimpleNamespace(size_px=SIZE))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(11)
    network = networks.build_network("fcn_resnet18").eval()
    path = tmp_path_factory.mktemp("weights") / "network.safetensors"
    save_network(path, network, "fcn_resnet18", MEAN, STD, {"seed": 11})
    return str(path)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 256, (7, SIZE, SIZE, 3)).astype(np.uint8)


def detector_of(weights, **keys):
    return FcnDetector("net", Fcn(kind="fcn", weights=str(weights), **keys))


def block_of(images):
    n = len(images)
    start = np.datetime64("2018-06-01T12:00:00", "us")
    return FrameBlock(
        slot=np.arange(n),
        image=images,
        acquired=start + np.arange(n) * np.timedelta64(60, "s"),
        epoch=np.zeros(n, np.int64),
    )


def test_evidence_is_the_networks_logit_difference(weights, images):
    loaded = load_network(weights)
    scaled = (images.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    with torch.inference_mode():
        logits = loaded.network(torch.from_numpy(scaled).permute(0, 3, 1, 2)).numpy()
    expected = logits[:, 1] - logits[:, 0]
    evidence = detector_of(weights).measure(block_of(images), None, CAMPAIGN)
    found = evidence.values["logit"]
    assert found.dtype == np.float16
    assert found.shape == (7, SIZE // 8, SIZE // 8)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("threads", [1, 2, 5, None])
@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_any_number_of_threads_gives_the_same_bytes(weights, images, runtime, threads):
    detector = detector_of(weights, runtime=runtime)
    alone = [
        detector.measure(block_of(images[i : i + 1]), None, CAMPAIGN, threads=1) for i in range(7)
    ]
    together = detector.measure(block_of(images), None, CAMPAIGN, threads=threads)
    expected = np.concatenate([e.values["logit"] for e in alone])
    assert together.values["logit"].tobytes() == expected.tobytes()


def test_torchs_own_thread_count_neither_matters_nor_changes(weights, images):
    detector = detector_of(weights)
    before = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            found.append(detector.measure(block_of(images), None, CAMPAIGN).values["logit"])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


def test_every_frame_runs_on_one_intraop_thread(weights, images, monkeypatch):
    seen = []
    loaded = load_network(weights)
    forward = loaded.network.forward

    def watched(pixels):
        seen.append((torch.get_num_threads(), len(pixels)))
        return forward(pixels)

    monkeypatch.setattr(loaded.network, "forward", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(4)  # what threads started from now on would get
    try:
        TorchCpu(loaded, SIZE).logits(images, threads=3)
    finally:
        torch.set_num_threads(before)
    assert seen == [(1, 1)] * 8  # a black one first


def test_a_batch_has_always_the_same_size(weights, images, monkeypatch):
    loaded = load_network(weights)
    sizes = []
    forward = loaded.network.forward

    def watched(pixels):
        sizes.append(len(pixels))
        return forward(pixels)

    monkeypatch.setattr(loaded.network, "forward", watched)
    found = TorchDevice(loaded, SIZE, "cpu", batch=3).logits(images, threads=1)
    assert sizes == [3, 3, 3]
    expected = TorchCpu(load_network(weights), SIZE).logits(images, threads=1)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)


@pytest.fixture
def lower(weights):
    """A GPU's way in 16 bits, on the CPU."""
    return TorchDevice(load_network(weights), SIZE, "cpu", batch=3, precision="bfloat16")


def test_lower_precision_comes_near_float32_and_does_not_depend_on_the_cut(weights, images, lower):
    found = lower.logits(images, threads=1)
    exact = TorchDevice(load_network(weights), SIZE, "cpu", batch=3).logits(images, threads=1)
    assert (found != exact).mean() > 0.5, "computed in float32 all the same"
    np.testing.assert_allclose(found, exact, atol=0.1)
    parts = [lower.logits(images[:4], threads=1), lower.logits(images[4:], threads=1)]
    assert np.concatenate(parts).tobytes() == found.tobytes()


def test_the_agreement_is_measured_once_on_the_first_frames(images, lower, monkeypatch):
    passes = []
    one = TorchDevice._pass

    def watched(self, counts, precision):
        passes.append((len(counts), precision))
        return one(self, counts, precision)

    monkeypatch.setattr(TorchDevice, "_pass", watched)
    lower.logits(images, threads=1)
    lower.logits(images[:1], threads=1)
    assert passes == [(3, "bfloat16"), (3, "float32"), *[(3, "bfloat16")] * 3]


def test_logits_far_from_0_may_be_further_off(images, lower, monkeypatch):
    one = TorchDevice._pass

    def surely_aurora(self, counts, precision):
        return one(self, counts, precision) + (20.0 if precision == "float32" else 21.0)

    monkeypatch.setattr(TorchDevice, "_pass", surely_aurora)
    assert lower.logits(images, threads=1).min() > 10


def test_a_precision_that_moves_the_logits_is_refused_until_it_agrees(images, lower, monkeypatch):
    monkeypatch.setattr(runtimes, "AGREEMENT", 1e-8)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"bfloat16: \d.* % of the first frames'"):
            lower.logits(images, threads=1)
    monkeypatch.setattr(runtimes, "APART_MAX", 1.0)
    lower.logits(images, threads=1)


@pytest.mark.parametrize("broken", [0, 2])
def test_logits_that_do_not_fit_a_precision_are_refused(images, lower, monkeypatch, broken):
    """In float16 a bright frame may leave the range; NaN would pass for a sky without aurora."""
    one, calls = TorchDevice._pass, []

    def overflowing(self, counts, precision):
        found = one(self, counts, precision)
        if precision == "bfloat16":
            calls.append(precision)
            if len(calls) == broken + 1:
                found[0] = float("nan")
        return found

    monkeypatch.setattr(TorchDevice, "_pass", overflowing)
    expected = "no finite numbers" if broken else "of the first frames' probabilities"
    with pytest.raises(ConfigurationError, match=expected):
        lower.logits(images, threads=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_without_a_gpu_a_lower_precision_is_refused(weights, images):
    detector = detector_of(weights, precision="float16")
    with pytest.raises(ConfigurationError, match=r"float16: found no GPU.*take precision: float32"):
        detector.measure(block_of(images), None, CAMPAIGN)


def test_another_precision_is_another_evidence(weights):
    assert detector_of(weights).evidence_settings()["precision"] == "float32"
    lower = detector_of(weights, precision="float16")
    assert lower.evidence_settings()["precision"] == "float16"
    assert lower.profile().endswith(" float16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_gpu_in_16_bits_agrees_with_float32(weights, images, precision):
    exact = TorchDevice(load_network(weights), SIZE).logits(images, threads=1)
    lower = TorchDevice(load_network(weights), SIZE, precision=precision)
    np.testing.assert_allclose(lower.logits(images, threads=1), exact, atol=0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpus_logits_do_not_depend_on_how_the_block_is_cut(weights, images):
    detector = detector_of(weights)
    images = np.concatenate([images] * 6)
    whole = detector.measure(block_of(images), None, CAMPAIGN).values["logit"]
    for cut in (1, 5, 20, 33):
        parts = [images[:cut], images[cut:]]
        cuts = [detector.measure(block_of(p), None, CAMPAIGN).values["logit"] for p in parts]
        assert np.concatenate(cuts).tobytes() == whole.tobytes()
    on_cpu = TorchCpu(load_network(detector.settings.weights), SIZE).logits(images, threads=4)
    np.testing.assert_allclose(whole, on_cpu, rtol=2e-3, atol=2e-3)


def test_read_only_frames_are_measured(weights, images):
    frozen = images.copy()
    frozen.flags.writeable = False
    detector = detector_of(weights)
    found = detector.measure(block_of(frozen), None, CAMPAIGN).values["logit"]
    expected = detector.measure(block_of(images), None, CAMPAIGN).values["logit"]
    assert found.tobytes() == expected.tobytes()


def test_logits_too_large_for_float16_stay_finite(weights, images):
    loaded = load_network(weights)
    with torch.no_grad():
        loaded.network.score_fine[-1].bias += torch.tensor([0.0, 1e6])
    found = TorchCpu(loaded, SIZE).logits(images[:1], threads=1)
    assert (found == np.finfo(np.float16).max).all()


def test_the_network_is_loaded_once_a_process(weights, images, monkeypatch):
    calls = []

    def counted(path):
        calls.append(path)
        return load_network(path)

    monkeypatch.setattr(runtimes, "load_network", counted)
    monkeypatch.setattr(runtimes, "_kept", {})
    for _ in range(3):
        detector_of(weights).measure(block_of(images[:1]), None, CAMPAIGN)
    assert calls == [weights]


def test_weights_exchanged_under_a_running_campaign_are_refused(weights, images, tmp_path):
    path = tmp_path / "network.safetensors"
    shutil.copy(weights, path)
    detector = detector_of(path)
    detector.evidence_settings()
    torch.manual_seed(12)
    other = networks.build_network("fcn_resnet18").eval()
    save_network(path, other, "fcn_resnet18", MEAN, STD, {"seed": 12})
    with pytest.raises(ConfigurationError, match="changed while running"):
        detector.measure(block_of(images[:1]), None, CAMPAIGN)


def test_openvino_sees_what_torch_sees(weights, images):
    theirs = detector_of(weights, runtime="openvino").measure(block_of(images), None, CAMPAIGN)
    ours = detector_of(weights).measure(block_of(images), None, CAMPAIGN)
    assert theirs.values["logit"].dtype == np.float16
    np.testing.assert_allclose(theirs.values["logit"], ours.values["logit"], rtol=2e-3, atol=1e-3)


class SignalStack(ctypes.Structure):
    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def signal_stack():
    found = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found)) == 0
    return found.sp, found.flags, found.size


@pytest.mark.skipif(sys.platform != "linux", reason="stack_t is Linux's")
def test_openvino_models_that_come_and_go_leave_the_stack_of_signal_handlers(weights, images):
    """The second to go gave back the first's, which was freed: SIGTERM became SIGSEGV."""
    kept = [OpenVino(load_network(weights), SIZE) for _ in range(2)]
    kept[0].logits(images, 1)
    before = signal_stack()
    kept[1].logits(images, 3)
    while kept:
        assert signal_stack() == before
        del kept[0]
        gc.collect()
    assert signal_stack() == before


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
def test_frames_of_another_size_have_a_runtime_of_their_own(weights, images, runtime):
    digest = load_network(weights).digest
    small = np.ascontiguousarray(images[:, :32, :32])
    large, other = (runtimes.open_runtime(runtime, weights, digest, px) for px in (SIZE, 32))
    first = large.logits(images, 2)
    assert first.shape == (7, SIZE // 8, SIZE // 8)
    assert other.logits(small, 2).shape == (7, 4, 4)
    assert other.logits(small, 1).tobytes() == other.logits(small, 2).tobytes()
    assert large.logits(images, 2).tobytes() == first.tobytes()
    assert runtimes.open_runtime(runtime, weights, digest, SIZE) is large


def test_another_runtime_is_another_evidence(weights):
    ours, theirs = detector_of(weights), detector_of(weights, runtime="openvino")
    assert ours.evidence_settings() != theirs.evidence_settings()
    assert "openvino-" in theirs.profile()


def test_a_runtime_that_is_not_installed_is_named_with_its_remedy(weights, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'reprocess\[openvino\]'"):
        detector_of(weights, runtime="openvino").measure(block_of(images), None, CAMPAIGN)


def test_settings_name_the_weights_by_content(weights, tmp_path):
    elsewhere = tmp_path / "renamed.safetensors"
    shutil.copy(weights, elsewhere)
    assert detector_of(weights).evidence_settings() == detector_of(elsewhere).evidence_settings()
    assert str(weights) not in str(detector_of(weights).evidence_settings())


def test_missing_weights_are_a_configuration_error(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        detector_of(tmp_path / "absent.safetensors").evidence_settings()


def test_frames_of_another_size_are_refused(weights, images):
    with pytest.raises(ValueError, match="32"):
        detector_of(weights).measure(block_of(images[:, :32, :32]), None, CAMPAIGN)


def test_profile_names_device_instruction_set_runtime_and_precision(weights):
    profile = detector_of(weights).profile()
    runtime = f"torch-{torch.__version__.partition('+')[0]}"
    assert runtime in profile
    assert "float32" in profile
    if not torch.cuda.is_available():
        assert profile.startswith(f"cpu {torch.backends.cpu.get_cpu_capability()} ")


def test_stride_is_the_networks():
    assert fcn.STRIDE == networks.STRIDE


def test_fractions_are_the_share_above_the_threshold(weights, monkeypatch):
    cell = np.full((SIZE, SIZE), 3, np.int16)
    cell[:, : SIZE // 2] = 1
    cell[0] = -1
    cellmap = SimpleNamespace(
        cell=cell,
        weight=np.where(cell < 0, 0, 1e-3).astype(np.float32),
        observed=np.array([True, True, True, False, True]),
    )
    geometry = SimpleNamespace(cells=SimpleNamespace(n_cells=5), cellmap=cellmap)
    monkeypatch.setattr(fcn, "epoch_geometry", lambda _campaign, _epoch: geometry)
    logit = np.full((4, SIZE // 8, SIZE // 8), 1.0, np.float16)
    logit[2] = -1
    logit[3] = np.nan
    evidence = Evidence(
        acquired=np.zeros(4, "datetime64[us]"),
        slot=np.arange(4),
        status=np.array([EvidenceStatus.OBSERVED] * 4, np.uint8),
        values={"logit": logit},
    )
    campaign = SimpleNamespace(camera=(None,))
    epoch = np.array([0, -1, 0, 0])
    found = detector_of(weights).fractions(evidence, epoch, campaign)
    # cells 0, 2 and 4 hold no pixel, 3 is hardly visible, 1 is seen whole
    assert found.tolist() == [
        [255, 254, 255, 255, 255],
        [255] * 5,
        [255, 0, 255, 255, 255],
        [255] * 5,
    ]
    strict = detector_of(weights, threshold=0.75).fractions(evidence, epoch, campaign)
    assert strict[0, 1] == 0  # the probability of a logit of 1 is 0.731
    loose = detector_of(weights, threshold=0.73).fractions(evidence, epoch, campaign)
    assert loose[0, 1] == 254


def test_planning_and_thresholds_import_no_torch(weights):
    script = f"""
    import sys
    import numpy as np
    from reprocess.campaign import Difference, Fcn
    from reprocess.detectors.coverage import cell_shares
    from reprocess.detectors.detector import load_detector
    load_detector("a", Difference(kind="difference")).evidence_settings()
    load_detector("b", Fcn(kind="fcn", weights={weights!r})).evidence_settings()
    cell, weight = np.zeros((8, 8), np.int16), np.ones((8, 8), np.float32)
    assert cell_shares(np.ones((1, 1, 1)), cell, weight / 64, 1, 0.0).tolist() == [[254]]
    assert "torch" not in sys.modules
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
