"""The metrics of ``crdiff evaluate``, each against its own library or against scipy."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from scored_images import image

from crdiff.evaluation.metrics import fid
from crdiff.evaluation.metrics.fid import Fid, frechet_distance, moments
from crdiff.evaluation.metrics.metric import squashed
from crdiff.evaluation.metrics.registry import METRICS, metric_of
from crdiff.scoring.errors import ScoringError
from crdiff.scoring.model_files import ModelFiles


def test_imagereward_is_the_packages_own_also_of_squashed_images(package_reward, reward_files, tmp_path):
    shown = image(40, 70)
    seen = {"imagereward": shown, "imagereward-256": shown.resize((256, 256), Image.Resampling.BICUBIC)}
    for name, expected in seen.items():
        metric = metric_of(name, reward_files)
        metric.load("cpu")
        expected.save(tmp_path / "seen.png")
        with torch.no_grad():
            theirs = package_reward.score("a cat", str(tmp_path / "seen.png"))
        assert metric.score("a cat", shown) == pytest.approx(theirs, abs=1e-5)


def test_every_metric_is_the_one_of_its_name(tmp_path):
    files = ModelFiles(models=tmp_path, home=tmp_path, hub=tmp_path)
    for name in METRICS:
        assert metric_of(name, files).name == name and metric_of(name, files).available()


def test_the_distance_is_that_of_two_normal_distributions():
    generator = np.random.default_rng(1)
    first, second = (
        generator.normal(size=(40, 6)),
        generator.normal(1.0, 2.0, size=(50, 6)) @ generator.normal(size=(6, 6)),
    )
    covariances = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(moments(first), moments(second)) == pytest.approx(expected)
    few = first[:3]  # fewer than dimensions: the covariance is singular
    assert frechet_distance(moments(few), moments(few)) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture
def network(monkeypatch, tmp_path):
    """In place of pytorch-fid's: the mean of each colour, eight times."""

    class InceptionV3(torch.nn.Module):
        def forward(self, pixels):
            assert pixels.shape[1:] == (3, 256, 256)
            return [pixels.mean(dim=(2, 3), keepdim=True).repeat(1, 8, 1, 1)]

    inception = types.SimpleNamespace(InceptionV3=InceptionV3)
    monkeypatch.setitem(sys.modules, "pytorch_fid.inception", inception)
    monkeypatch.setitem(sys.modules, "pytorch_fid", types.SimpleNamespace(inception=inception, __spec__=True))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def test_fid_of_a_folder_and_of_statistics(network, tmp_path):
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    shown = [image(40, 70, seed) for seed in range(4)]
    for number, one in enumerate(shown):
        one.save(folder / f"{number}.png")
    colours = np.stack([np.tile(np.asarray(squashed(one)).mean((0, 1)) / 255, 8) for one in shown])
    np.savez(tmp_path / "statistics.npz", mu=colours.mean(0), sigma=np.cov(colours, rowvar=False))
    for reference in (folder, tmp_path / "statistics.npz"):
        metric = Fid(reference)
        metric.load("cpu")
        features = np.stack([metric.features(one) for one in shown])
        assert np.allclose(features, colours, atol=1e-6)
        assert metric.distance(features) == pytest.approx(0.0, abs=1e-5)
        assert metric.distance(features + 0.5) == pytest.approx(24 * 0.25, abs=1e-4)
        assert metric.distance(features[:1]) is None
    np.savez(tmp_path / "other.npz", mu=np.zeros(6), sigma=np.eye(6))
    with pytest.raises(ScoringError, match=r"its mu is \[6\] and its sigma \[6, 6\], where FID needs \[24\]"):
        Fid(tmp_path / "other.npz").distance(features)


def test_what_fid_lacks_is_one_sentence(network, tmp_path, monkeypatch):
    assert "FID needs --reference" in Fid(None).available()
    assert Fid(tmp_path / "nowhere").available().endswith("nowhere: there is no such reference for FID.")
    assert "put it into" in Fid(tmp_path).available()
    weights = tmp_path / "hub" / "checkpoints" / fid.WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"something else")
    assert Fid(tmp_path).available().endswith("is not the published file: its SHA-256 does not begin with 6726825d.")
    monkeypatch.setattr(fid, "_DIGEST", "")
    assert Fid(tmp_path).available() is None
    monkeypatch.setattr(fid, "find_spec", lambda name: None)
    assert Fid(tmp_path).available().startswith("FID needs pytorch_fid and torchvision: pip install")


def test_the_aesthetic_score_reads_its_own_files_alone(monkeypatch, tmp_path):
    asked = {}

    def convert(**given):
        asked.update(given)
        model = torch.nn.Linear(1, 1)
        model.forward = lambda pixels: types.SimpleNamespace(logits=pixels.mean().reshape(1, 1))
        model.device = torch.device("cpu")
        return model, lambda images, return_tensors: types.SimpleNamespace(pixel_values=torch.ones(1, 3, 4, 4) * 5)

    package = types.SimpleNamespace(convert_v2_5_from_siglip=convert, __spec__=True)
    monkeypatch.setitem(sys.modules, "aesthetic_predictor_v2_5", package)
    metric = metric_of("aesthetic", ModelFiles(models=tmp_path, home=tmp_path / "home", hub=tmp_path / "hub"))
    head = tmp_path / "aesthetic-predictor-v2-5" / "aesthetic_predictor_v2_5.pth"
    assert "put it into" in metric.available()
    head.parent.mkdir()
    head.write_bytes(b"")
    assert metric.available().startswith("SigLIP so400m needs model.safetensors")
    encoder = tmp_path / "siglip-so400m-patch14-384"
    encoder.mkdir()
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        (encoder / name).write_text(json.dumps({}))
    assert metric.available() is None
    metric.load("cpu")
    assert asked["local_files_only"] and asked["encoder_model_name"] == str(encoder)
    assert asked["predictor_name_or_path"] == str(head)
    assert metric.score("a cat", image(40, 70)) == 5.0
