// A job of CR-Diff is Generate with another script chosen, for that one press: the host's own queue, progress, preview
// and interrupt.
(() => {
    const SUBMITS = {txt2img: "submit", img2img: "submit_img2img"};
    const armed = {};

    // Where a control stands among the values that Generate sends.
    function place(elemId, submit) {
        const {components, dependencies} = window.gradio_config;
        const ids = components.filter(({props}) => props?.elem_id === elemId).map(({id}) => id);
        const generate = dependencies.find(({js}) => js === submit);
        return generate ? generate.inputs.findIndex((id) => ids.includes(id)) : -1;
    }

    // Both tabs have a list of scripts of this id; only one of them is among the values of a tab's own Generate.
    for (const [tab, submit] of Object.entries(SUBMITS)) {
        const hostSubmit = window[submit];
        if (!hostSubmit) continue;
        window[submit] = function () {
            const values = [...hostSubmit.apply(this, arguments)];
            const job = armed[tab];
            delete armed[tab];
            if (!job) return values;
            const [script, request] = [place("script_list", submit), place(`${tab}_${job.control}`, submit)];
            if (script >= 0 && request >= 0) {
                values[script] = job.script;
                values[request] = job.text;
            }
            return values;
        };
    }

    // Generates once with a script, and a text in a control of that script.
    window.crdiffGenerate = (tab, script, control, text) => {
        armed[tab] = {script, control, text};
        gradioApp().querySelector(`#${tab}_generate`).click();
    };
})();
