"""X/Y/Z plot: the same image for all combinations of up to three series of values.

Extensions find this module through ``scripts.scripts_data`` and add axes to ``axis_options``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from copy import copy
from io import StringIO
from itertools import product
from typing import Any

import gradio as gr
import numpy as np

import modules.scripts as scripts
import modules.shared as shared
from common.infotext_parse import quote
from modules import errors, images, processing, sd_models, sd_samplers, sd_schedulers
from modules.processing import Processed, process_images
from modules.shared import opts, state


def format_value(p: Any, opt: AxisOption, x: Any) -> str:
    return str(round(x, 8) if isinstance(x, float) else x)


def format_value_add_label(p: Any, opt: AxisOption, x: Any) -> str:
    return f"{opt.label}: {format_value(p, opt, x)}"


def format_nothing(p: Any, opt: AxisOption, x: Any) -> str:
    return ""


class AxisOption:
    """``type`` makes a value of its text, ``apply(p, x, xs)`` sets it, ``confirm(p, xs)`` may refuse all values."""

    def __init__(self, label: str, type: Any, apply: Callable, format_value: Callable = format_value_add_label,
                 confirm: Callable | None = None, cost: float = 0.0, choices: Callable | None = None,
                 prepare: Callable | None = None) -> None:
        self.label = label
        self.type = type
        self.apply = apply
        self.format_value = format_value
        self.confirm = confirm
        self.cost = cost
        self.choices = choices
        self.prepare = prepare


class AxisOptionTxt2Img(AxisOption):
    is_img2img = False


def apply_field(field: str) -> Callable:
    return lambda p, x, xs: setattr(p, field, x)


def apply_override(field: str) -> Callable:
    return lambda p, x, xs: p.override_settings.update({field: x})


def do_nothing(p: Any, x: Any, xs: list) -> None:
    pass


def apply_prompt(p: Any, x: str, xs: list[str]) -> None:
    if xs[0] not in p.prompt and xs[0] not in p.negative_prompt:
        raise RuntimeError(f"Prompt S/R did not find {xs[0]} in prompt or negative prompt.")
    p.prompt = p.prompt.replace(xs[0], x)
    p.negative_prompt = p.negative_prompt.replace(xs[0], x)


def apply_checkpoint(p: Any, x: str, xs: list[str]) -> None:
    info = sd_models.get_closet_checkpoint_match(x)
    if info is None:
        raise RuntimeError(f"Unknown checkpoint: {x}")
    p.override_settings["sd_model_checkpoint"] = info.name


def confirm_samplers(p: Any, xs: list[str]) -> None:
    for x in xs:
        if x.lower() not in sd_samplers.samplers_map:
            raise RuntimeError(f"Unknown sampler: {x}")


def _samplers() -> list[str]:
    return [x.name for x in sd_samplers.samplers]


axis_options = [
    AxisOption("Nothing", str, do_nothing, format_value=format_nothing),
    AxisOption("Seed", int, apply_field("seed")),
    AxisOption("Steps", int, apply_field("steps")),
    AxisOptionTxt2Img("Hires steps", int, apply_field("hr_second_pass_steps")),
    AxisOption("CFG Scale", float, apply_field("cfg_scale")),
    AxisOption("Prompt S/R", str, apply_prompt, format_value=format_value),
    AxisOption("Sampler", str, apply_field("sampler_name"), format_value=format_value, confirm=confirm_samplers,
               choices=_samplers),
    AxisOption("Checkpoint name", str, apply_checkpoint, format_value=format_value, cost=1.0,
               choices=lambda: sorted(sd_models.checkpoints_list, key=str.casefold)),
    AxisOption("Schedule type", str, apply_field("scheduler"),
               choices=lambda: [x.label for x in sd_schedulers.schedulers]),
    AxisOption("Denoising", float, apply_field("denoising_strength")),
    AxisOption("Token merging ratio", float, apply_override("token_merging_ratio")),
    AxisOption("Refiner switch at", float, apply_field("refiner_switch_at")),
]

_NUMBER = r"\s*([+-]?\s*\d+(?:\.\d*)?)\s*"
re_range_float = re.compile(rf"{_NUMBER}-{_NUMBER}(?:\(([+-]\d+(?:\.\d*)?)\s*\)|\[(\d+)\s*\])?\s*")


def csv_string_to_list_strip(text: str) -> list[str]:
    return [x.strip() for row in csv.reader(StringIO(text), skipinitialspace=True) for x in row]


def expand_numbers(values: list[str], kind: type) -> list[Any]:
    """``1-5``, ``1-5 (+2)`` and ``1-10 [5]`` are ranges: by ones, by a step, by a number of values."""
    expanded: list[Any] = []
    for text in values:
        match = re_range_float.fullmatch(text)
        if not text.strip():
            continue
        if match is None:
            expanded.append(text)
            continue
        start, end = (float(x.replace(" ", "")) for x in match.group(1, 2))
        if match.group(4):
            expanded += np.linspace(start, end, int(match.group(4))).tolist()
        else:
            step = float(match.group(3) or 1)
            expanded += np.arange(start, end + step * (1 if kind is float else 0.5), step).tolist()
    return expanded


class Script(scripts.Script):
    def title(self) -> str:
        return "X/Y/Z plot"

    def ui(self, is_img2img: bool) -> list:
        fitting = [x for x in axis_options if getattr(x, "is_img2img", is_img2img) == is_img2img]
        self.current_axis_options = fitting
        labels = [x.label for x in fitting]
        controls: list[Any] = []
        for axis, default in (("x", 1), ("y", 0), ("z", 0)):
            name = axis.upper()
            with gr.Row():
                controls += [
                    gr.Dropdown(label=f"{name} type", choices=labels, value=labels[default], type="index",
                                elem_id=self.elem_id(f"{axis}_type")),
                    gr.Textbox(label=f"{name} values", lines=1, elem_id=self.elem_id(f"{axis}_values")),
                    gr.Dropdown(label=f"{name} values", visible=False, multiselect=True, interactive=True),
                ]
        boxes = (("Draw legend", True), ("Include Sub Images", False), ("Include Sub Grids", False),
                 ("Keep -1 for seeds", False), ("Vary seeds for X", False), ("Vary seeds for Y", False),
                 ("Vary seeds for Z", False))
        with gr.Row():
            for label, value in boxes:
                identity = label.lower().replace(" ", "_")
                controls.append(gr.Checkbox(label=label, value=value, elem_id=self.elem_id(identity)))
        controls.append(gr.Slider(label="Grid margins (px)", minimum=0, maximum=500, value=0, step=2,
                                  elem_id=self.elem_id("margin_size")))
        csv_mode = gr.Checkbox(label="Use text inputs instead of dropdowns", value=False,
                               elem_id=self.elem_id("csv_mode"))
        controls.append(csv_mode)
        for index in range(0, 9, 3):
            kind, text, chosen = controls[index : index + 3]
            for changed in (kind, csv_mode):
                changed.change(fn=self._inputs_for, inputs=[kind, csv_mode], outputs=[text, chosen])
        return controls

    def _inputs_for(self, kind: int | None, csv_mode: bool) -> tuple:
        """An axis with a list of choices is filled from the list, unless text is wanted everywhere."""
        choices = self.current_axis_options[kind or 0].choices
        listed = choices is not None and not csv_mode
        return gr.update(visible=not listed), gr.update(visible=listed, choices=choices() if choices else [], value=[])

    def _values(self, p: Any, opt: AxisOption, text: str, chosen: list[str], csv_mode: bool) -> list[Any]:
        if opt.label == "Nothing":
            return [0]
        if opt.choices is not None and not csv_mode:
            values = list(chosen)
        else:
            values = opt.prepare(text) if opt.prepare is not None else csv_string_to_list_strip(text)
        if opt.type in (int, float):
            values = expand_numbers(values, opt.type)
        values = [opt.type(x) for x in values]
        if opt.confirm:
            opt.confirm(p, values)
        return values

    def run(self, p: Any, *args: Any) -> Processed:
        axes, flags = args[:9], args[9:]
        _legend, include_lone_images, include_sub_grids, no_fixed_seeds, *vary, _margin, csv_mode = flags
        if not no_fixed_seeds:
            processing.fix_seed(p)
        if not opts.return_grid:
            p.batch_size = 1
        options = [self.current_axis_options[axes[i] or 0] for i in range(0, 9, 3)]
        values = [self._values(p, opt, axes[3 * i + 1], axes[3 * i + 2], csv_mode) for i, opt in enumerate(options)]
        state.job_count = len(values[0]) * len(values[1]) * len(values[2]) * p.n_iter
        try:
            cells = self._draw_cells(p, options, values, vary)
        finally:
            sd_models.reload_model_weights()
        return self._arrange(p, options, values, cells, include_lone_images, include_sub_grids)

    def _cell(self, p: Any, options: list[AxisOption], values: list[list], place: tuple, vary: list) -> Processed:
        if state.interrupted or state.stopping_generation:
            return Processed(p, [], p.seed, "")
        # A shallow copy: dicts like extra_generation_params stay shared between all cells.
        pc = copy(p)
        pc.styles = pc.styles[:]
        for opt, xs, index in zip(options, values, place):
            opt.apply(pc, xs[index], xs)
        stride = 1
        for index, xs, varied in zip(place, values, vary):
            if varied:
                pc.seed += index * stride
                stride *= len(xs)
        try:
            return process_images(pc)
        except Exception as e:
            errors.display(e, "generating image for xyz plot")
            return Processed(p, [], p.seed, "")

    def _draw_cells(self, p: Any, options: list[AxisOption], values: list[list], vary: list) -> dict:
        """The axis that is slowest to change goes into the outermost loop."""
        order = sorted(range(3), key=lambda i: (-options[i].cost, -i))
        cells: dict[tuple[int, int, int], Processed] = {}
        total = len(values[0]) * len(values[1]) * len(values[2])
        for number, indexes in enumerate(product(*(range(len(values[i])) for i in order))):
            state.job = f"{number + 1} out of {total}"
            by_axis = dict(zip(order, indexes))
            place = (by_axis[0], by_axis[1], by_axis[2])
            cells[place] = self._cell(p, options, values, place, vary)
        return cells

    def _arrange(self, p: Any, options: list[AxisOption], values: list[list], cells: dict, lone: bool,
                 sub_grids: bool) -> Processed:
        """A grid for each z, one of all, and the single images when wanted."""
        columns, rows, sheets = (range(len(v)) for v in values)
        order = [cells[x, y, z] for z in sheets for y in rows for x in columns]
        drawn = [x for x in order if x.images]
        if not drawn:
            print("Unexpected error: no images in the X/Y/Z plot")
            return Processed(p, [])
        result = copy(drawn[0])
        blank = drawn[0].images[0].copy()
        blank.paste(0, (0, 0, *blank.size))
        shown = [x.images[0] if x.images else blank for x in order]
        texts = [x.infotexts[0] if x.images else "" for x in order]
        per_sheet = len(columns) * len(rows)
        grids = [images.image_grid(shown[i : i + per_sheet], rows=len(rows))
                 for i in range(0, len(shown), per_sheet)]
        main = images.image_grid(grids, rows=len(grids))
        extra = [("Script", self.title())]
        for name, opt, xs in zip("XYZ", options, values):
            if opt.label != "Nothing":
                extra += [(f"{name} Type", opt.label), (f"{name} Values", ", ".join(str(x) for x in xs))]
        marks = ", ".join(f"{k}: {quote(v)}" for k, v in extra)
        grid_texts = [f"{texts[i]}, {marks}" for i in range(0, len(texts), per_sheet)]
        keep = 1 + (len(grids) if sub_grids else 0)
        heads = [main, *grids][:keep]
        for image, text in zip(heads, [grid_texts[0], *grid_texts]):
            image.info["parameters"] = text
        result.images = heads + (shown if lone else [])
        result.infotexts = [grid_texts[0], *grid_texts][:keep] + (texts if lone else [])
        result.index_of_first_image = 1
        result.all_seeds = [x.seed for x in order]
        result.all_prompts = [x.prompt for x in order]
        shared.total_tqdm.clear()
        return result
