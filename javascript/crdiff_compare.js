// The panel of a comparison: a slider between two images of one seed, their difference, and keys to step through the
// seeds. The panel is asked for when a job is over, and listens as a whole, since every job brings a new one.
(() => {
    const TABS = ["txt2img", "img2img"];
    const STEPS = {ArrowLeft: -1, ArrowRight: 1};
    const PANEL = ".crdiff-compare";

    const told = (panel) => JSON.parse(panel.dataset.crdiffCompare);
    const part = (panel, name) => panel.querySelector(`.crdiff-compare-${name}`);

    function show(panel) {
        if (!part(panel, "viewer")) return;
        const {sources, seeds} = told(panel);
        const row = Number(panel.dataset.crdiffRow ?? 0);
        const pair = part(panel, "pair");
        for (const side of ["left", "right"]) {
            const image = part(panel, side);
            const source = sources[panel.querySelector(`[data-crdiff-side=${side}]`).value][row];
            if (image.getAttribute("src") !== source) image.setAttribute("src", source ?? "");
            image.hidden = !source;
        }
        pair.style.setProperty("--crdiff-split", `${pair.querySelector("input").value}%`);
        pair.classList.toggle("crdiff-different", part(panel, "difference").checked);
        part(panel, "seed").textContent = `Seed ${seeds[row]} (${row + 1} of ${seeds.length})`;
        for (const figure of panel.querySelectorAll("[data-crdiff-row]")) {
            figure.classList.toggle("crdiff-shown", Number(figure.dataset.crdiffRow) === row);
        }
    }

    function go(panel, row) {
        const count = told(panel).seeds.length;
        panel.dataset.crdiffRow = (row + count) % count;
        show(panel);
    }

    const step = (panel, by) => go(panel, Number(panel.dataset.crdiffRow ?? 0) + by);

    function onClick({target}) {
        const panel = target.closest?.(PANEL);
        if (!panel) return;
        const by = target.closest("[data-crdiff-step]")?.dataset.crdiffStep;
        const row = target.closest("[data-crdiff-row]:not(.crdiff-compare)")?.dataset.crdiffRow;
        if (by) step(panel, Number(by));
        else if (row) go(panel, Number(row));
    }

    function onKey(event) {
        const panel = event.target.closest?.(PANEL);
        if (!panel || event.ctrlKey || event.altKey || event.metaKey || !STEPS[event.key]) return;
        if (event.target.closest("select")) return;
        event.preventDefault();
        event.stopPropagation();
        step(panel, STEPS[event.key]);
    }

    // Every job ends with a new line below the gallery.
    const lines = {};
    function jobOver() {
        for (const tab of TABS) {
            const line = gradioApp().querySelector(`#html_log_${tab} .performance`)?.parentElement.innerHTML ?? "";
            if (line === lines[tab]) continue;
            lines[tab] = line;
            if (!line) continue;
            for (const button of gradioApp().querySelectorAll(`button[id^=${tab}][id$=_crdiff_compare_show]`)) button.click();
        }
    }

    const fresh = () => gradioApp().querySelectorAll(`${PANEL}:not([data-crdiff-row])`).forEach((panel) => go(panel, 0));

    onAfterUiUpdate(() => {
        jobOver();
        fresh();
    });
    document.addEventListener("click", onClick);
    document.addEventListener("keydown", onKey, true);
    for (const kind of ["input", "change"]) {
        document.addEventListener(kind, ({target}) => {
            const panel = target.closest?.(PANEL);
            if (panel) show(panel);
        });
    }
})();
