"""What a training starts from: torchvision's own files, loaded as they are published."""

import hashlib
import http.server
import shutil
import threading

import pytest
import torch
from torchvision.models import resnet18, resnet50
from torchvision.models.segmentation import fcn_resnet50

from reprocess.detectors.networks import build_network
from reprocess.errors import ConfigurationError
from reprocess.train import start
from reprocess.train.start import IMAGENET_MEAN, Published, make_start, obtain, published


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A file with the key layout of `fcn_resnet50_coco`: 21 classes and the auxiliary head."""
    torch.manual_seed(8)
    network = fcn_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True)
    path = tmp_path_factory.mktemp("coco") / "downloaded.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty torch.hub cache, and a network in which nothing answers."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    before = torch.hub._hub_dir
    torch.hub._hub_dir = None
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    yield folder
    torch.hub._hub_dir = before


def published_as(path, monkeypatch, key=("fcn_resnet50", "coco"), server="http://127.0.0.1:9"):
    """Let a file be the one that torchvision offers: its name ends as its SHA-256 begins."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    url = f"{server}/{key[0]}_{key[1]}-{digest[:8]}.pth"
    entry = Published(f"{key[0]} {key[1]}", url, "nothing")
    everything = {**published(), key: entry}
    monkeypatch.setattr(start, "published", lambda: everything)
    return entry


def test_published_files_are_torchvisions():
    found = {key: (p.url, p.digest_begins) for key, p in published().items()}
    base = "https://download.pytorch.org/models"
    assert found == {
        ("fcn_resnet50", "coco"): (f"{base}/fcn_resnet50_coco-1167a1af.pth", "1167a1af"),
        ("fcn_resnet50", "imagenet"): (f"{base}/resnet50-0676ba61.pth", "0676ba61"),
        ("fcn_resnet18", "imagenet"): (f"{base}/resnet18-f37072fd.pth", "f37072fd"),
    }


def test_coco_weights_are_taken_from_the_cache_with_a_new_head(coco, cache, monkeypatch):
    entry = published_as(coco, monkeypatch)
    cache.mkdir(parents=True)
    shutil.copy(coco, cache / entry.file_name)
    made = make_start("coco", "fcn_resnet50", seed=4)
    theirs, ours = torch.load(coco, weights_only=True), made.network.state_dict()
    kept = [n for n in ours if not n.startswith("classifier.4.")]
    assert len(kept) == len(ours) - 2 == made.said["tensors_kept"]
    assert all(torch.equal(ours[n], theirs[n]) for n in kept)
    assert ours["classifier.4.weight"].shape == (2, 512, 1, 1)
    assert made.mean == IMAGENET_MEAN
    assert "classifier.4.weight (21 classes there, 2 here)" in made.text()
    assert "aux_classifier" in made.text()
    assert made.said["sha256"].startswith(entry.digest_begins)


def test_a_download_that_the_user_made_is_given_as_a_file(coco, cache):
    made = make_start(str(coco), "fcn_resnet50", seed=4)
    theirs = torch.load(coco, weights_only=True)
    assert torch.equal(
        made.network.state_dict()["backbone.layer3.0.conv1.weight"],
        theirs["backbone.layer3.0.conv1.weight"],
    )
    assert made.said["sha256"] == hashlib.sha256(coco.read_bytes()).hexdigest()
    assert not cache.exists()


def test_offline_says_what_to_download_and_where_to_put_it(coco, cache, monkeypatch):
    entry = published_as(coco, monkeypatch)
    with pytest.raises(ConfigurationError) as error:
        make_start("coco", "fcn_resnet50", seed=1)
    for said in (entry.url, str(cache / entry.file_name), "Connection refused", "--start PATH/"):
        assert said in str(error.value)
    assert list(cache.iterdir()) == []


def test_online_they_are_downloaded_once(coco, cache, monkeypatch):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            content = coco.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        entry = published_as(coco, monkeypatch, server=address)
        found = [obtain(entry) for _ in range(2)]
        server.shutdown()
    assert asked == [f"/{entry.file_name}"]
    assert found == [cache / entry.file_name] * 2
    assert found[0].read_bytes() == coco.read_bytes()


