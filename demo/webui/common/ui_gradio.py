"""What hosts change in gradio so that extensions see every component made, and old calls work on gradio 4.

Importing this changes gradio for the process, once.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import gradio as gr

from modules import script_callbacks, scripts

GRADIO_4 = int(gr.__version__.split(".")[0]) >= 4


class UnknownArgumentWarning(DeprecationWarning):
    """An argument this version of gradio does not know was left out."""


def _mark(component: Any) -> None:
    """Adds the class ``gradio-<kind>`` that hosts' style sheets go by."""
    classes = getattr(component, "elem_classes", None) or []
    component.elem_classes = [f"gradio-{component.get_block_name()}", *classes]
    if getattr(component, "multiselect", False):
        component.elem_classes.append("multiselect")


def _announced(original: Callable) -> Callable:
    """Tells scripts and callbacks about a component before and after it is made."""

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        self.webui_tooltip = kwargs.pop("tooltip", None)
        runner = scripts.scripts_current
        if runner is not None:
            runner.before_component(self, **kwargs)
        script_callbacks.before_component_callback(self, **kwargs)
        original(self, *args, **kwargs)
        _mark(self)
        script_callbacks.after_component_callback(self, **kwargs)
        if runner is not None:
            runner.after_component(self, **kwargs)

    return init


def _with_tooltip(original: Callable) -> Callable:
    @functools.wraps(original)
    def get_config(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        config = original(self, *args, **kwargs)
        if getattr(self, "webui_tooltip", None):
            config["webui_tooltip"] = self.webui_tooltip
        return config

    return get_config


def _takes_old_script_name(listener: Callable) -> Callable:
    """``_js=`` is what ``js=`` was called in gradio 3."""

    @functools.wraps(listener)
    def trigger(*args: Any, _js: str | None = None, **kwargs: Any) -> Any:
        if _js is not None:
            kwargs["js"] = _js
        return listener(*args, **kwargs)

    return trigger


def _takes_old_arguments(component_class: type) -> None:
    """Leaves out what gradio 4 no longer knows, and puts the one-source argument in its new place."""
    original = component_class.__init__
    parameters = inspect.signature(original).parameters
    takes_any = any(x.kind is inspect.Parameter.VAR_KEYWORD for x in parameters.values())

    @functools.wraps(original)
    def init(self: Any, *args: Any, tooltip: str | None = None, source: str | None = None, **kwargs: Any) -> None:
        if source is not None:
            kwargs["sources"] = [source]
        unknown = [] if takes_any else [name for name in kwargs if name not in parameters]
        for name in unknown:
            del kwargs[name]
            text = f"{component_class.__name__} does not know the argument {name}"
            warnings.warn(text, UnknownArgumentWarning, stacklevel=2)
        original(self, *args, **kwargs)
        self.webui_tooltip = tooltip

    component_class.__init__ = init
    component_class.update = staticmethod(gr.update)


def _component_classes() -> list[type]:
    """Every class of gradio's that has events, each once."""
    found: list[type] = []
    for module in (gr.components, gr.layouts):
        for name in module.__all__:
            candidate = getattr(module, name)
            if inspect.isclass(candidate) and getattr(candidate, "EVENTS", None) and candidate not in found:
                found.append(candidate)
    return found


def _adapt_gradio_4() -> None:
    import gradio.component_meta
    import gradio.events

    # Else every subclass of a component gets a stub file written beside its source, and its arguments recorded twice.
    gradio.component_meta.create_or_modify_pyi = lambda *_: None
    gradio.component_meta.updateable = lambda init: init

    setup = gradio.events.EventListener._setup
    gradio.events.EventListener._setup = staticmethod(lambda *args: _takes_old_script_name(setup(*args)))
    for component_class in _component_classes():
        for event in component_class.EVENTS:
            setattr(component_class, str(event), _takes_old_script_name(getattr(component_class, str(event))))
        _takes_old_arguments(component_class)
    gr.Box = gr.Group


def _install() -> None:
    base = gr.components.Component if GRADIO_4 else gr.components.IOComponent
    if hasattr(base, "webui_announces"):
        return
    base.webui_announces = True
    if GRADIO_4:
        _adapt_gradio_4()
    base.__init__ = _announced(base.__init__)
    gr.blocks.BlockContext.__init__ = _announced(gr.blocks.BlockContext.__init__)
    gr.blocks.Block.get_config = _with_tooltip(gr.blocks.Block.get_config)


_install()
