// Small helps beside htmx: copy buttons, "/" to search, Esc to close. Pages work without them.
const say = (text) => { document.getElementById("say").textContent = text; };

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
  } catch {
    // Without a secure origin there is no clipboard: mark the text, so that one key copies it.
    getSelection().selectAllChildren(source);
    return;
  }
  const label = button.textContent;
  button.textContent = button.dataset.copied;
  say(button.dataset.copied);
  setTimeout(() => { button.textContent = label; }, 1600);
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.querySelector("[data-search]").focus();
  } else if (event.key === "Escape") {
    const open = event.target.closest("details.confirm[open], details.how[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    } else if (event.target.matches("[data-search]")) {
      event.target.blur();
    }
  }
});

// Whoever picks a file means it.
document.addEventListener("change", (event) => {
  const chosen = document.getElementById(event.target.dataset?.chooses ?? "");
  if (chosen) chosen.checked = true;
});

// Copy buttons are of no use without this script, so they come with it.
document.documentElement.classList.add("scripted");
