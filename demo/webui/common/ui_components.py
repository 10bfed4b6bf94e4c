"""The components hosts add to gradio's, with the hosts' names, arguments and element ids."""

from __future__ import annotations

from functools import wraps
from typing import Any

import gradio as gr

from common import config as _config
from common import ui_gradio  # changes gradio, and must come before the classes below

# gradio 4 sends a page those values that a constructor names, hence the `wraps` of the constructors below.


class FormComponent:
    """Joins its neighbours into one framed form."""

    def get_expected_parent(self) -> Any:
        return gr.components.Form


gr.Dropdown.get_expected_parent = FormComponent.get_expected_parent


class ToolButton(FormComponent, gr.Button):
    """A small button that carries one sign."""

    @wraps(gr.Button.__init__)
    def __init__(self, value: str = "", *args: Any, elem_classes: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(value, *args, elem_classes=["tool", *(elem_classes or [])], **kwargs)

    def get_block_name(self) -> str:
        return "button"


class FormRow(FormComponent, gr.Row):
    def get_block_name(self) -> str:
        return "row"


class FormGroup(FormComponent, gr.Group):
    def get_block_name(self) -> str:
        return "group"


class FormHTML(FormComponent, gr.HTML):
    def get_block_name(self) -> str:
        return "html"


class AccordionCheckbox(gr.Checkbox):
    """A hidden checkbox tied to an accordion: its value is whether the accordion is open.

    The page's script adds a visible checkbox to the accordion's header and keeps the three alike.
    """

    _unnamed = 0

    @wraps(gr.Checkbox.__init__)
    def __init__(self, value: bool | None = None, with_accordion: bool = False, **kwargs: Any) -> None:
        if not with_accordion:  # gradio 4 makes components anew from their arguments, without what surrounds them
            super().__init__(value=value, **kwargs)
            return
        self.accordion_id = kwargs.pop("elem_id", None)
        if self.accordion_id is None:
            self.accordion_id = f"input-accordion-{AccordionCheckbox._unnamed}"
            AccordionCheckbox._unnamed += 1
        label = kwargs.pop("label", "Accordion")
        hidden = {**kwargs, "label": label, "elem_id": f"{self.accordion_id}-checkbox", "visible": False}
        super().__init__(value=value, **hidden)
        tell_page = f"function(checked){{ inputAccordionChecked({self.accordion_id!r}, checked); }}"
        self.change(fn=None, _js=tell_page, inputs=[self])
        self.accordion = gr.Accordion(
            **{**kwargs, "label": label, "elem_id": self.accordion_id, "elem_classes": ["input-accordion"]}, open=value
        )

    def extra(self) -> Any:
        """A context whose content is shown in the accordion's header."""
        return gr.Column(elem_id=f"{self.accordion_id}-extra", elem_classes=["input-accordion-extra"], min_width=0)

    def __enter__(self) -> AccordionCheckbox:
        self.accordion.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.accordion.__exit__(*exception)

    def get_block_name(self) -> str:
        return "checkbox"


class _InputAccordionClass(AccordionCheckbox):
    """The A1111 flavour's: a class that takes the value first."""

    @wraps(gr.Checkbox.__init__)
    def __init__(self, value: bool | None = None, **kwargs: Any) -> None:
        super().__init__(value, with_accordion=True, **kwargs)


def _input_accordion(value: bool | None = None, **kwargs: Any) -> AccordionCheckbox:
    """The Forge flavour's: a function, since gradio 4 calls a component's class again."""
    return AccordionCheckbox(value=value, with_accordion=True, **kwargs)


InputAccordion: Any = _InputAccordionClass
if _config.current().flavour == "forge" or ui_gradio.GRADIO_4:
    InputAccordion = _input_accordion
