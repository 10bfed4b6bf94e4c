// While a calibration runs the page asks how it stands, and what is kept where another checkpoint is chosen.
(() => {
    const SCRIPT = "CR-Diff calibration";
    const TABS = ["txt2img", "img2img"];
    const POLL_MS = 1500;
    // A job may wait in the host's queue before its calibration starts.
    const PATIENCE = 40;

    const fresh = {waiting: 0, timer: null, version: -1, running: false};
    const tabs = TABS.map((name) => ({name, ...fresh}));
    const find = (tab, name) => gradioApp().querySelector(`#${tab.name}_crdiff_calibration_${name}`);
    const byName = (name) => tabs.find((tab) => tab.name === name);

    function poll(tab) {
        clearTimeout(tab.timer);
        find(tab, "poll")?.click();
        tab.timer = setTimeout(() => note(tab), POLL_MS);
    }

    function note(tab) {
        const shown = find(tab, "message")?.querySelector("[data-crdiff-calibration]");
        const running = shown ? shown.dataset.crdiffCalibration === "running" : tab.running;
        tab.version = Number(shown?.dataset.crdiffVersion ?? tab.version);
        tab.waiting = running ? Math.max(tab.waiting, 2) : tab.waiting - 1;
        if (tab.running && !running) {
            tab.waiting = 0;
            // What the accordion says of a criterion may have changed.
            gradioApp().querySelector(`#${tab.name}_crdiff_refresh`)?.click();
        }
        tab.running = running;
        if (tab.waiting > 0) poll(tab);
    }

    window.crdiffCalibration = {
        start(name, text) {
            if (!text) return [];
            const tab = byName(name);
            window.crdiffGenerate(name, SCRIPT, "crdiff_calibration_plan", text);
            tab.waiting = PATIENCE;
            tab.timer = setTimeout(() => poll(tab), POLL_MS);
            return [];
        },
        // Of what was shown last, which something else may have replaced since.
        version: (name) => byName(name).version,
    };

    onUiLoaded(() => {
        for (const tab of tabs) {
            find(tab, "accordion")?.addEventListener("click", ({target}) => {
                if (!target.closest("button[id]")) poll(tab);
            });
            gradioApp().querySelector(`#${tab.name}_crdiff_refresh`)?.addEventListener("click", () => {
                if (find(tab, "known")?.getClientRects().length) poll(tab);
            });
        }
    });
})();
