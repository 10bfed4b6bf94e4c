"""The family of the selected checkpoint, told from a file that may be locked, replaced, or no model at all."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from safetensors.torch import save_file

from crdiff.models.unet import SD15, SDXL
from crdiff.webui.checkpoints import CheckpointReader

LAYER = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0."


@pytest.fixture
def path(monkeypatch, tmp_path):
    """Of the selected checkpoint."""
    path = tmp_path / "model.safetensors"
    info = types.SimpleNamespace(filename=str(path), name_for_extra="model", sha256=None)
    host = types.ModuleType("modules")
    host.shared = types.SimpleNamespace(opts=types.SimpleNamespace(sd_model_checkpoint="model"), sd_model=None)
    host.sd_models = types.SimpleNamespace(get_closet_checkpoint_match=lambda name: info)
    monkeypatch.setitem(sys.modules, "modules", host)
    return path


def write(path, context: int) -> None:
    shapes = {f"{LAYER}attn1.to_q.weight": (8, 8), f"{LAYER}attn2.to_k.weight": (8, context)}
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, str(path))


def test_a_header_that_could_not_be_read_once_is_read_again(path, monkeypatch):
    """The file is the same afterwards, to its time of change."""
    write(path, 768)
    reader, locked = CheckpointReader(), [True]
    opened = sys.modules["crdiff.models.checkpoint_file"].safe_open

    def open_or_refuse(*args, **options):
        if locked[0]:
            raise OSError(13, "in use")
        return opened(*args, **options)

    monkeypatch.setattr("crdiff.models.checkpoint_file.safe_open", open_or_refuse)
    assert "in use" in reader.selected().problem
    locked[0] = False
    assert (reader.selected().family, reader.selected().problem) == (SD15, None)
    locked[0] = True
    assert reader.selected().family is SD15  # a header is read once


def test_a_replaced_file_is_another_one_and_a_missing_one_no_problem(path):
    reader = CheckpointReader()
    assert (reader.selected().family, reader.selected().problem) == (None, None)
    path.write_bytes(b"half a download")
    assert "cannot be read" in reader.selected().problem
    save_file({"nothing": torch.zeros(2)}, str(path))
    assert "no UNet" in reader.selected().problem
    for context, family in ((768, SD15), (2048, SDXL)):
        write(path, context)
        assert reader.selected().family is family