def test_a_damaged_file_in_the_cache_is_refused(coco, cache, monkeypatch):
    entry = published_as(coco, monkeypatch)
    cache.mkdir(parents=True)
    content = coco.read_bytes()
    (cache / entry.file_name).write_bytes(content[:-1000])
    with pytest.raises(
        ConfigurationError, match=f"expected one that begins with {entry.digest_begins}"
    ):
        make_start("coco", "fcn_resnet50", seed=1)


@pytest.mark.parametrize(
    ("architecture", "build", "names"),
    [
        ("fcn_resnet18", resnet18, {
            "layer3.1.conv2.weight": "layer3.1.conv2.weight", "stem.0.weight": "conv1.weight",
            "stem.1.running_var": "bn1.running_var",
        }),
        ("fcn_resnet50", resnet50, {
            "backbone.layer4.2.conv3.weight": "layer4.2.conv3.weight",
            "backbone.conv1.weight": "conv1.weight",
        }),
    ],
)  # fmt: skip
def test_imagenet_backbones_fit(cache, tmp_path, monkeypatch, architecture, build, names):
    network = build(weights=None)
    path = tmp_path / "resnet.pth"
    torch.save(network.state_dict(), path)
    entry = published_as(path, monkeypatch, (architecture, "imagenet"))
    cache.mkdir(parents=True)
    shutil.copy(path, cache / entry.file_name)
    made = make_start("imagenet", architecture, seed=1)
    ours, theirs = made.network.state_dict(), network.state_dict()
    assert all(torch.equal(ours[name], theirs[names[name]]) for name in names)
    assert made.mean == IMAGENET_MEAN
    assert "fc" in made.said["left_out"]
    head = "score_fine.0.weight" if architecture == "fcn_resnet18" else "classifier.0.weight"
    assert head in made.said["new"]


def test_our_own_weights_keep_their_normalisation(tiny_weights):
    made = make_start(str(tiny_weights), "fcn_resnet18", seed=1)
    assert made.mean == (0.27,) * 3
    assert made.said["sha256"] == hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    shipped = make_start("package:fcn_resnet18_sim.safetensors", "fcn_resnet18", seed=1)
    assert "command" in shipped.said


def test_weights_of_another_architecture_are_refused_with_both_named(coco, tmp_path, tiny_weights):
    with pytest.raises(ConfigurationError, match=r"found architecture fcn_resnet18.*fcn_resnet50"):
        make_start(str(tiny_weights), "fcn_resnet50", seed=1)
    with pytest.raises(ConfigurationError, match=r"do not fit fcn_resnet18.*backbone\.conv1"):
        make_start(str(coco), "fcn_resnet18", seed=1)
    small = tmp_path / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), small)
    with pytest.raises(ConfigurationError, match=r"do not fit fcn_resnet50.*found .*expected"):
        make_start(str(small), "fcn_resnet50", seed=1)


def test_what_does_not_exist_is_refused_with_what_does(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no such weights of fcn_resnet18.*imagenet, scr"):
        make_start("coco", "fcn_resnet18", seed=1)
    with pytest.raises(ConfigurationError, match="no such file; expected scratch"):
        make_start(str(tmp_path / "none.pth"), "fcn_resnet18", seed=1)


class _Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("what", ["code", "list", "cut"])
def test_files_that_are_no_state_dict_are_refused_and_run_nothing(tmp_path, what):
    path = tmp_path / "w.pth"
    torch.save({"code": _Runs(str(tmp_path / "ran")), "list": [1]}.get(what, {}), path)
    if what == "cut":
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ConfigurationError, match=r"cannot be read as tensors|found a list"):
        make_start(str(path), "fcn_resnet18", seed=1)
    assert not (tmp_path / "ran").exists()


def test_scratch_follows_the_seed_and_leaves_the_randomness_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, two, three = (make_start("scratch", "fcn_resnet18", seed=s).network for s in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(one.stem[0].weight, two.stem[0].weight)
    assert not torch.equal(one.stem[0].weight, three.stem[0].weight)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = build_network("fcn_resnet18").state_dict()
    state["layer1.0.conv1.weight"][0] = float("nan")
    path = tmp_path / "w.pth"
    torch.save(state, path)
    with pytest.raises(ConfigurationError, match=r"not finite in layer1\.0\.conv1"):
        make_start(str(path), "fcn_resnet18", seed=1)
