"""Features by networks of timm, ONNX and torch-fidelity, beside what those libraries give themselves.

They are no dependencies of ours, and a test without its library is skipped. Weights are random: nothing is
fetched.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from absent import torchvision_or_names
from alphabar.data import Dataset, Space
from alphabar.evaluation import compare, open_features
from tiny import tiny_data

RNG = np.random.default_rng


def photos(n, size=24, channels=3):
    images = RNG(0).integers(0, 256, (n, channels, size // 4, size // 4)).astype(np.uint8)
    return Dataset(images.repeat(4, 2).repeat(4, 3), Space((channels, size, size)))


# --- timm ----------------------------------------------------------------------------------------


@pytest.fixture
def timm_folder(tmp_path):
    with torchvision_or_names():
        timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    how = {
        "input_size": (3, 64, 64),
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.25, 0.5),
        "interpolation": "bicubic",
    }
    net = timm.create_model("resnet10t", num_classes=10, pretrained_cfg_overlay=how).eval()
    from timm.models._hub import save_for_hf

    save_for_hf(net, tmp_path / "net", safe_serialization=True)
    return net, tmp_path / "net"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_timm(timm_folder, channels):
    net, folder = timm_folder
    data = photos(6, channels=channels)
    features = open_features(str(folder), data)
    found = features(data.images)
    pictures = [
        np.moveaxis(image, 0, -1) for image in data.images.repeat(4 - channels if channels == 1 else 1, 1)
    ]
    resized = [np.asarray(Image.fromarray(p).resize((64, 64), Image.Resampling.BICUBIC)) for p in pictures]
    x = torch.from_numpy(np.stack(resized).astype(np.float32) / 255)
    x = ((x - torch.tensor([0.5, 0.4, 0.3])) / torch.tensor([0.2, 0.25, 0.5])).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = net.global_pool(net.forward_features(x)).numpy()
    assert found.shape == (6, 512)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()  # Pillow rounds to bytes
    assert "bicubic to 64 x 64" in features.preprocessing
    assert open_features(str(folder), data).digest == features.digest


def test_folders_that_timm_cannot_read(timm_folder, tmp_path):
    _, folder = timm_folder
    (folder / "config.json").write_text('{"architecture": "resnet_of_nobody"}')
    with pytest.raises(ValueError, match=r"timm can't make a network of .*net: .*resnet_of_nobody"):
        open_features(str(folder), photos(4))


# --- ONNX ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 16])
def test_an_onnx_file(tmp_path, size):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    values = [("x", ["n", 3, size or "h", size or "w"]), ("y", ["n", 3, 1, 1])]
    entry, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values)
    graph = helper.make_graph([helper.make_node("GlobalAveragePool", ["x"], ["y"])], "mean", [entry], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "mean.onnx"
    onnx.save(model, str(path))
    data = tiny_data(40)
    features = open_features(str(path), data)
    found = features(data.images)
    assert found.shape == (40, 3)
    np.testing.assert_allclose(found[:, 1], data.images.mean((1, 2, 3)) / 255, atol=1e-5)
    assert ("bilinear to 16 x 16" if size else "own size") in features.preprocessing


def test_a_file_that_is_no_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"net\.onnx is no network for onnxruntime: "):
        open_features(str(tmp_path / "net.onnx"), tiny_data())


# --- Inception -----------------------------------------------------------------------------------


@pytest.fixture
def extractor():
    with torchvision_or_names():
        return pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")


def test_inception_with_weights_where_the_library_keeps_them(extractor, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda net, state: None)
    monkeypatch.setattr(extractor, "load_state_dict_from_url", lambda url, progress: {})
    torch.manual_seed(0)
    net = extractor.FeatureExtractorInceptionV3("random", ["2048"])
    monkeypatch.undo()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / extractor.URL_INCEPTION_V3.rpartition("/")[2]
    kept.parent.mkdir(parents=True)
    torch.save(net.state_dict(), kept)
    data = photos(26)
    features = open_features("inception", data)
    found = features(data.images)
    with torch.no_grad():
        expected = net(torch.from_numpy(np.asarray(data.images)))[0].numpy()
    assert found.shape == (26, 2048)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    card = compare(data.images[:13], data, features, errors=0)
    assert card.features["number"] == 2048
    assert np.isfinite(card.scores["frechet"].value)


def test_inception_without_a_network_to_fetch_it(extractor, monkeypatch):
    def refuse(url, progress):
        raise OSError("no route to host")

    monkeypatch.setattr(extractor, "load_state_dict_from_url", refuse)
    with pytest.raises(ValueError, match=r"could not be fetched \(no route to host\).* learned features"):
        open_features("inception", tiny_data())
