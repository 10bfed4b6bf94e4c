// Compare is Generate with another script chosen, for that one job: the host's own queue, progress and interrupt.
const demoPage = {armed: false};

function demoCompare() {
    demoPage.armed = true;
    gradioApp().querySelector("#txt2img_generate").click();
    return [];
}

(() => {
    const SCRIPT = "Compare";

    // Where the Script dropdown stands among the values that Generate sends.
    function place() {
        const {components, dependencies} = window.gradio_config;
        const lists = components.filter(({props}) => props.elem_id === "script_list").map(({id}) => id);
        const generate = dependencies.find(({js}) => js === "submit");
        return generate.inputs.findIndex((id) => lists.includes(id));
    }

    const hostSubmit = window.submit;
    window.submit = function () {
        const values = [...hostSubmit.apply(this, arguments)];
        if (demoPage.armed) values[place()] = SCRIPT;
        demoPage.armed = false;
        return values;
    };
})();
