"""The API, infotexts, settings, and what scripts find around them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import inside
import pytest
from inside import draw, draw_with

WEBUI = Path(__file__).resolve().parents[2] / "demo" / "webui"


def script_info(host: Any) -> dict[str, Any]:
    infos = {("img2img" if x["is_img2img"] else "txt2img"): x for x in host.get("script-info") if x["name"] == "probe"}
    return {"names": host.get("scripts"), "info": infos["txt2img"]}


def test_script_info(either: Any) -> None:
    seen = either.run(script_info)
    assert "probe" in seen["names"]["txt2img"] and "x/y/z plot" in seen["names"]["txt2img"]
    mode, number = seen["info"]["args"]
    assert (mode["label"], mode["value"]) == ("Mode", "off")
    assert (number["minimum"], number["maximum"], number["step"], number["value"]) == (0, 10, 1, 3)


@pytest.mark.parametrize(("name", "args", "expected"), [
    ("Probe", [], ("off", 3)), ("pRoBe", ["on"], ("on", 3)), ("probe", ["on", 7], ("on", 7)),
    ("probe", ["on", 7, 8, 9], ("on", 7)),
])
def test_arguments(either: Any, name: str, args: list, expected: tuple) -> None:
    events = either.run(draw, alwayson_scripts={name: {"args": args}})["events"]
    assert next(event[1:] for event in events if event[0] == "process") == expected


def failing_request(host: Any, **fields: Any) -> tuple:
    try:
        host.txt2img(fields)
    except RuntimeError as e:
        return e.status_code, e.body.get("detail")
    return 200, None


@pytest.mark.parametrize(("fields", "status"), [
    ({"alwayson_scripts": {"nothing": {"args": []}}}, 422),
    ({"alwayson_scripts": {"x/y/z plot": {"args": []}}}, 422),
    ({"script_name": "nothing"}, 422),
])
def test_refused_requests(either: Any, fields: dict, status: int) -> None:
    code, detail = either.run(failing_request, **fields)
    assert code == status and detail


def rich_infotext(host: Any) -> dict[str, Any]:
    def fill(p: Any, rest: Any) -> None:
        p.extra_generation_params.update({
            "Probe number": 8, "Listed": ["one", "two"], "Asked": lambda p, index, **_: f"{p.steps}/{index}",
            "Quoted": "a, b: c", "Broken": lambda **_: 1 / 0, "Nothing": None,
        })
        p.comment("a comment")

    seen = draw_with(host, {"process": fill}, batch_size=2, override_settings={"return_grid": False})
    from modules.infotext_utils import parse_generation_parameters

    text = host.txt2img(seed=3).images[0].info["parameters"]
    return {"infotexts": seen["infotexts"], "text": text, "parsed": parse_generation_parameters(text)}


def test_infotexts(either: Any) -> None:
    seen = either.run(rich_infotext)
    first, second = seen["infotexts"]
    for part in ("Probe number: 8", "Listed: one", "Asked: 4/0", 'Quoted: "a, b: c"'):
        assert part in first
    assert "Listed: two" in second and "Asked: 4/1" in second
    assert "Broken" not in first and "Nothing" not in first
    assert seen["parsed"]["Seed"] == "3"
    assert seen["text"].startswith("a small red house\n")


def pasted(host: Any) -> list[Any]:
    text = "a house\nSteps: 2, Sampler: Euler, CFG scale: 4, Seed: 9, Size: 64x64, Probe number: 6"
    found = []
    for args in ([], ["on", 1]):
        events = draw(host, infotext=text, alwayson_scripts={"probe": {"args": args}})["events"]
        found.append(next(event[1:] for event in events if event[0] == "process"))
    return found


def test_infotext_fills_script_arguments(either: Any) -> None:
    if not either.run(has_paste_fields):
        pytest.skip("the page, which names the fields, is not part of a headless host")
    assert either.run(pasted) == [("off", 6), ("on", 1)]


def has_paste_fields(host: Any) -> bool:
    from modules import infotext_utils

    return bool(infotext_utils.paste_fields.get("txt2img"))


def surroundings(host: Any) -> dict[str, Any]:
    from modules import script_loading, scripts

    module = next(m for path, m in script_loading.loaded_scripts.items() if path.endswith("probe.py"))
    package = inside.probe()
    folder = str(Path(package.__file__).parents[1])
    return {"folder": folder, "basedir": module.BASEDIR, "first": module.PATH_HERE[0], "name": module.__name__,
            "still": folder in sys.path, "basedir_now": scripts.basedir(), "networks": "networks" in sys.modules,
            "backend": importable("backend"), "modules_forge": importable("modules_forge"), "ldm": importable("ldm")}


def importable(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def test_surroundings_of_a_script(either: Any) -> None:
    seen = either.run(surroundings)
    forge = either.flavour == "forge"
    assert seen["folder"] == seen["basedir"] == seen["first"]
    assert seen["name"] == "probe.py"
    assert seen["still"] is forge
    assert seen["basedir_now"] != seen["folder"]
    assert seen["networks"]
    assert (seen["backend"], seen["modules_forge"], seen["ldm"]) == (forge, forge, not forge)


def plot(host: Any) -> dict[str, Any]:
    from modules import scripts

    module = next(x.module for x in scripts.scripts_data if x.script_class.__module__ == "xyz_grid.py")
    seen: list[Any] = []
    axis = module.AxisOption("[Probe] value", float, lambda p, x, xs: setattr(p, "probe_value", x))
    if not any(x.label == axis.label for x in module.axis_options):
        module.axis_options.append(axis)
    host.reload_script_info = None
    runner = scripts.scripts_txt2img
    script = next(x for x in runner.selectable_scripts if x.title() == "X/Y/Z plot")
    script.current_axis_options = [x for x in module.axis_options if getattr(x, "is_img2img", False) is False]
    labels = [x.label for x in script.current_axis_options]
    probe = inside.probe()
    probe.clear()
    probe.actions["process"] = lambda p, rest: seen.append((p.probe_value, p.steps))
    args = [labels.index("[Probe] value"), "0-2", [], labels.index("Steps"), "1, 2", [], 0, "", [],
            False, True, False, False, False, False, False, 0, True]
    result = host.txt2img(script_name="X/Y/Z plot", script_args=args)
    probe.clear()
    return {"seen": seen, "count": len(result.images), "grid": result.infotexts[0], "size": result.images[0].size}


def test_plot(either: Any) -> None:
    seen = either.run(plot)
    assert seen["seen"] == [(x, y) for y in (1, 2) for x in (0.0, 1.0, 2.0)]
    assert seen["count"] == 7
    assert seen["size"] == (192, 128)
    assert "X Type: [Probe] value" in seen["grid"]


def saved_files(host: Any, folder: str) -> tuple:
    from PIL import Image

    host.shared.opts.outdir_txt2img_samples = folder
    seen = draw(host, save_images=True)
    files = sorted(Path(folder).glob("*.png"))
    return len(files), Image.open(files[0]).info["parameters"] == seen["infotexts"][0], inside.hooks(seen["events"])


def test_saving(either: Any, tmp_path: Path) -> None:
    count, same, names = either.run(saved_files, str(tmp_path))
    assert count == 1 and same and "image_saved" in names


SECOND_HOST = """
import importlib.util, sys
from pathlib import Path
webui = Path(sys.argv[1])
sys.path.insert(0, str(webui / "a1111"))
import modules.shared
assert modules.shared.opts is not None
folder = webui / "forge" / "modules"
spec = importlib.util.spec_from_file_location("again", folder / "__init__.py", submodule_search_locations=[str(folder)])
try:
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
except ImportError as e:
    print("refused:", e)
