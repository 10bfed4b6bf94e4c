"""The ``inspect`` command against kthvalue over written checkpoints, and its errors."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from published_unets import SD1, SSD_1B, UNETS, all_shapes, pruned_shapes
from safetensors.torch import save_file

from crdiff.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("down", "mid", "up")
DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
}
PREFIX = {"ldm": "model.diffusion_model.", "diffusers": ""}


def shrunk(name: str, shape: tuple[int, int]) -> tuple[int, int]:
    """A 40th of the width, so that a checkpoint is small; the context width, which tells the family, stays."""
    return (shape[0] // 40, shape[1] if ".attn2.to_" in name and shape[1] in (768, 1024, 2048) else shape[1] // 40)


def weights_of(stacks, naming: str, context: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prefix = PREFIX[naming]
    return {
        f"{prefix}{name}.weight": (torch.randn(shrunk(name, shape), generator=generator) * 0.05).to(dtype)
        for name, shape in all_shapes(stacks, naming, context).items()
    }


def write(path: Path, family: str = "sd15", naming: str = "ldm", dtype: torch.dtype = torch.float16) -> Path:
    stacks, context = UNETS[family]
    tensors = weights_of(stacks, naming, context, dtype)
    tensors["first_stage_model.decoder.conv_in.weight"] = torch.zeros(4, 4, 3, 3)
    tensors["control_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"] = torch.zeros(8, 8)
    save_file(tensors, str(path), metadata={"format": "pt"})
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("models") / "model.safetensors")


def expected_groups(tensors: dict[str, torch.Tensor], stacks, naming: str, ratios) -> dict[str, dict[str, object]]:
    groups = {}
    for (group, names), ratio in zip(pruned_shapes(stacks, naming).items(), ratios):
        magnitudes = [tensors[f"{PREFIX[naming]}{name}.weight"].float().abs().flatten() for name in names]
        every = torch.cat(magnitudes) if magnitudes else torch.empty(0)
        rank = int(every.numel() * ratio)
        threshold = every.kthvalue(rank).values.item() if rank else None
        pruned = int((every <= threshold).sum()) if rank else 0
        groups[group] = {
            "layers": len(names),
            "weights": every.numel(),
            "threshold": threshold,
            "pruned": pruned,
            "sparsity": pruned / every.numel() if every.numel() else 0.0,
        }
    return groups


def inspect(capsys, path: Path, *options: str) -> dict:
    assert main(["inspect", str(path), *options, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def cases() -> Iterator[object]:
    """Every dtype of one family, and every family and naming in one dtype: they are read apart."""
    for case in itertools.product(UNETS, PREFIX, DTYPES):
        family, naming, dtype = case
        told = dtype == "fp16" or (family, naming) == ("sd15", "ldm")
        yield pytest.param(*case, marks=[] if told else pytest.mark.full)


@pytest.mark.parametrize(("family", "naming", "dtype"), cases())
def test_every_family_naming_and_dtype(tmp_path, capsys, family, naming, dtype):
    stacks, context = UNETS[family]
    path = write(tmp_path / "model.safetensors", family, naming, DTYPES[dtype])
    found = inspect(capsys, path, "--ratios", "0.397/0.434/0.387")
    tensors = weights_of(stacks, naming, context, DTYPES[dtype])
    assert found["family"] == family
    assert found["groups"] == expected_groups(tensors, stacks, naming, (0.397, 0.434, 0.387))
    assert found["ratios"] == {"down": 0.397, "mid": 0.434, "up": 0.387}
    assert found["preset"] is None
    assert list(found["groups"]) == list(GROUPS)


def test_a_group_without_layers_and_one_without_pruning(tmp_path, capsys):
    tensors = weights_of(SSD_1B, "diffusers", 2048, torch.float32)
    save_file(tensors, str(tmp_path / "unet.safetensors"))
    found = inspect(capsys, tmp_path / "unet.safetensors", "--ratios", "0/0.5/0.6")
    assert found["family"] == "sdxl"
    assert found["groups"] == expected_groups(tensors, SSD_1B, "diffusers", (0.0, 0.5, 0.6))
    assert found["groups"]["mid"] == {"layers": 0, "weights": 0, "threshold": None, "pruned": 0, "sparsity": 0.0}
    assert found["groups"]["down"]["threshold"] is None


def test_one_fp32_layer_among_fp16_ones(tmp_path, capsys):
    tensors = weights_of(SD1, "ldm", 768, torch.float16)
    name = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
    tensors[name] = torch.randn(tensors[name].shape) * 0.05
    save_file(tensors, str(tmp_path / "model.safetensors"))
    found = inspect(capsys, tmp_path / "model.safetensors", "--ratios", "0.1/0.5/0.9")
    assert found["groups"] == expected_groups(tensors, SD1, "ldm", (0.1, 0.5, 0.9))


def shipped(family: str) -> dict[str, object]:
    return json.loads((ROOT / "presets" / f"{family}.json").read_text(encoding="utf-8"))


def test_a_preset_of_the_family(capsys, checkpoint):
    for preset in shipped("sd15")["presets"]:
        found = inspect(capsys, checkpoint, "--preset", preset["size"])
        assert found["ratios"] == preset["ratios"]
        assert found["preset"]["size"] == preset["size"]
        assert not found["preset"]["estimated"]
        assert preset["size"] in found["preset"]["origin"]
        tensors = weights_of(SD1, "ldm", 768, torch.float16)
        assert found["groups"] == expected_groups(tensors, SD1, "ldm", preset["ratios"].values())


def test_a_size_without_preset_is_said_to_be_estimated(capsys, checkpoint):
    found = inspect(capsys, checkpoint, "--preset", "600x616")
    assert found["preset"]["estimated"]
    assert main(["inspect", str(checkpoint), "--preset", "600x616"]) == 0
    text = capsys.readouterr().out
    assert "estimated" in text
    assert found["preset"]["origin"] in text


def test_the_hash_tells_the_base_checkpoint(capsys, checkpoint, tmp_path, monkeypatch):
    from crdiff.presets import built_in

    for arguments in ((), ("--hash",)):
        origin = inspect(capsys, checkpoint, "--preset", "512x512", *arguments)["preset"]["origin"]
        assert origin == "preset for SD1.x, 512x512"
    document = shipped("sd15")
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    document["checkpoints"] = [{"sha256": sha256, "name": "model", "source": "here"}]
    (tmp_path / "sd15.json").write_text(json.dumps(document), encoding="utf-8")
    monkeypatch.setattr("crdiff.inspection.inspection.BUILT_IN_FOLDER", tmp_path)
    assert built_in.load_folder(tmp_path).problems == ()
    origin = inspect(capsys, checkpoint, "--preset", "512x512", "--hash")["preset"]["origin"]
    assert origin == "preset for this checkpoint, 512x512"


def test_the_table(capsys, checkpoint):
    assert main(["inspect", str(checkpoint), "--ratios", "0.397/0.434/0"]) == 0
    text = capsys.readouterr().out
    groups = expected_groups(weights_of(SD1, "ldm", 768, torch.float16), SD1, "ldm", (0.397, 0.434, 0.0))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert "SD1.x" in text.splitlines()[0]
    assert "0.397/0.434/0" in text
    for group, found in groups.items():
        layers, weights, threshold, pruned, sparsity = rows[group]
        assert (int(layers), int(weights.replace(",", ""))) == (found["layers"], found["weights"])
        assert int(pruned.replace(",", "")) == found["pruned"]
        assert sparsity == f"{found['sparsity']:.2%}"
        if found["threshold"] is None:
            assert threshold == "-"
        else:
            assert math.isclose(float(threshold), found["threshold"], rel_tol=1e-5)
    assert int(rows["all"][0]) == 96


def test_stages_one_by_one(capsys, checkpoint):
    stages = "0.397/0.434/0; 0.1/0.2/0.3/1.2 from 0.5"
    found = inspect(capsys, checkpoint, "--ratios", stages)
    tensors = weights_of(SD1, "ldm", 768, torch.float16)
    expected = [expected_groups(tensors, SD1, "ldm", ratios) for ratios in ((0.397, 0.434, 0.0), (0.1, 0.2, 0.3))]
    assert [stage["groups"] for stage in found["stages"]] == expected
    assert found["groups"] == expected[0]
    assert (found["stages"][1]["from"], found["stages"][1]["k"], found["stages"][1]["up"]) == (0.5, 1.2, 0.3)
    assert main(["inspect", str(checkpoint), "--ratios", stages]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert stages in lines[1]
    assert [line for line in lines if line.startswith("from")] == ["from 0:", "from 0.5:"]
    assert f"{expected[1]['mid']['sparsity']:.2%}" in lines[lines.index("from 0.5:") + 2]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk", "cp932"])
def test_no_encoding_of_the_output_stops_a_command(checkpoint, tmp_path, monkeypatch, encoding):
    """A console's or a file's on Windows, of which none has all of these characters."""
    path = tmp_path / "\u00e9\u0142\u00b5 \u65e5\u672c \U0001f600.safetensors"
    path.write_bytes(checkpoint.read_bytes())
    for options in ([], ["--json"]):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        assert main(["inspect", str(path), "--ratios", "0.1/0.2/0.3", *options]) == 0
        text = written.getvalue().decode(encoding)
        assert json.loads(text)["family"] == "sd15" if options else "\\U0001f600.safetensors: SD1.x" in text


def quantised(way: str) -> dict[str, torch.Tensor]:
    """SD1.x's Linears as ComfyUI and bitsandbytes store them."""
    tensors: dict[str, torch.Tensor] = {}
    for key, weight in weights_of(SD1, "ldm", 768, torch.float32).items():
        name, scale = key.removesuffix(".weight"), torch.tensor(0.01)
        if way == "scaled fp8":
            tensors |= {key: (weight / scale).to(torch.float8_e4m3fn), f"{name}.scale_weight": scale}
        elif way == "int8":
            tensors |= {key: (weight / scale).to(torch.int8), f"{name}.weight_scale": scale}
        else:
            state = json.dumps({"quant_type": "nf4", "blocksize": 64, "shape": list(weight.shape)}).encode()
            tensors[key] = torch.zeros(weight.numel() // 2, 1, dtype=torch.uint8)
            tensors[f"{key}.quant_state.bitsandbytes__nf4"] = torch.tensor(list(state), dtype=torch.uint8)
    return tensors


@pytest.mark.parametrize("way", ["scaled fp8", "int8", "NF4"])
def test_quantised_files_are_named_as_such_and_get_no_thresholds(tmp_path, capsys, way):
    path = tmp_path / "quantised.safetensors"
    save_file(quantised(way), str(path))
    found = inspect(capsys, path)
    plain = expected_groups(weights_of(SD1, "ldm", 768, torch.float32), SD1, "ldm", (0, 0, 0))
    assert (found["family"], found["storage"], found["quantised"]) == ("sd15", [way], True)
    assert found["groups"] == {
        group: {name: counts[name] for name in ("layers", "weights")} for group, counts in plain.items()
    }
    for options in (["--ratios", "0.1/0.2/0.3"], ["--preset", "512x512"]):
        assert main(["inspect", str(path), *options]) == 2
        assert f"is stored as {way}: its numbers are not the weights" in capsys.readouterr().err
    assert main(["inspect", str(path)]) == 0
    assert f"quantised.safetensors: SD1.x, stored as {way}\n" in capsys.readouterr().out


def test_an_overview(capsys, checkpoint):
    found = inspect(capsys, checkpoint)
    tensors = weights_of(SD1, "ldm", 768, torch.float16)
    groups = expected_groups(tensors, SD1, "ldm", (0, 0, 0))
    assert (found["family"], found["storage"], found["quantised"]) == ("sd15", ["float16"], False)
    assert found["groups"] == {
        group: {name: counts[name] for name in ("layers", "weights")} for group, counts in groups.items()
    }
    assert found["presets"] == [preset["size"] for preset in shipped("sd15")["presets"]]
    assert main(["inspect", str(checkpoint)]) == 0
    text = capsys.readouterr().out
    assert "model.safetensors: SD1.x, stored as float16\n" in text and "512x512 (native)" in text


def test_an_overview_of_mixed_storage_and_of_a_family_without_presets(tmp_path, capsys):
    tensors = weights_of(SD1, "ldm", 1280, torch.float16)
    name = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.weight"
    tensors[name] = tensors[name].float()
    save_file(tensors, str(tmp_path / "refiner.safetensors"))
    assert main(["inspect", str(tmp_path / "refiner.safetensors")]) == 0
    text = capsys.readouterr().out
    assert "unknown model family, stored as float16 and float32\n" in text
    assert "no built-in presets for its family" in text


class TestErrors:
    def fails(self, capsys, path: Path, *options: str) -> str:
        assert main(["inspect", str(path), *options]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("crdiff: ")
        assert captured.err.endswith(".\n")
        assert captured.err.count("\n") == 1
        return captured.err

    def test_a_missing_file(self, capsys, tmp_path):
        assert "gone.safetensors" in self.fails(capsys, tmp_path / "gone.safetensors", "--ratios", "0.1/0.1/0.1")

    def test_a_folder(self, capsys, tmp_path):
        assert tmp_path.name in self.fails(capsys, tmp_path, "--ratios", "0.1/0.1/0.1")

    def test_a_name_no_file_can_have(self, capsys, tmp_path):
        self.fails(capsys, tmp_path / ("x" * 5000), "--ratios", "0.1/0.1/0.1")

    @pytest.mark.parametrize(
        "content", [b"", b"x", b"PK\3\4" + b"\0" * 1000, b"\xff" * 100, b"\2\0\0\0\0\0\0\0[]"], ids=len
    )
    def test_a_file_of_another_kind(self, capsys, tmp_path, content):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        assert "safetensors file" in self.fails(capsys, path, "--ratios", "0.1/0.1/0.1")

    @pytest.mark.parametrize("part", [0.001, 0.1, 0.9, 0.9999])
    def test_a_truncated_file(self, capsys, tmp_path, checkpoint, part):
        content = checkpoint.read_bytes()
        path = tmp_path / "model.safetensors"
        path.write_bytes(content[: int(len(content) * part)])
        assert "model.safetensors" in self.fails(capsys, path, "--preset", "512x512")

    @pytest.mark.parametrize(
        "names",
        [
            [],
            ["text_model.encoder.layers.0.self_attn.q_proj.weight"],
            ["control_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"],
            ["joint_blocks.0.x_block.attn.qkv.weight"],
            ["lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight"],
            ["input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"],
        ],
    )
    def test_no_unet(self, capsys, tmp_path, names):
        path = tmp_path / "other.safetensors"
        save_file({name: torch.zeros(4, 4) for name in names}, str(path))
        assert "other.safetensors holds no UNet" in self.fails(capsys, path, "--ratios", "0.1/0.1/0.1")

    @pytest.mark.parametrize(
        "ratios", ["0.1", "0.1/0.1", "a/b/c", "1/0/0", "0/nan/0", "0/0/1.5", "0/0/0/0/0", "0/0/0; 0/0/0", ""]
    )
    def test_bad_ratios(self, capsys, checkpoint, ratios):
        self.fails(capsys, checkpoint, "--ratios", ratios)

    @pytest.mark.parametrize("size", ["512", "512x", "x512", "0x512", "big", "-5x5", "512x512x512", ""])
    def test_a_bad_size(self, capsys, checkpoint, size):
        self.fails(capsys, checkpoint, f"--preset={size}")

    def test_a_family_without_presets(self, capsys, tmp_path):
        path = tmp_path / "refiner.safetensors"
        save_file(weights_of(SD1, "ldm", 1280, torch.float16), str(path))
        assert "no preset" in self.fails(capsys, path, "--preset", "512x512")
        assert inspect(capsys, path, "--ratios", "0.1/0.1/0.1")["family"] == "other"

    @pytest.mark.parametrize(("dtype", "name"), [(torch.int8, "int8"), (torch.float64, "torch.float64")])
    def test_other_storage(self, capsys, tmp_path, dtype, name):
        path = tmp_path / "model.safetensors"
        save_file(
            {name: weight.to(dtype) for name, weight in weights_of(SD1, "ldm", 768, torch.float16).items()}, str(path)
        )
        assert name in self.fails(capsys, path, "--ratios", "0.1/0.1/0.1")

    def test_weights_that_are_not_finite(self, capsys, tmp_path):
        """Their threshold could not be written as JSON."""
        tensors = weights_of(SD1, "ldm", 768, torch.float16)
        name = "model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.0.proj.weight"
        tensors[name] = torch.full_like(tensors[name], math.nan)
        path = tmp_path / "model.safetensors"
        save_file(tensors, str(path))
        assert "mid" in self.fails(capsys, path, "--ratios", "0.1/0.9/0.1", "--json")

    @pytest.mark.parametrize("arguments", [[], ["inspect"], ["search"],
                                           ["inspect", "x", "--ratios", "0/0/0", "--preset", "512x512"]])  # fmt: skip
    def test_a_wrong_command_line(self, capsys, arguments):
        with pytest.raises(SystemExit) as leaving:
            main(arguments)
        assert leaving.value.code == 2
        assert capsys.readouterr().err.startswith("usage: python -m crdiff")

    def test_an_interrupt(self, checkpoint, monkeypatch, capsys):
        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("crdiff.inspection.inspection.read_layers", interrupt)
        assert main(["inspect", str(checkpoint), "--ratios", "0/0/0"]) == 130
        assert capsys.readouterr() == ("", "")

    def test_a_python_without_torch(self, checkpoint, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "crdiff.inspection.inspection", None)
        assert main(["inspect", str(checkpoint), "--ratios", "0/0/0"]) == 2
        assert "environment" in capsys.readouterr().err


def module(*arguments: str, memory: bool = False) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; with ``memory`` it ends with its peak memory in KiB on stderr."""
    code = "import resource, sys; from crdiff.__main__ import main; status = main(sys.argv[1:]); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(status)"
    command = [sys.executable, "-c", code] if memory else [sys.executable, "-m", "crdiff"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *arguments], cwd=ROOT, env=alone, capture_output=True, text=True, check=False)


def test_as_a_module(checkpoint):
    done = module("inspect", str(checkpoint), "--ratios", "0.1/0.2/0.3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["family"] == "sd15"
    failed = module("inspect", "nowhere.safetensors", "--ratios", "0.1/0.2/0.3")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.count("\n") == 1


def test_help():
    overview, command = module("--help"), module("inspect", "--help")
    assert overview.returncode == command.returncode == 0
    assert "inspect" in overview.stdout
    assert all(option in command.stdout for option in ("--ratios", "--preset", "--hash", "--json"))


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB on Linux only")
def test_memory_does_not_grow_with_the_file(tmp_path, checkpoint):
    """400 MB, a hole in the file, next to a checkpoint of a few hundred kilobytes."""
    path = tmp_path / "large.safetensors"
    width = 4096
    header, offset = {}, 0
    for group in ("input_blocks.1", "output_blocks.1"):
        for depth in range(6):
            size = 2 * width * width
            name = f"{group}.1.transformer_blocks.{depth}.attn1.to_q.weight"
            header[name] = {"dtype": "F16", "shape": [width, width], "data_offsets": [offset, offset + size]}
            offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    assert path.stat().st_size > 400e6

    def peak(file: Path) -> int:
        done = module("inspect", str(file), "--ratios", "0.1/0.2/0.3", memory=True)
        assert done.returncode == 0
        return int(done.stderr) * 1024

    assert peak(path) - peak(checkpoint) < 150e6
