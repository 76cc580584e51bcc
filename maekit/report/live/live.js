"use strict";
// Asks the server every two seconds whether the run has changed, and replaces the parts of the page that have.
// It stands before the script that makes tables sortable, so that it keeps each part as it was sent.
const live = (() => {
  const status = document.getElementById("live");
  const parts = (root) => new Map(Array.from(root.querySelectorAll("main > section"), (part) =>
    [part.querySelector("h2") ? part.querySelector("h2").textContent : "", part]));
  const sent = new Map(Array.from(parts(document), ([title, part]) => [title, part.outerHTML]));
  let version = status.dataset.version;

  const anchor = () => {
    for (const [title, part] of parts(document)) {
      if (part.getBoundingClientRect().bottom > 0) return [title, part.getBoundingClientRect().top];
    }
    return [null, 0];
  };

  // What a reader has opened, scrolled sideways or sorted stays so in the new part.
  const carryOver = (old, fresh) => {
    const both = (selector) => {
      const after = fresh.querySelectorAll(selector);
      return Array.from(old.querySelectorAll(selector)).map((one, at) => [one, after[at]]).filter((pair) => pair[1]);
    };
    for (const [before, after] of both("details")) after.open = before.open;
    for (const [before, after] of both("table")) {
      const sorted = Array.from(before.tHead.rows[0].cells).findIndex((head) => head.hasAttribute("aria-sort"));
      if (sorted < 0) continue;
      const head = after.tHead.rows[0].cells[sorted];
      const button = head && head.querySelector("button");
      const clicks = before.tHead.rows[0].cells[sorted].getAttribute("aria-sort") === "ascending" ? 1 : 2;
      for (let click = 0; button && click < clicks; click += 1) button.click();
    }
    return () => both(".scroll").forEach(([before, after]) => { after.scrollLeft = before.dataset.left || 0; });
  };

  const replace = (fresh) => {
    const [title, top] = anchor();
    document.title = fresh.title;
    for (const selector of ["header", "nav"]) {
      const before = document.querySelector(selector), after = fresh.querySelector(selector);
      if (before && after && before.outerHTML !== after.outerHTML) before.replaceWith(after);
    }
    const main = document.querySelector("main"), old = parts(document), now = parts(fresh);
    for (const [name, part] of old) if (!now.has(name)) part.remove();
    let last = null;
    for (const [name, part] of now) {
      const before = old.get(name), html = part.outerHTML;
      let kept = before;
      if (!before || sent.get(name) !== html) {
        sent.set(name, html);
        kept = part;
        if (before) {
          before.querySelectorAll(".scroll").forEach((box) => { box.dataset.left = box.scrollLeft; });
          before.replaceWith(part);
          sortable(part);
          carryOver(before, part)();
        } else {
          main.insertBefore(part, last ? last.nextSibling : main.firstChild);
          sortable(part);
        }
      } else if (before.id !== part.id) {
        before.id = part.id;
      }
      last = kept;
    }
    const same = title === null ? null : parts(document).get(title);
    if (same) window.scrollBy({top: same.getBoundingClientRect().top - top, behavior: "instant"});
  };

  const ask = async () => {
    let wait = 2000;
    try {
      const state = await (await fetch("/state", {cache: "no-store"})).json();
      if (state.version !== version) {
        const text = await (await fetch("/", {cache: "no-store"})).text();
        const fresh = new DOMParser().parseFromString(text, "text/html");
        replace(fresh);
        version = fresh.getElementById("live").dataset.version;
      }
      if (status.textContent !== state.line) status.textContent = state.line;
      if (!state.live) wait = 10000;
    } catch (error) {
      status.textContent = "not refreshed any more: maekit watch has ended";
      wait = 10000;
    }
    setTimeout(ask, wait);
  };
  setTimeout(ask, 2000);
  return {replace};
})();
