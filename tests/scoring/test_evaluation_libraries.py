"""FID and the aesthetic score against their libraries' own calls, on the same images and random weights.

Neither pytorch-fid nor aesthetic-predictor-v2-5 is among the packages of the tests: each runs where its package is.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scored_images import image

from crdiff.evaluation.metrics import fid
from crdiff.evaluation.metrics.fid import Fid
from crdiff.evaluation.metrics.registry import metric_of
from crdiff.scoring.model_files import ModelFiles

SHOWN = [image(90, 120, 5), image(64, 64, 6), image(200, 100, 7)]


def test_fid_is_that_of_pytorch_fid(tmp_path, monkeypatch, one_thread):
    theirs = pytest.importorskip("pytorch_fid.fid_score", reason="pytorch-fid, of the extra evaluate, is not installed")
    from torchvision.models import inception_v3

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(fid, "_DIGEST", "")
    weights = tmp_path / "hub" / "checkpoints" / fid.WEIGHTS
    weights.parent.mkdir(parents=True)
    torch.manual_seed(3)
    torch.save(inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False).state_dict(), weights)

    folders = {name: tmp_path / name for name in ("drawn", "reference", "drawn-256", "reference-256")}
    for folder in folders.values():
        folder.mkdir()
    shown = [image(40 + 8 * seed, 70, seed) for seed in range(8)]
    for number, one in enumerate(shown):
        name = ("drawn", "reference")[number % 2]
        one.save(folders[name] / f"{number}.png")
        one.resize((256, 256), Image.Resampling.BICUBIC).save(folders[f"{name}-256"] / f"{number}.png")
    whole = [str(folders[name]) for name in ("drawn-256", "reference-256")]
    expected = theirs.calculate_fid_given_paths(whole, 50, "cpu", 2048, num_workers=0)
    theirs.save_fid_stats([whole[1], str(tmp_path / "reference.npz")], 50, "cpu", 2048, num_workers=0)

    for reference in (folders["reference"], tmp_path / "reference.npz"):
        metric = Fid(reference)
        assert metric.available() is None
        metric.load("cpu")
        ours = np.stack([metric.features(one) for one in shown[::2]])
        assert metric.distance(ours) == pytest.approx(expected, rel=1e-3)


def test_the_aesthetic_score_is_that_of_its_package(tmp_path):
    package = pytest.importorskip(
        "aesthetic_predictor_v2_5.siglip_v2_5", reason="aesthetic-predictor-v2-5, installed by hand, is not here"
    )
    from transformers import SiglipImageProcessor, SiglipVisionConfig, SiglipVisionModel

    encoder = tmp_path / "siglip-so400m-patch14-384"
    config = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    torch.manual_seed(3)
    SiglipVisionModel(config).save_pretrained(str(encoder))
    SiglipImageProcessor(size={"height": 56, "width": 56}).save_pretrained(str(encoder))
    head = tmp_path / "aesthetic-predictor-v2-5" / "aesthetic_predictor_v2_5.pth"
    head.parent.mkdir()
    torch.save(package.AestheticPredictorV2_5Head(config).state_dict(), head)
    metric = metric_of("aesthetic", ModelFiles(models=tmp_path, home=tmp_path / "home", hub=tmp_path / "hub"))
    assert metric.available() is None
    metric.load("cpu")

    model, processor = package.convert_v2_5_from_siglip(str(head), str(encoder), low_cpu_mem_usage=False)
    for one in SHOWN:  # as its README does
        with torch.inference_mode():
            pixels = processor(images=one, return_tensors="pt").pixel_values
            expected = model(pixels).logits.squeeze().float().numpy()
        assert metric.score("whatever", one) == pytest.approx(float(expected), abs=1e-6)
