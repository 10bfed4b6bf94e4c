// Tooltips; the stage of the schedule that the sliders show, which is chosen in the diagram of the stages; a fresh
// status line when the checkpoint changes, because hosts keep the checkpoint outside the tabs, some in a control that
// extensions cannot listen to, and the list of presets when that is of another family; and answers that come late:
// the status line is asked for again when they came in the wrong order, and they do not undo what was moved by hand
// meanwhile.
(() => {
    const TABS = ["txt2img", "img2img"];
    const POLL_MS = 1000;
    // More than once: the page may still be building its controls, and a checkpoint's control changes before the host
    // has taken the checkpoint over, which may mean loading it.
    const REFRESH_AFTER_MS = [0, 1000, 3000, 10000];

    function setTooltips() {
        for (const holder of gradioApp().querySelectorAll("[data-crdiff-help]")) {
            const texts = JSON.parse(holder.dataset.crdiffHelp);
            for (const [id, text] of Object.entries(texts)) {
                const element = gradioApp().querySelector(`#${id}`);
                if (element) element.title = text;
            }
        }
    }

    function checkpointShown() {
        const box = gradioApp().querySelector("#setting_sd_model_checkpoint, .model_selection");
        const input = box?.querySelector("input");
        return input ? input.value : box?.textContent;
    }

    function press(tab, name) {
        gradioApp().querySelector(`#${tab}_crdiff_${name}`)?.click();
    }

    let turn = 0;
    window.crdiffTurn = () => ++turn;

    // The turn in which a control was last moved by hand, by its element's id.
    const moved = {};
    function followMoves() {
        gradioApp().addEventListener("input", (event) => {
            const control = event.target.closest?.("[id*=_crdiff_]");
            if (control) moved[control.id] = turn;
        }, true);
    }

    // Which of these controls were moved after an answer had been asked for; the ratios and stages belong together.
    window.crdiffMovedSince = (tab, names, asked) => {
        const since = (name) => (moved[`${tab}_crdiff_${name}`] ?? -1) >= asked;
        const ratios = names.filter((name) => name !== "k").some(since);
        return names.map((name) => name === "k" ? since(name) : ratios);
    };

    // The stage that is chosen in each tab, and the text of the stages, taken apart.
    const chosen = {};
    const parts = (stages) => String(stages ?? "").split(";").map((part) => part.trim());
    const place = (tab, all) => Math.min(chosen[tab] ?? 0, all.length - 1);

    // The ratios of the chosen stage; null where there are not several.
    window.crdiffRatios = (tab, stages) => {
        const all = parts(stages);
        const ratios = all[place(tab, all)].split(" ")[0].split("/").slice(0, 3).map(Number);
        return all.length > 1 && ratios.length === 3 && ratios.every(Number.isFinite) ? ratios : null;
    };

    // The text of the stages with another ratio in the chosen one; null where there are not several.
    window.crdiffWithRatio = (tab, stages, group, ratio) => {
        const all = parts(stages);
        if (all.length < 2) return null;
        const at = place(tab, all);
        const numbers = all[at].split("/");
        // The last number may be followed by where the stage begins.
        numbers[group] = String(numbers[group]).replace(/^\S*/, ratio);
        all[at] = numbers.join("/");
        return all.join("; ");
    };

    function choose(tab, stage) {
        chosen[tab] = Number(stage.dataset.crdiffStage);
        markChosen(tab);
        press(tab, "stage");
    }

    function markChosen(tab) {
        const stages = [...gradioApp().querySelectorAll(`#${tab}_crdiff_picture [data-crdiff-stage]`)];
        stages.forEach((stage, at) => {
            const pressed = String(at === place(tab, stages));
            // Only a change, since changes are what calls this.
            if (stage.getAttribute("aria-pressed") !== pressed) stage.setAttribute("aria-pressed", pressed);
        });
    }

    // Whatever has set the stages: pasted, looked up or typed in.
    function showChosen(tab) {
        const shown = (name) => gradioApp().querySelector(`#${tab}_crdiff_${name}`);
        const ratios = window.crdiffRatios(tab, shown("stages")?.querySelector("textarea, input")?.value);
        const sliders = ["down", "mid", "up"].map((group) => shown(group)?.querySelector("input[type=number]")?.value);
        if (ratios?.some((ratio, group) => ratio !== Number(sliders[group]))) press(tab, "stage");
    }

    function followStage(tab, status) {
        const stageOf = (event) => event.target.closest("[data-crdiff-stage]");
        status.addEventListener("click", (event) => stageOf(event) && choose(tab, stageOf(event)));
        status.addEventListener("keydown", (event) => {
            if (!["Enter", " "].includes(event.key) || !stageOf(event)) return;
            event.preventDefault();
            choose(tab, stageOf(event));
        });
    }

    function watchStatus(tab) {
        const status = gradioApp().querySelector(`#${tab}_crdiff_status`);
        if (!status) return;
        let [newest, family] = [0, ""];
        followStage(tab, status);
        new MutationObserver(() => {
            markChosen(tab);
            showChosen(tab);
            const shown = status.querySelector("[data-crdiff-turn]")?.dataset;
            if (!shown) return;
            if (Number(shown.crdiffTurn) < newest) press(tab, "refresh");
            newest = Math.max(newest, Number(shown.crdiffTurn));
            if (shown.crdiffFamily !== family) press(tab, "reload");
            family = shown.crdiffFamily;
        }).observe(status, {subtree: true, childList: true, characterData: true, attributes: true});
    }

    function refreshSoon() {
        for (const delay of REFRESH_AFTER_MS) {
            setTimeout(() => TABS.forEach((tab) => press(tab, "refresh")), delay);
        }
    }

    let known;
    function followCheckpoint() {
        const shown = checkpointShown();
        if (shown === known) return;
        known = shown;
        refreshSoon();
    }

    onUiLoaded(() => {
        setTooltips();
        followMoves();
        TABS.forEach(watchStatus);
        refreshSoon();
        known = checkpointShown();
        setInterval(followCheckpoint, POLL_MS);
    });
})();
