// Parts that pages have in common.

import { h, newId, show } from './dom.js';
import { has, moment, named, t } from './texts.js';

// Tells what was done, also to who listens rather than looks.
export function say(text) {
  const said = document.getElementById('said');
  said.textContent = text;
  said.classList.add('shown');
  clearTimeout(say.timer);
  say.timer = setTimeout(() => said.classList.remove('shown'), 6000);
}

// A refusal in words: what it means, what the service says, and the request's id for who looks it up.
export function refusal(error) {
  const known = has(`error.${error.code}`);
  const own = known ? t(`error.${error.code}`) : error.message;
  const title = error.status >= 500 || error.status === 0 ? 'error.failed-title' : 'error.title';
  return h('div', { class: 'notice refused', role: 'alert' },
    h('strong', {}, t(title)),
    h('p', {}, own),
    error.message && error.message !== own && h('p', { class: 'detail' }, t('common.said-by-service', { message: error.message })),
    error.requestId && h('p', { class: 'detail' }, t('common.request-id', { id: error.requestId })));
}

export function banner(kind, ...children) {
  return h('div', { class: `notice ${kind}` }, children);
}

// Fills an element with what a promise gives, or with why there is nothing.
export async function load(element, promise, make) {
  const waiting = setTimeout(() => show(element, h('p', { class: 'muted' }, t('common.loading'))), 300);
  try {
    const value = await promise;
    clearTimeout(waiting);
    show(element, make(value));
  } catch (error) {
    clearTimeout(waiting);
    show(element, refusal(asRefusal(error)));
  }
}

// What is no refusal is a fault of the page, and belongs into the browser's log too.
export function asRefusal(error) {
  if (error.code === undefined) console.error(error);
  return error;
}

export function field(label, input, hint) {
  const id = newId();
  input.id = id;
  const described = hint && h('span', { class: 'hint', id: `${id}h` }, hint);
  if (described) input.setAttribute('aria-describedby', described.id);
  return h('div', { class: 'field' }, h('label', { for: id }, label), input, described);
}

export function select(options, chosen) {
  const made = options.map(([value, text]) => h('option', { value, selected: value === chosen }, text));
  return h('select', {}, made);
}

// A form that is sent once at a time, and shows under its fields why it was refused.
export function form(attributes, send, ...children) {
  const answer = h('div', {});
  const element = h('form', attributes, children, answer);
  element.addEventListener('submit', async (event) => {
    event.preventDefault();
    if (element.getAttribute('aria-busy') === 'true') return;
    show(answer);
    await busy(element, send).catch((error) => {
      show(answer, refusal(asRefusal(error)));
      answer.scrollIntoView({ block: 'nearest' });
    });
  });
  return element;
}

async function busy(element, work) {
  const buttons = [...element.querySelectorAll('button')];
  element.setAttribute('aria-busy', 'true');
  buttons.forEach((button) => { button.disabled = true; });
  try {
    await work();
  } finally {
    element.removeAttribute('aria-busy');
    buttons.forEach((button) => { button.disabled = false; });
  }
}

// A button whose work may be refused: the refusal is shown in `place`.
export function button(text, place, work, attributes = {}) {
  const element = h('button', { type: 'button', ...attributes }, text);
  element.addEventListener('click', async () => {
    // Disabled, it could not have the focus back from a dialog.
    if (element.getAttribute('aria-busy') === 'true') return;
    show(place);
    element.setAttribute('aria-busy', 'true');
    try {
      await work();
    } catch (error) {
      show(place, refusal(asRefusal(error)));
      place.scrollIntoView({ block: 'nearest' });
    } finally {
      element.removeAttribute('aria-busy');
    }
  });
  return element;
}

export function badge(kind, text) {
  return h('span', { class: `badge ${kind}` }, text);
}

export function stateBadge(state) {
  return badge(state.toLowerCase(), named('state', state));
}

export function time(text, seconds) {
  return h('time', { datetime: text, title: text }, moment(text, seconds));
}

// A table that is a list of cards on a narrow screen. Columns: [heading, cell, class].
export function table(caption, columns, rows, kind) {
  const headings = columns.map(([heading, , width]) => h('th', { scope: 'col', class: width }, heading));
  const cells = (row) => columns.map(([heading, cell, width]) =>
    h('td', { 'data-label': heading, class: width }, h('div', {}, cell(row))));
  return h('table', { class: kind },
    h('caption', { class: 'hidden' }, caption),
    h('thead', {}, h('tr', {}, headings)),
    h('tbody', {}, rows.map((row) => h('tr', {}, cells(row)))));
}

export function empty(title, lead, ...actions) {
  return h('div', { class: 'empty' }, h('p', {}, h('strong', {}, title)), lead && h('p', {}, lead), actions);
}

// What a part of a page has, or why its reader may not see it.
export function part(value, make) {
  return 'is' in value ? make(value.is) : refusal(value.refused);
}

export function section(title, ...children) {
  const id = newId();
  return h('section', { 'aria-labelledby': id }, h('h2', { id }, title), children);
}
