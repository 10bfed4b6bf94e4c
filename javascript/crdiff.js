// Tooltips; a fresh status line when the checkpoint changes, because hosts keep the checkpoint outside the tabs, some in
// a control that extensions cannot listen to, and the list of presets when that is of another family; and another status
// line when answers came back in the wrong order.
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

    function watchStatus(tab) {
        const status = gradioApp().querySelector(`#${tab}_crdiff_status`);
        if (!status) return;
        let [newest, family] = [0, ""];
        new MutationObserver(() => {
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
        TABS.forEach(watchStatus);
        refreshSoon();
        known = checkpointShown();
        setInterval(followCheckpoint, POLL_MS);
    });
})();