"""


def test_one_process_holds_one_host(tmp_path: Path) -> None:
    """A root on ``sys.path`` is enough to import a host, but a second one is refused."""
    command = [sys.executable, "-c", SECOND_HOST, str(WEBUI)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "refused:" in done.stdout


@pytest.mark.full
@pytest.mark.parametrize("flavour", ["a1111", "forge"])
def test_launched(flavour: str, models: Path, tmp_path: Path) -> None:
    """The command line: starts, answers, and ends when told to."""
    import json
    import socket
    import time
    import urllib.request

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, str(WEBUI / "launch.py"), "--host-flavour", flavour, "--port", str(port), "--models",
               str(models), "--data", str(tmp_path), "--api"]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path)
    try:
        body = json.dumps({"prompt": "x", "steps": 1, "width": 64, "height": 64}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/sdapi/v1/txt2img", body,
                                         {"Content-Type": "application/json"})
        for _ in range(1200):
            assert process.poll() is None, (tmp_path / "log.txt").read_text()
            try:
                with urllib.request.urlopen(request) as answer:
                    assert len(json.load(answer)["images"]) == 1
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail((tmp_path / "log.txt").read_text())
    finally:
        process.terminate()
        process.wait(30)
    assert "Startup time" in (tmp_path / "log.txt").read_text()
