// All keys.

import { ask } from './api.js';
import { h, show } from './dom.js';
import { empty, field, load, select, stateBadge, table, time } from './parts.js';
import { named, number, t } from './texts.js';

const STATES = ['Enabled', 'Disabled', 'PendingDeletion', 'PendingImport'];

export function keysPage() {
  const body = h('div', {});
  load(body, ask('ListKeys'), (first) => list(first));
  return [
    h('div', { class: 'title' },
      h('h1', {}, t('keys.title')),
      h('a', { class: 'button primary', href: '#/keys/new', id: 'create' }, t('keys.create'))),
    body,
  ];
}

function list(first) {
  if (first.total === 0) return none();
  const keys = [...first.keys];
  let { next } = first;
  const found = h('div', {});
  const count = h('p', { class: 'muted', role: 'status' });
  const search = h('input', { type: 'search', placeholder: t('keys.search-hint'), oninput: () => draw() });
  const states = [['', t('keys.all-states')], ...STATES.map((state) => [state, named('state', state)])];
  const state = select(states, '');
  state.addEventListener('change', () => draw());

  const more = h('button', { type: 'button', onclick: async () => {
    const page = await ask('ListKeys', { offset: next });
    keys.push(...page.keys);
    next = page.next;
    draw();
  } }, t('common.more'));

  function draw() {
    const shown = keys.filter((key) => matches(key, search.value, state.value));
    count.textContent = t('keys.count', { shown: number(shown.length), total: number(first.total) });
    show(found, shown.length > 0 ? keyTable(shown) : empty(t('keys.no-match')), next !== null && more);
  }
  draw();
  return [
    h('div', { class: 'filters', role: 'search' }, field(t('keys.search'), search), field(t('keys.state'), state)),
    count,
    found,
  ];
}

function none() {
  return empty(t('keys.empty'), t('keys.empty-lead'),
    h('a', { class: 'button primary', href: '#/keys/new' }, t('keys.create')));
}

function matches(key, text, state) {
  const wanted = text.trim().toLowerCase();
  const words = [key.id, key.description, ...key.aliases].join('\n').toLowerCase();
  return words.includes(wanted) && (state === '' || key.state === state);
}

export function nameOf(key) {
  return key.aliases[0] ?? key.id;
}

function keyTable(keys) {
  return table(t('keys.caption'), [
    [t('column.key'), keyCell, 'wide'],
    [t('column.state'), (key) => stateBadge(key.state)],
    [t('column.spec'), (key) => h('code', {}, key.spec)],
    [t('column.usage'), (key) => named('usage', key.usage)],
    [t('column.created'), (key) => time(key.created)],
  ], keys);
}

function keyCell(key) {
  const others = key.aliases.slice(1);
  return [
    h('a', { href: `#/keys/${encodeURIComponent(key.id)}`, class: 'strong' }, nameOf(key)),
    others.length > 0 && h('div', { class: 'detail' }, others.join(', ')),
    key.description && h('div', { class: 'detail' }, key.description),
    key.aliases.length > 0 && h('div', { class: 'detail mono' }, key.id),
  ];
}
