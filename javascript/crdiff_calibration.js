// While a calibration runs the page asks how it stands, and what is kept where another checkpoint is chosen.
(() => {
    const SCRIPT = "CR-Diff calibration";
    const TABS = ["txt2img", "img2img"];
    const POLL_MS = 1500;
    // A job may wait in the host's queue before its calibration starts.
    const PATIENCE = 40;

    const waiting = {};
    const timers = {};
    const find = (tab, name) => gradioApp().querySelector(`#${tab}_crdiff_calibration_${name}`);

    function poll(tab) {
        clearTimeout(timers[tab]);
        find(tab, "poll")?.click();
        timers[tab] = setTimeout(() => {
            const running = find(tab, "message")?.querySelector("[data-crdiff-calibration=running]");
            waiting[tab] = running ? Math.max(waiting[tab] ?? 0, 2) : (waiting[tab] ?? 0) - 1;
            if (waiting[tab] > 0) poll(tab);
        }, POLL_MS);
    }

    window.crdiffCalibration = {
        start(tab, text) {
            if (!text) return [];
            window.crdiffGenerate(tab, SCRIPT, "crdiff_calibration_plan", text);
            waiting[tab] = PATIENCE;
            timers[tab] = setTimeout(() => poll(tab), POLL_MS);
            return [];
        },
    };

    onUiLoaded(() => {
        for (const tab of TABS) {
            find(tab, "accordion")?.addEventListener("click", ({target}) => {
                if (!target.closest("button[id]")) poll(tab);
            });
            gradioApp().querySelector(`#${tab}_crdiff_refresh`)?.addEventListener("click", () => {
                if (find(tab, "known")?.getClientRects().length) poll(tab);
            });
        }
    });
})();
