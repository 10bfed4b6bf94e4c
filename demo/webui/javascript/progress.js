// The progress line of a running job, and its preview.

function randomId() {
    const part = () => Math.random().toString(36).slice(2, 7);
    return `task(${part()}${part()}${part()})`;
}

function formatTime(seconds) {
    const whole = Math.floor(seconds);
    const two = (number) => String(number).padStart(2, "0");
    if (whole > 3600) return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
    return whole > 60 ? `${two(Math.floor(whole / 60))}:${two(whole % 60)}` : `${whole}s`;
}

function request(url, data, handler, errorHandler) {
    fetch(url, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(data)})
        .then((answer) => (answer.ok ? answer.json() : Promise.reject(answer.status)))
        .then(handler)
        .catch(errorHandler);
}

// Asks until the job is over: a line above `container`, a preview inside `gallery`. `inactivityTimeout`, in seconds, is
// how long a job may stay unknown to the server before it is given up.
function requestProgress(id, container, gallery, atEnd, onProgress, inactivityTimeout = 40) {
    const started = Date.now();
    const line = document.createElement("div");
    line.className = "progressDiv";
    const bar = document.createElement("div");
    bar.className = "progress";
    line.appendChild(bar);
    container.parentNode.insertBefore(line, container);
    let preview = null;
    let previewId = -1;
    let wasActive = false;
    let over = false;

    function end() {
        if (over) return;
        over = true;
        line.remove();
        preview?.remove();
        atEnd();
    }

    function showPreview(source) {
        if (!preview) {
            preview = document.createElement("div");
            preview.className = "livePreview";
            gallery.insertBefore(preview, gallery.firstElementChild);
        }
        const image = new Image();
        image.src = source;
        preview.replaceChildren(image);
    }

    function show(answer) {
        if (over) return;
        wasActive ||= answer.active;
        const unknown = !answer.active && !answer.queued && Date.now() - started > inactivityTimeout * 1000;
        if (answer.completed || (wasActive && !answer.active) || unknown) {
            end();
            return;
        }
        const percent = (answer.progress ?? 0) * 100;
        bar.style.width = `${percent}%`;
        const parts = [percent > 0 ? `${percent.toFixed(0)}%` : "", answer.eta ? `ETA: ${formatTime(answer.eta)}` : ""];
        if (answer.textinfo && !answer.textinfo.includes("\n")) parts.unshift(answer.textinfo);
        bar.textContent = parts.filter(Boolean).join(" ");
        if (gallery && answer.live_preview) {
            showPreview(answer.live_preview);
            previewId = answer.id_live_preview;
        }
        onProgress?.(answer);
        setTimeout(ask, opts.live_preview_refresh_period || 500);
    }

    function ask() {
        request("./internal/progress", {id_task: id, id_live_preview: previewId, live_preview: Boolean(gallery)}, show, end);
    }

    ask();
}
