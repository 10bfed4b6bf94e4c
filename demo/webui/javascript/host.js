// The names that extensions' scripts may count on: the page's root, callbacks, and telling gradio of a change.

function gradioApp() {
    const app = document.querySelector("gradio-app");
    if (!app) return document;
    app.getElementById = (id) => document.getElementById(id);
    return app.shadowRoot ?? app;
}

function get_uiCurrentTab() {
    return gradioApp().querySelector("#tabs > .tab-nav > button.selected");
}

function get_uiCurrentTabContent() {
    const contents = [...gradioApp().querySelectorAll("#tabs > .tabitem[id^=tab_]")];
    return contents.find((content) => content.style.display !== "none") ?? null;
}

var opts = {};

const hostCallbacks = {update: [], afterUpdate: [], loaded: [], tabChange: [], optionsChanged: [], optionsAvailable: []};

function onUiUpdate(callback) {
    hostCallbacks.update.push(callback);
}

function onAfterUiUpdate(callback) {
    hostCallbacks.afterUpdate.push(callback);
}

function onUiLoaded(callback) {
    hostCallbacks.loaded.push(callback);
}

function onUiTabChange(callback) {
    hostCallbacks.tabChange.push(callback);
}

function onOptionsChanged(callback) {
    hostCallbacks.optionsChanged.push(callback);
}

function onOptionsAvailable(callback) {
    if (Object.keys(opts).length) callback();
    else hostCallbacks.optionsAvailable.push(callback);
}

function executeCallbacks(callbacks, argument) {
    for (const callback of callbacks) {
        try {
            callback(argument);
        } catch (error) {
            console.error("error running callback", callback, ":", error);
        }
    }
}

// gradio listens to events, not to values
function updateInput(target) {
    const event = new Event("input", {bubbles: true});
    Object.defineProperty(event, "target", {value: target});
    target.dispatchEvent(event);
}

function uiElementIsVisible(element) {
    if (element === document) return true;
    return getComputedStyle(element).display !== "none" && uiElementIsVisible(element.parentNode);
}

function localSet(key, value) {
    try {
        localStorage.setItem(key, value);
    } catch (error) {
        console.warn(`could not remember ${key}: ${error}`);
    }
}

function localGet(key, otherwise) {
    try {
        return localStorage.getItem(key) ?? otherwise;
    } catch {
        return otherwise;
    }
}

function localRemove(key) {
    try {
        localStorage.removeItem(key);
    } catch {
        // nothing was remembered
    }
}

(() => {
    const QUIET_MS = 200;
    let loaded = false;
    let tab = null;
    let quietTimer = null;
    let optionsText = "";

    function readOptions() {
        const text = gradioApp().querySelector("#settings_json textarea")?.value;
        if (!text || text === optionsText) return;
        const first = optionsText === "";
        optionsText = text;
        opts = JSON.parse(text);
        if (first) executeCallbacks(hostCallbacks.optionsAvailable.splice(0));
        executeCallbacks(hostCallbacks.optionsChanged);
    }

    function onMutations(records) {
        if (!loaded && gradioApp().querySelector("#txt2img_prompt")) {
            loaded = true;
            setInterval(readOptions, QUIET_MS); // a textarea's value changes without a mutation
            readOptions();
            showTooltips();
            executeCallbacks(hostCallbacks.loaded);
        }
        executeCallbacks(hostCallbacks.update, records);
        clearTimeout(quietTimer);
        quietTimer = setTimeout(() => executeCallbacks(hostCallbacks.afterUpdate), QUIET_MS);
        const selected = get_uiCurrentTab();
        if (selected && selected !== tab) {
            tab = selected;
            executeCallbacks(hostCallbacks.tabChange);
        }
    }

    function showTooltips() {
        for (const {props} of window.gradio_config?.components ?? []) {
            const element = props.webui_tooltip && props.elem_id && document.getElementById(props.elem_id);
            if (element) element.title = props.webui_tooltip;
        }
    }

    document.addEventListener("DOMContentLoaded", () => {
        new MutationObserver(onMutations).observe(gradioApp(), {childList: true, subtree: true});
    });
})();
