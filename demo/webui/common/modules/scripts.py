"""Script files: finding them, loading them in order, and the two tabs' runners."""

from __future__ import annotations

import inspect
import os
import sys
from collections import namedtuple
from types import ModuleType

import standin_flavour as flavour
from common.config import WEBUI_DIR
from common.host.script_base import (  # noqa: F401
    AlwaysVisible, MaskBlendArgs, OnComponent, PostProcessMaskOverlayArgs, PostprocessBatchListArgs,
    PostprocessImageArgs, PostSampleArgs, Script,
)
from common.host.script_runner import ScriptRunner, wrap_call  # noqa: F401
from modules import errors, extensions, paths, script_callbacks, script_loading

ScriptFile = namedtuple("ScriptFile", ["basedir", "filename", "path"])
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])

current_basedir = paths.script_path
scripts_data: list[ScriptClassData] = []
postprocessing_scripts_data: list[ScriptClassData] = []
scripts_txt2img: ScriptRunner | None = None
scripts_img2img: ScriptRunner | None = None
scripts_current: ScriptRunner | None = None


def basedir() -> str:
    """The folder of the extension whose script is being loaded; later, the host's own."""
    return current_basedir


def _host_files(dirname: str, suffix: str) -> list[ScriptFile]:
    files = []
    for root in (os.path.join(paths.script_path, dirname), os.path.join(WEBUI_DIR, "common", dirname)):
        for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
            path = os.path.join(root, name)
            if os.path.isfile(path) and os.path.splitext(name)[1].lower() == suffix:
                files.append(ScriptFile(paths.script_path, name, path))
    return files


def list_scripts(scriptdirname: str, extension: str, *, include_extensions: bool = True) -> list[ScriptFile]:
    """The host's files, then those of the extensions by folder name."""
    own = _host_files(scriptdirname, extension)
    return own + [file for ext in extensions.active() for file in ext.list_files(scriptdirname, extension)]


def list_files_with_name(filename: str) -> list[str]:
    folders = [paths.script_path, *(ext.path for ext in extensions.active())]
    found = [os.path.join(folder, filename) for folder in folders]
    return [path for path in found if os.path.isfile(path)]


def _register(module: ModuleType, file: ScriptFile) -> None:
    for value in list(module.__dict__.values()):
        if inspect.isclass(value) and issubclass(value, Script):
            scripts_data.append(ScriptClassData(value, file.path, file.basedir, module))


def load_scripts() -> None:
    """Runs every script file anew. What a script imported stays in ``sys.modules`` from an earlier load."""
    global current_basedir, scripts_txt2img, scripts_img2img
    scripts_data.clear()
    postprocessing_scripts_data.clear()
    script_callbacks.clear_callbacks()
    files = list_scripts("scripts", ".py")
    if flavour.KEEPS_SCRIPT_DIRS_ON_PATH:
        for file in files:
            if file.basedir not in sys.path:
                sys.path = [file.basedir, *sys.path]
    base_path = sys.path
    for file in files:
        try:
            if file.basedir != paths.script_path:
                sys.path = [file.basedir, *base_path]
            current_basedir = file.basedir
            _register(script_loading.load_module(file.path), file)
        except Exception:
            errors.report(f"Error loading script: {file.filename}", exc_info=True)
        finally:
            sys.path = base_path
            current_basedir = paths.script_path
    scripts_txt2img = ScriptRunner()
    scripts_img2img = ScriptRunner()
