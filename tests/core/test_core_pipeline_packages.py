"""What PEFT and accelerate do to a pipeline; and offloading by what accelerate does to a forward.

What CR-Diff does with PEFT's layers is tested without it in ``test_core_pipelines``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pipeline_images import RATIOS, K, assert_each_image_is_pruned_once, drawn, mixed
from small_pipeline import small_pipeline

import crdiff

TESTS = Path(__file__).with_name("with_packages.py")
PACKAGES = Path(__file__).resolve().parents[2] / ".venv-packages"
"""Where ``make setup`` puts them."""


@pytest.fixture
def pipe(tmp_path, one_thread):
    pipe = small_pipeline(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_peft_and_accelerate_as_they_are():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(
        command, env={**kept, "PYTHONPATH": str(PACKAGES)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


def wrapped(unet):
    """As accelerate's ``add_hook_to_module`` leaves a model, after ``remove_hook_from_module`` where it has a hook."""
    if hasattr(unet, "_old_forward"):
        unet.forward = unet._old_forward
        del unet._old_forward
    unet._old_forward = unet.forward
    unet.forward = lambda *args, **kwargs: unet._old_forward(*args, **kwargs)


def as_accelerate(pipe):
    wrapped(pipe.unet)
    pipe.maybe_free_model_hooks = lambda: wrapped(pipe.unet)  # the pipeline calls it after each image


def test_each_image_of_an_offloaded_model_is_pruned(pipe):
    assert_each_image_is_pruned_once(pipe, as_accelerate)


def test_a_model_may_be_offloaded_within_the_block(pipe):
    dense, expected = drawn(pipe), mixed(pipe, pipe.unet)
    with crdiff.applied(pipe, k=K, **RATIOS):
        as_accelerate(pipe)
        assert all(torch.equal(drawn(pipe), expected) for _ in range(2))
    assert torch.equal(drawn(pipe), dense)
    with crdiff.applied(pipe, k=K, **RATIOS):
        assert torch.equal(drawn(pipe), expected)
