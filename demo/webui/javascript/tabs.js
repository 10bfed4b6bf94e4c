// What the tabs' buttons call: submitting, switching, and the image chosen in a gallery.

function all_gallery_buttons() {
    const selector = "#txt2img_gallery, #img2img_gallery";
    const galleries = [...gradioApp().querySelectorAll(selector)].filter((gallery) => gallery.offsetParent);
    return galleries.flatMap((gallery) => [...gallery.querySelectorAll(".thumbnails > .thumbnail-item.thumbnail-small")]);
}

function selected_gallery_button() {
    return all_gallery_buttons().find((button) => button.classList.contains("selected")) ?? null;
}

function selected_gallery_index() {
    return all_gallery_buttons().findIndex((button) => button.classList.contains("selected"));
}

function extract_image_from_gallery(gallery) {
    if (!gallery?.length) return [null];
    return [[gallery[Math.max(selected_gallery_index(), 0)] ?? gallery[0]]];
}

function showSubmitButtons(tab, show) {
    const shown = {interrupt: !show, skip: !show, interrupting: false};
    for (const [name, visible] of Object.entries(shown)) {
        gradioApp().querySelector(`#${tab}_${name}`).style.display = visible ? "block" : "none";
    }
}

function showSubmitInterruptingPlaceholder(tab) {
    gradioApp().querySelector(`#${tab}_interrupt`).style.display = "none";
    gradioApp().querySelector(`#${tab}_interrupting`).style.display = "block";
}

// gradio hands over the values of the inputs and then those of the outputs; images of the last job need not travel back
function create_submit_args(values) {
    const sent = [...values];
    const gallery = sent.length - 4;
    if (Array.isArray(sent[gallery])) sent[gallery] = null;
    return sent;
}

function submitTab(tab, values) {
    showSubmitButtons(tab, false);
    const id = randomId();
    localSet(`${tab}_task_id`, id);
    const container = gradioApp().querySelector(`#${tab}_gallery_container`);
    requestProgress(id, container, gradioApp().querySelector(`#${tab}_gallery`), () => {
        showSubmitButtons(tab, true);
        localRemove(`${tab}_task_id`);
    });
    const sent = create_submit_args(values);
    sent[0] = id;
    return sent;
}

function submit() {
    return submitTab("txt2img", arguments);
}

function submit_img2img() {
    return submitTab("img2img", arguments);
}

function switchToTab(label) {
    const buttons = gradioApp().querySelectorAll("#tabs > .tab-nav > button");
    [...buttons].find((button) => button.textContent.trim() === label)?.click();
}

function switch_to_txt2img() {
    switchToTab("txt2img");
    return [...arguments];
}

function switch_to_img2img() {
    switchToTab("img2img");
    return [...arguments];
}

// Hosts count tokens again here; this page has no counters.
function recalculate_prompts_txt2img() {
    return [...arguments];
}

function recalculate_prompts_img2img() {
    return [...arguments];
}

// An image chosen in a gallery has its text shown below.
onUiLoaded(() => {
    for (const tab of ["txt2img", "img2img"]) {
        showSubmitButtons(tab, true);
        gradioApp().querySelector(`#${tab}_gallery`).addEventListener("click", () => {
            setTimeout(() => gradioApp().querySelector(`#${tab}_generation_info_button`)?.click(), 100);
        });
    }
});
