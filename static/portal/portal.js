// Improves pages that already work without it. Everything is delegated, so what htmx swaps in needs no setup.
const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const root = document.documentElement;

// Controls that only make sense with script are hidden by the server.
const unhide = (within) => all('[data-needs-script]', within).forEach((element) => { element.hidden = false; });

// Theme: the form posts without script; here it changes at once and the cookie tells the server.
document.addEventListener('submit', (event) => {
  const theme = event.target.matches('[data-theme-form]') && event.submitter?.value;
  if (!theme || theme === 'system') return;
  event.preventDefault();
  root.dataset.theme = theme;
  document.cookie = `theme=${theme};path=/;max-age=31536000;samesite=lax`;
  one(theme === 'dark' ? '.to-light' : '.to-dark', event.target)?.focus();
});

// One submit a form: a second click while the first is on its way does nothing.
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== 'post' || form.hasAttribute('hx-post')) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = 'yes';
  event.submitter?.setAttribute('aria-disabled', 'true');
});
addEventListener('pageshow', (event) => {
  if (event.persisted) all('form[data-sent]').forEach((form) => { delete form.dataset.sent; all('[aria-disabled]', form).forEach((button) => button.removeAttribute('aria-disabled')); });
});

// Charts: a crosshair and the day's figures, by pointer and by arrow keys, from the data-tip of each column.
const drawing = (chart) => all('svg', chart).find((svg) => svg.checkVisibility());
function show(chart, index) {
  const svg = drawing(chart), columns = all('.hit', svg), column = columns[index];
  if (!column) return;
  const x = Number(column.getAttribute('x')) + Number(column.getAttribute('width')) / 2;
  const line = one('.cur', svg), tip = one('.tip', chart);
  line.setAttribute('x1', x); line.setAttribute('x2', x); line.classList.add('on');
  chart.dataset.at = index;
  tip.textContent = column.dataset.tip;
  tip.className = `tip ${x > svg.viewBox.baseVal.width / 2 ? 'l' : 'r'}`;
}
function hide(chart) {
  all('.cur.on', chart).forEach((line) => line.classList.remove('on'));
  one('.tip', chart).textContent = '';
  delete chart.dataset.at;
}
document.addEventListener('pointerover', (event) => {
  const column = event.target.closest?.('.hit'), chart = event.target.closest?.('.chart');
  if (column) show(chart, all('.hit', column.ownerSVGElement).indexOf(column));
  all('.chart[data-at]').forEach((other) => { if (other !== chart && other !== document.activeElement) hide(other); });
});
document.addEventListener('focusout', (event) => { if (event.target.matches?.('.chart')) hide(event.target); });
document.addEventListener('keydown', (event) => {
  const chart = event.target;
  if (!chart.matches?.('.chart')) return;
  const last = all('.hit', drawing(chart)).length - 1;
  const at = chart.dataset.at === undefined ? last + 1 : Number(chart.dataset.at);
  const to = { ArrowRight: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
  if (to !== undefined) { event.preventDefault(); show(chart, to); } else if (event.key === 'Escape') hide(chart);
});

// Copy a field. Without the clipboard API (plain http on a named host) the text is selected for the person to copy.
document.addEventListener('click', async (event) => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  const field = one(button.dataset.copy), said = one('[data-copied]');
  field.select?.();
  try {
    await navigator.clipboard.writeText(field.value ?? field.textContent);
    said.textContent = 'Copied';
  } catch {
    said.textContent = 'Selected: press Ctrl+C, or Command+C, to copy';
  }
});

// After a swap the focus goes to the error summary or the new heading, so that screen readers hear the change.
function settle(within) {
  unhide(within);
  const target = one('.errsum', within) ?? one('[data-focus]', within);
  target?.focus();
}
document.addEventListener('htmx:afterSettle', (event) => settle(event.detail.elt));
unhide(document);
one('.errsum')?.focus();

// Single keys: "/" search, "?" help, j and k the list, a and d focus a decision. Off while typing, or when turned off (WCAG 2.1.4).
const shortcuts = { off: () => localStorage.getItem('shortcuts') === 'off', toggle: one('[data-shortcuts]') };
if (shortcuts.toggle) {
  shortcuts.toggle.checked = !shortcuts.off();
  shortcuts.toggle.addEventListener('change', () => localStorage.setItem('shortcuts', shortcuts.toggle.checked ? 'on' : 'off'));
}
document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || shortcuts.off()) return;
  if (event.target.matches('input, textarea, select, [contenteditable]') || one(':popover-open')) return;
  const rows = all('[data-row]'), at = rows.findIndex((row) => row.getAttribute('aria-current') === 'true');
  const act = {
    '/': () => one('#q')?.focus(),
    '?': () => one('#shortcuts')?.showPopover(),
    j: () => rows[Math.min(at + 1, rows.length - 1)]?.click(),
    k: () => rows[Math.max(at - 1, 0)]?.click(),
    a: () => one('#approve')?.focus(),
    d: () => one('#deny')?.focus(),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
});

// Passkeys: what the browser refuses, or the person cancels, is said on the page instead of in the console.
document.addEventListener('allauth.error', (event) => {
  event.preventDefault();
  const said = one('[data-passkey-said]');
  if (said) said.textContent = 'No passkey was used. Try again, or choose another way.';
});
