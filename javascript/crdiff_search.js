// A search is Generate with another script chosen, for that one job: the host's own queue, progress, preview and
// interrupt. While one runs the page asks for its panel; buttons in the panel apply a configuration, or answer which of
// two images is better.
(() => {
    const SCRIPT = "CR-Diff search";
    const TABS = ["txt2img", "img2img"];
    const POLL_MS = 1500;
    const QUICK_MS = 500;
    const QUIET_MS = 600;
    // A job may wait in the host's queue before its search starts.
    const PATIENCE = 40;
    const KEYS = {ArrowLeft: "left", ArrowRight: "right", ArrowDown: "same"};

    const fresh = {chosen: null, answer: "", asked: null, key: "", waiting: 0, unanswered: 0, question: ""};
    const tabs = TABS.map((name) => ({name, ...fresh}));
    const byName = (name) => tabs.find((tab) => tab.name === name);
    const find = (tab, name) => gradioApp().querySelector(`#${tab.name}_crdiff_search_${name}`);
    const panel = (tab) => find(tab, "panel")?.querySelector("[data-crdiff-search]");
    const version = (tab) => Number(panel(tab)?.dataset.crdiffVersion ?? -1);
    const isShown = (element) => Boolean(element?.getClientRects().length);
    let timer = null;

    function pollSoon(some, times) {
        for (const tab of some) tab.waiting = Math.max(tab.waiting, times);
        poll();
    }

    function poll() {
        clearTimeout(timer);
        let wait = 0;
        for (const tab of tabs) {
            if (!find(tab, "panel")) continue;
            const shown = panel(tab);
            // The page may still be on its way to being one that can be pressed.
            if (!shown && (tab.unanswered += 1) < PATIENCE) tab.waiting = Math.max(tab.waiting, 1);
            if (find(tab, "download_progress")?.querySelector("[data-crdiff-download=running]")) {
                tab.waiting = Math.max(tab.waiting, 1);
            }
            const running = ["running", "waiting"].includes(shown?.dataset.crdiffSearch);
            if (running && isShown(gradioApp().querySelector(`#${tab.name}_generate_box`) ?? find(tab, "panel"))) {
                tab.waiting = Math.max(tab.waiting, 2);
            }
            if (tab.waiting <= 0) continue;
            tab.waiting -= 1;
            find(tab, "poll")?.click();
            wait = shown?.dataset.crdiffScore === "eye" && running ? QUICK_MS : wait || POLL_MS;
            if (tab.wasRunning && !running) tab.key = "";
            tab.wasRunning = running;
        }
        lookUp();
        if (wait) timer = setTimeout(poll, wait);
    }

    // What was found earlier is asked for when the prompt, the size or the checkpoint is another one.
    function wanted(tab) {
        const value = (selector) => gradioApp().querySelector(selector)?.value;
        return {
            prompt: value(`#${tab.name}_prompt textarea`) ?? "",
            width: value(`#${tab.name}_width input[type=number]`),
            height: value(`#${tab.name}_height input[type=number]`),
        };
    }

    let quiet = null;
    function lookUp() {
        clearTimeout(quiet);
        quiet = setTimeout(() => {
            for (const tab of tabs) {
                const status = gradioApp().querySelector(`#${tab.name}_crdiff_status`)?.innerText;
                const key = JSON.stringify([wanted(tab), status]);
                if (!find(tab, "lookup") || key === tab.key) continue;
                tab.key = key;
                find(tab, "lookup").click();
            }
        }, QUIET_MS);
    }

    function give(tab, answer) {
        tab.answer = answer;
        pollSoon([tab], 2);
    }

    function questionIn(tab) {
        return panel(tab)?.querySelector("[data-crdiff-question]");
    }

    function noteQuestion(tab) {
        const question = questionIn(tab);
        const asked = question?.dataset.crdiffQuestion ?? "";
        if (asked === tab.question) return;
        tab.question = asked;
        tab.answer = "";
        if (isShown(question)) showQuestion(tab, question);
    }

    async function showQuestion(tab, question) {
        const images = [...question.querySelectorAll("img")];
        await Promise.allSettled(images.map((image) => image.decode()));
        // The panel may have been drawn anew meanwhile.
        const current = questionIn(tab);
        if (current?.dataset.crdiffQuestion === tab.question) current.scrollIntoView({block: "nearest"});
    }

    function onClick(tab, event) {
        const button = event.target.closest("[data-crdiff-apply], [data-crdiff-answer]");
        if (!button) return;
        if (button.dataset.crdiffAnswer) {
            give(tab, button.dataset.crdiffAnswer);
        } else {
            tab.chosen = JSON.parse(button.dataset.crdiffApply);
            find(tab, "chosen").click();
        }
    }

    function onKey(event) {
        const typing = event.target.closest?.("input, textarea, select, [contenteditable=true]");
        if (typing || event.ctrlKey || event.altKey || event.metaKey || !KEYS[event.key]) return;
        for (const tab of tabs) {
            const question = panel(tab)?.querySelector("[data-crdiff-question]");
            if (!isShown(question)) continue;
            event.preventDefault();
            give(tab, `${question.dataset.crdiffQuestion}:${KEYS[event.key]}`);
        }
    }

    // The image that is looked at, else the last one, as a data URL; empty if there is none.
    async function galleryImage(tab) {
        const gallery = gradioApp().querySelector(`#${tab.name}_gallery`);
        const image = gallery?.querySelector(".preview img") ?? [...(gallery?.querySelectorAll("img") ?? [])].at(-1);
        if (!image?.src) return "";
        const blob = await (await fetch(image.src)).blob();
        return new Promise((resolve) => {
            const reader = new FileReader();
            reader.onload = () => resolve(reader.result);
            reader.onerror = () => resolve("");
            reader.readAsDataURL(blob);
        });
    }

    window.crdiffSearch = {
        start(name, text) {
            if (!text) return [];
            const tab = byName(name);
            if (panel(tab)?.dataset.crdiffSearch !== "waiting") tab.asked = version(tab);
            window.crdiffGenerate(name, SCRIPT, "crdiff_search_plan", text);
            pollSoon([tab], PATIENCE);
            return [];
        },
        // What the configuration does not say stays as it is.
        chosen(name, names, now) {
            const values = {enabled: true, preset: "Custom", stages: "", hires_ratios: "", ...byName(name).chosen};
            return names.map((one, index) => values[one] ?? now[index]);
        },
        report(name) {
            const tab = byName(name);
            return JSON.stringify({version: version(tab), answer: tab.answer, asked: tab.asked});
        },
        wanted: (name) => JSON.stringify(wanted(byName(name))),
        async tested(name) {
            const tab = byName(name);
            return JSON.stringify({image: await galleryImage(tab), prompt: wanted(tab).prompt});
        },
        watch: (name) => pollSoon([byName(name)], 3),
    };

    onUiLoaded(() => {
        for (const tab of tabs) {
            if (!find(tab, "panel")) continue;
            for (const name of ["panel", "remembered"]) {
                find(tab, name)?.addEventListener("click", (event) => onClick(tab, event));
            }
            noteQuestion(tab);
            new MutationObserver(() => noteQuestion(tab)).observe(find(tab, "panel"), {subtree: true, childList: true});
            gradioApp().querySelector(`#${tab.name}_prompt`)?.addEventListener("input", lookUp);
        }
        // A search may be running already, started in another page or before this one was loaded again.
        pollSoon(tabs, 2);
        window.onUiTabChange?.(() => pollSoon(tabs, 1));
        document.addEventListener("keydown", onKey);
        window.onAfterUiUpdate?.(lookUp);
    });
})();
