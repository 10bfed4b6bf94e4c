"""The scripts and style sheets of the page: the host's, then the extensions', in the order scripts are loaded in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gradio as gr

from common.config import WEBUI_DIR
from modules import extensions, scripts
from modules.paths import data_path

HOST_FILES = Path(WEBUI_DIR) / "javascript"
_original = gr.routes.templates.TemplateResponse


def webpath(path: str | os.PathLike[str]) -> str:
    """The address of a file; its time of change keeps browsers from showing an old one."""
    return f"file={os.fspath(path)}?{Path(path).stat().st_mtime}"


def javascript_html() -> str:
    # The names other scripts use are defined by host.js.
    own = sorted(HOST_FILES.glob("*.js"), key=lambda path: (path.name != "host.js", path.name))
    classic = [*own, *(script.path for script in scripts.list_scripts("javascript", ".js"))]
    modern = [script.path for script in scripts.list_scripts("javascript", ".mjs")]
    tags = [f'<script type="text/javascript" src="{webpath(path)}"></script>' for path in classic]
    return "\n".join([*tags, *(f'<script type="module" src="{webpath(path)}"></script>' for path in modern)])


def css_html() -> str:
    sheets = [*sorted(HOST_FILES.glob("*.css")), *scripts.list_files_with_name("style.css")]
    return "".join(f'<link rel="stylesheet" property="stylesheet" href="{webpath(path)}">' for path in sheets)


def script_folders() -> list[str]:
    """The folders that the page's scripts and style sheets come from."""
    return [str(HOST_FILES), *(extension.path for extension in extensions.active())]


def allowed_paths() -> list[str]:
    """The folders the page's files come from, which gradio has to be told."""
    return [str(data_path), *script_folders()]


def reload_javascript() -> None:
    """Has every page sent from now on carry the present scripts and style sheets."""
    head, tail = javascript_html(), css_html()

    def template_response(*args: Any, **kwargs: Any) -> Any:
        response = _original(*args, **kwargs)
        body = response.body.replace(b"</head>", f"{head}</head>".encode())
        response.body = body.replace(b"</body>", f"{tail}</body>".encode())
        response.init_headers()
        return response

    gr.routes.templates.TemplateResponse = template_response
