"""``python -m demo.train {vae,unet,checkpoint,scorer,all}`` trains parts and writes them into ``demo/checkpoint``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from common.checkpoints import save_checkpoint
from common.nn.vae import ConvAutoencoder

from crdiff import console
from demo.scenes.scorer import load_scorer, save_scorer
from demo.train.recipe import VAE_WIDTHS, Recipe, model_config
from demo.train.scorer import SIZES, ScorerRecipe, accuracy, train_scorer
from demo.train.unet import Both, make_latents, train_unet
from demo.train.vae import train_vae

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "demo" / "checkpoint" / "crdiff-demo.safetensors"
SCORER = ROOT / "demo" / "checkpoint" / "scene-scorer.safetensors"


def main() -> None:
    """Runs the parts asked for; each reads what the one before it left in the work folder."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=__doc__)
    parser.add_argument("part", choices=("vae", "unet", "checkpoint", "scorer", "all"), nargs="?", default="all")
    parser.add_argument("--steps", type=int, help="UNet steps instead of the recipe's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache" / "demo" / "train", help="folder for the parts")
    parser.add_argument("--out", type=Path, default=CHECKPOINT)
    parser.add_argument("--scorer", type=Path, default=SCORER)
    options = parser.parse_args()
    recipe = Recipe() if options.steps is None else replace(Recipe(), steps=options.steps)
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)

    def report(line: str) -> None:
        print(line, flush=True)

    if options.part in ("vae", "all"):
        vae = train_vae(recipe, options.device, report)
        torch.save({"weights": vae.state_dict(), "scale": vae.scale_factor}, work / "vae.pt")
    if options.part in ("unet", "all"):
        latents = make_latents(read_vae(work).to(options.device), recipe, options.device)
        both = train_unet(latents, recipe, options.device, work / "unet-state.pt", report)
        torch.save(both.state_dict(), work / "unet.pt")
    if options.part in ("checkpoint", "all"):
        vae, both = read_vae(work), Both()
        both.load_state_dict(torch.load(work / "unet.pt", weights_only=True, map_location="cpu"))
        save_checkpoint(options.out, model_config(vae.scale_factor), both.unet, both.text, vae, torch.float16)
        report(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")
    if options.part in ("scorer", "all"):
        vae = read_vae(work).eval()
        save_scorer(train_scorer(vae, ScorerRecipe(), report), options.scorer)
        scorer = load_scorer(options.scorer)
        for size in SIZES:
            drawn, decoded = (accuracy(scorer, through, size, 300, seed=7) for through in (None, vae))
            report(f"scorer {size[0]}x{size[1]}: {drawn:.1%} of drawn, {decoded:.1%} of decoded scenes right")


def read_vae(work: Path) -> ConvAutoencoder:
    """The autoencoder trained before."""
    saved = torch.load(work / "vae.pt", weights_only=True, map_location="cpu")
    vae = ConvAutoencoder(VAE_WIDTHS, saved["scale"])
    vae.load_state_dict(saved["weights"])
    return vae


if __name__ == "__main__":
    main()
