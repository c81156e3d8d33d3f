"use strict";
// Live parts, charts and keys. Without this file everything still works, by links and forms.
(() => {
  const status = document.getElementById("status");
  const say = (text, isBad = false) => {
    status.textContent = text;
    status.hidden = !text;
    status.classList.toggle("bad", isBad);
  };

  // Live: the server sends the part of the page that lives whenever it has changed, and says every three seconds that it
  // is there. A connection can be lost without an error: one that is silent is given up, and another one opened.
  const SILENCE_MS = 9000;
  let stream = null;
  let isStopped = false;
  let silence = 0;
  let seen = new Date();
  const live = document.querySelector("[data-live]");
  const url = () => {
    const found = new URL(location.href);
    found.hash = "";
    found.searchParams.set("live", "1");
    return found;
  };
  const stale = (text) => {
    say(`Not live: ${text}. This page is as of ${seen.toISOString().slice(11, 19)} UTC.`, true);
  };
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      stale("the console does not answer");
      close();
      open();
    }, SILENCE_MS);
  };
  const fresh = () => {
    seen = new Date();
    say("live");
    heard();
  };
  const open = () => {
    if (!live || stream || isStopped || document.hidden) return;
    const opened = new EventSource(url());
    stream = opened;
    heard();
    stream.addEventListener("live", (event) => {
      fresh();
      const focused = document.activeElement && document.activeElement.id;
      Idiomorph.morph(live, event.data, { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks: { beforeNodeMorphed } });
      if (focused && document.activeElement.id !== focused) document.getElementById(focused)?.focus();
      mark();
      draw();
    });
    stream.addEventListener("beat", () => (status.classList.contains("bad") ? heard() : fresh()));
    stream.addEventListener("ended", () => location.reload()); // the session, so this leads to the login
    stream.addEventListener("failed", (event) => {
      heard();
      stale(event.data);
    });
    stream.addEventListener("error", async () => {
      const isRefused = opened.readyState === EventSource.CLOSED;
      if (!isRefused) stale("no connection to the console");
      if (!isRefused || stream !== opened) return;
      close();
      stale(await refusal());
      setTimeout(open, 3000);
    });
  };
  // Why there is no stream: browsers do not tell what was answered.
  const refusal = async () => {
    const asked = new AbortController();
    try {
      const answer = await fetch(url(), { signal: asked.signal });
      if (!answer.ok && answer.headers.get("content-type")?.startsWith("text/plain")) return await answer.text();
      return answer.ok ? "it is being opened again" : `the console answers ${answer.status}`;
    } catch {
      return "no connection to the console";
    } finally {
      asked.abort();
    }
  };
  const close = () => {
    clearTimeout(silence);
    stream?.close();
    stream = null;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);

  // What the user has opened, chosen or drawn stays as it is.
  const beforeNodeMorphed = (old, now) => {
    if (old.nodeType !== 1) return true;
    if (old.tagName === "DETAILS") now.open = old.open;
    if (old.tagName === "INPUT" && old.type === "checkbox") now.checked = old.checked;
    if (old.classList.contains("chart")) {
      if (old.dataset.chart !== now.dataset.chart) {
        old.dataset.chart = now.dataset.chart;
        old.dataset.isNew = "1";
      }
      return false;
    }
    return true;
  };

  // Charts
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const drawn = new Map();
  const draw = () => {
    for (const [element, chart] of drawn) {
      if (!element.isConnected) {
        chart.destroy();
        drawn.delete(element);
      }
    }
    for (const element of document.querySelectorAll("[data-chart]")) {
      const known = drawn.get(element);
      if (known && !element.dataset.isNew) continue;
      delete element.dataset.isNew;
      const { lines, data } = JSON.parse(element.dataset.chart);
      if (known) {
        known.setData(data);
        continue;
      }
      const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
      const colours = ["--line-1", "--line-2", "--line-3", "--line-4"].map(colour);
      const utc = (t, from, to) => new Date(t * 1000).toISOString().slice(from, to).replace("T", " ");
      const times = (_, ticks, __, ___, step) => ticks.map((t) => (step >= 86400 ? utc(t, 5, 10) : utc(t, 11, step < 60 ? 19 : 16)));
      const time = { label: "UTC", value: (_, t) => (t == null ? "" : utc(t, 0, 16)) };
      const series = lines.map((label, n) => ({ label, stroke: colours[n % 4], width: 1.5, dash: n % 4 ? [[], [6, 3], [2, 3], [8, 3, 2, 3]][n % 4] : undefined }));
      const size = () => ({ width: element.clientWidth, height: 170 });
      const chart = new uPlot({ ...size(), series: [time, ...series], tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"), axes: [{ ...axis, values: times }, { ...axis, size: 56 }], cursor: { drag: { x: true } }, scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] } } }, data, element);
      new ResizeObserver(() => element.clientWidth && chart.setSize(size())).observe(element);
      drawn.set(element, chart);
    }
  };
  const redraw = () => {
    for (const [element, chart] of drawn) {
      chart.destroy();
      drawn.delete(element);
    }
    draw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // Keys
  let at = -1;
  const rows = () => [...document.querySelectorAll("[data-rows] tbody tr")];
  let current = "";
  const mark = () => {
    const all = rows();
    const found = all.findIndex((row) => row.id && row.id === current);
    if (found >= 0) at = found;
    all.forEach((row, n) => row.classList.toggle("at", n === at && current !== ""));
  };
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    at = Math.min(Math.max(at + by, 0), all.length - 1);
    current = all[at].id;
    mark();
    const link = all[at].querySelector("a");
    (link || all[at]).focus();
    all[at].scrollIntoView({ block: "nearest" });
  };
  const help = document.getElementById("help");
  addEventListener("keydown", (event) => {
    const search = document.getElementById("search");
    if ((event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !isTyping(event))) {
      event.preventDefault();
      search.focus();
      search.select();
      return;
    }
    if (event.key === "Escape" && document.activeElement === search) search.blur();
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event) || help.open) return;
    const does = {
      ArrowDown: () => step(1), j: () => step(1), ArrowUp: () => step(-1), k: () => step(-1),
      "?": () => help.showModal(),
      u: () => [...document.querySelectorAll("[data-up]")].at(-1)?.click(),
      x: () => rows()[at]?.querySelector("input[type=checkbox]")?.click(),
      " ": event.target === document.body || event.target.id === "main" ? () => {
        isStopped = !isStopped;
        if (isStopped) { close(); say(`Stopped at ${seen.toISOString().slice(11, 19)} UTC; Space continues.`); } else open();
      } : null,
    }[event.key];
    if (does && (rows().length || !event.key.startsWith("Arrow"))) {
      event.preventDefault();
      does();
    }
  });
  const isTyping = (event) => event.target.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;

  // Copy buttons, and a checkbox for all
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      button.textContent = "Selected";
    }
  });
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("[data-all]")) return;
    for (const box of document.querySelectorAll(`input[name="${event.target.dataset.all}"]`)) box.checked = event.target.checked;
  });

  draw();
  open();
})();
