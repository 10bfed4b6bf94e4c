"""The options of ``python -m crdiff evaluate``, and what its help says."""

from __future__ import annotations

import argparse
from pathlib import Path

from crdiff.evaluation.candidates import SHIFT
from crdiff.evaluation.metrics.registry import FID, FID_LABEL, METRICS
from crdiff.evaluation.paper import TABLES
from crdiff.evaluation.ways import WAYS
from crdiff.search.options import add_sampling_options, add_webui_options

HELP = "measure whether CR-Diff helps a model, against cheaper ways, with intervals and images"

DESCRIPTION = """\
Draw the same prompts and seeds in several ways, score them, and write a report: tables with 95 % intervals and the
images side by side. Drawn by diffusers from a checkpoint (--model), or by a running WebUI with this extension (--url).

The same command resumes where an earlier one ended, however it ended, and draws nothing twice; more prompts, seeds,
sizes, ways or metrics only add to it."""

EXAMPLES = f"""\
ways:
{chr(10).join(f"  {name:16} {kind.help}" for name, kind in WAYS.items())}
  best-of draws its further images from the seeds that lie multiples of {SHIFT} after those given.
  Settings follow a way after colons: crdiff:k=2, crdiff:criterion=wanda, attenuation:ratios=0.1/0.1/0.1.

metrics:
{chr(10).join(f"  {name:16} {kind.label}" for name, kind in METRICS.items())}
  {FID:16} {FID_LABEL}, from --reference
  FILE.py          a score of your own: score(images, prompt)

tables and figures of the paper, whose figures are shown beside one's own:
{chr(10).join(f"  {name:12} {table.title}" for name, table in TABLES.items())}

examples:
  python -m crdiff evaluate --model sd_xl_base_1.0.safetensors --sizes 512x512 400x560 --out evaluation
  python -m crdiff evaluate --url http://127.0.0.1:7860 --sizes 400x560 --ways dense crdiff crdiff:k=2 --out evaluation
  python -m crdiff evaluate --model model.safetensors --prompts captions_val2014.json --n 500 --seeds 42 --no-images \\
      --sizes 512x512 --metrics imagereward-256 clip --out evaluation
  python -m crdiff evaluate --model sd_xl_base_1.0.safetensors --paper table1 --prompts captions_val2014.json --n 500 \\
      --metrics imagereward-256 --out evaluation"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All of them."""
    local = parser.add_argument_group("without a WebUI")
    local.add_argument(
        "--model", type=Path, metavar="FILE", help="checkpoint, or a folder of diffusers; drawn by diffusers"
    )
    local.add_argument("--device", help="such as cuda:1 or cpu (default: a GPU where there is one)")
    local.add_argument("--precision", choices=["float16", "bfloat16", "float32"], help="(default: float16 on a GPU)")
    add_webui_options(parser, "evaluate")

    images = parser.add_argument_group("the images")
    images.add_argument(
        "--prompts", metavar="FILE",
        help="one per line, or JSON: captions, or COCO's captions_val2014.json (default: 64 neutral ones of CR-Diff)",
    )  # fmt: skip
    images.add_argument(
        "--paper", choices=list(TABLES), help="sizes, ways and metrics of a table or figure of the paper, see below"
    )
    images.add_argument("--n", type=int, help="the first N prompts (default: all)")
    images.add_argument("--sizes", nargs="+", default=[], metavar="HEIGHTxWIDTH")
    images.add_argument("--seeds", nargs="+", type=int, default=[42], metavar="SEED", help="(default: 42)")
    images.add_argument(
        "--seed-step", type=int, default=0, metavar="N",
        help="seeds of the next prompt are higher by N, so that each has noises of its own (default: 0, the same ones)",
    )  # fmt: skip
    images.add_argument("--ways", nargs="+", metavar="WAY", help="see below (default: dense pruned crdiff)")
    images.add_argument("--preset", default="auto", help="of CR-Diff: auto or the name of one (default: %(default)s)")
    images.add_argument(
        "--presets", type=Path, metavar="FOLDER", help="with the presets.json of a WebUI, beside the built-in presets"
    )
    images.add_argument("--ratios", metavar="DOWN/MID/UP", help="of CR-Diff, in place of a preset")
    images.add_argument("--k", type=float, help="(default: the preset's, else 1.5)")
    images.add_argument(
        "--calibrate", action="store_true",
        help="calibrate the model first, with 16 images, where the criterion of a way needs a calibration it lacks",
    )  # fmt: skip
    add_sampling_options(images)

    output = parser.add_argument_group("the output")
    output.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="report.html, report.json, images, journal"
    )
    output.add_argument("--metrics", nargs="+", metavar="METRIC", help="see below (default: none)")
    output.add_argument(
        "--best-by", metavar="METRIC", help="what best-of-2 and best-of-4 choose by (default: the first of --metrics)"
    )
    output.add_argument(
        "--weights", type=Path, metavar="FOLDER", help="where those of metrics lie, beside the usual caches"
    )
    output.add_argument(
        "--reference", type=Path, metavar="SET", help="of FID: a folder of images, or an .npz of pytorch-fid"
    )
    output.add_argument("--download", action="store_true", help="fetch missing weights of metrics, and check them")
    output.add_argument("--shard", default="1/1", metavar="NUMBER/OF", help="draw a share, such as 2/8")
    output.add_argument("--merge", type=Path, nargs="+", metavar="FOLDER", help="only report what was drawn in these")
    output.add_argument("--no-images", action="store_true", help="score images and do not keep them")
    output.add_argument(
        "--shown", type=int, default=12, help="prompts of a size shown in the report (default: %(default)s)"
    )
