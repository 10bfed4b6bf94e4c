// A search is Generate with another script chosen, for that one job: the host's own queue, progress, preview and
// interrupt. While one runs the page asks for its panel; buttons in the panel's table apply a configuration.
(() => {
    const SCRIPT = "CR-Diff search";
    const TAB = "txt2img";
    const POLL_MS = 1500;
    // A job may wait in the host's queue before its search starts.
    const PATIENCE = 40;

    let armed = null;
    let chosen = null;
    let waiting = 0;
    let timer = null;

    const find = (name) => gradioApp().querySelector(`#${TAB}_crdiff_search_${name}`);
    const panel = () => find("panel")?.querySelector("[data-crdiff-search]");

    // Where a control stands among the values that Generate sends.
    function place(elemId) {
        const {components, dependencies} = window.gradio_config;
        const ids = components.filter(({props}) => props?.elem_id === elemId).map(({id}) => id);
        const generate = dependencies.find(({js}) => js === "submit");
        return generate ? generate.inputs.findIndex((id) => ids.includes(id)) : -1;
    }

    const hostSubmit = window.submit;
    if (hostSubmit) {
        window.submit = function () {
            const values = [...hostSubmit.apply(this, arguments)];
            const [script, plan] = [place("script_list"), place(`${TAB}_crdiff_search_plan`)];
            if (armed !== null && script >= 0 && plan >= 0) {
                values[script] = SCRIPT;
                values[plan] = armed;
            }
            armed = null;
            return values;
        };
    }

    window.crdiffSearchStart = (text) => {
        if (!text) return [];
        armed = text;
        gradioApp().querySelector(`#${TAB}_generate`).click();
        waiting = PATIENCE;
        poll();
        return [];
    };

    window.crdiffSearchVersion = () => Number(panel()?.dataset.crdiffVersion ?? -1);

    window.crdiffSearchChosen = (k) => [true, "Custom", chosen.down, chosen.mid, chosen.up, chosen.k ?? k];

    function poll() {
        clearTimeout(timer);
        find("poll")?.click();
        waiting -= 1;
        const running = panel()?.dataset.crdiffSearch === "running";
        if (running) waiting = Math.max(waiting, 2);
        if (running || waiting > 0) timer = setTimeout(poll, POLL_MS);
    }

    onUiLoaded(() => {
        if (!find("panel")) return;
        find("panel").addEventListener("click", (event) => {
            const button = event.target.closest("[data-crdiff-apply]");
            if (!button) return;
            chosen = JSON.parse(button.dataset.crdiffApply);
            find("chosen").click();
        });
        // A search may be running already, started in another page or before this one was loaded again.
        waiting = 2;
        poll();
    });
})();
