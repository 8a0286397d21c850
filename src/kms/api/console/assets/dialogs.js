// Questions before what cannot be undone, or is felt by others at once.

import { h, newId } from './dom.js';
import { form } from './parts.js';
import { t } from './texts.js';

// Asks, and does it while the dialog is open; a refusal is shown in it. Resolves once it is closed: whether it was done.
export function ask({ title, text, action, danger = false, fields = [] }, work) {
  return new Promise((resolve) => {
    let done = false;
    const name = newId();
    const send = async () => {
      await work();
      done = true;
      dialog.close();
    };
    const cancel = h('button', { type: 'button', onclick: () => dialog.close() }, t('common.cancel'));
    const go = h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, action);
    const dialog = h('dialog', { 'aria-labelledby': name },
      h('h2', { id: name }, title),
      text && h('p', {}, text),
      form({}, send, fields, h('div', { class: 'actions end' }, cancel, go)));
    open(dialog, () => resolve(done));
    if (fields.length === 0) cancel.focus();
  });
}

// Tells something that is seen once.
export function tell(title, ...children) {
  return new Promise((resolve) => {
    const name = newId();
    const close = h('button', { type: 'button', class: 'primary', onclick: () => dialog.close() }, t('common.close'));
    const dialog = h('dialog', { 'aria-labelledby': name },
      h('h2', { id: name }, title), children, h('div', { class: 'actions end' }, close));
    open(dialog, resolve);
  });
}

// To where the focus was; where that is gone, because the page is another now, to the page's title.
function returnTo(before) {
  const title = document.querySelector('main h1');
  if (title) title.tabIndex = -1;
  (before?.isConnected ? before : title)?.focus();
}

function open(dialog, closed) {
  const before = document.activeElement;
  dialog.addEventListener('close', () => {
    dialog.remove();
    returnTo(before);
    closed();
  });
  document.body.append(dialog);
  dialog.showModal();
}
