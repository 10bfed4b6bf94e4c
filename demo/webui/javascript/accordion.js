// An accordion with a checkbox in its header. Three things stand for one value: whether the accordion is open, the
// visible checkbox, and gradio's hidden checkbox, which is what the server sees. Opening and closing sets the value
// until the user has clicked the visible checkbox; from then on only the checkbox does.

function inputAccordionChecked(id, checked) {
    const accordion = gradioApp().querySelector(`#${id}`);
    accordion.visibleCheckbox.checked = checked;
    accordion.onVisibleCheckboxChange();
}

function setupAccordion(accordion) {
    const header = accordion.querySelector(".label-wrap");
    const hidden = gradioApp().querySelector(`#${accordion.id}-checkbox input`);
    const extra = gradioApp().querySelector(`#${accordion.id}-extra`);
    const isOpen = () => header.classList.contains("open");
    let followsOpening = true;

    const visible = document.createElement("input");
    visible.type = "checkbox";
    visible.id = `${accordion.id}-visible-checkbox`;
    visible.className = `${hidden.className} input-accordion-checkbox`;
    visible.checked = isOpen();
    header.querySelector("span").prepend(visible);
    if (extra) header.insertBefore(extra, header.lastElementChild);

    accordion.visibleCheckbox = visible;
    accordion.onVisibleCheckboxChange = () => {
        if (followsOpening && isOpen() !== visible.checked) header.click();
        hidden.checked = visible.checked;
        updateInput(hidden);
    };
    accordion.onChecked = (checked) => {
        if (isOpen() !== checked) header.click();
    };

    visible.addEventListener("click", (event) => {
        followsOpening = false;
        event.stopPropagation(); // the header behind it opens and closes
    });
    visible.addEventListener("input", accordion.onVisibleCheckboxChange);
    new MutationObserver(() => {
        accordion.classList.toggle("input-accordion-open", isOpen());
        if (!followsOpening) return;
        visible.checked = isOpen();
        accordion.onVisibleCheckboxChange();
    }).observe(header, {attributes: true, attributeFilter: ["class"]});
}

onUiLoaded(() => {
    for (const accordion of gradioApp().querySelectorAll(".input-accordion")) setupAccordion(accordion);
});
