// Who used what, and when.

import { ask } from './api.js';
import { chart } from './chart.js';
import { h, show } from './dom.js';
import { asRefusal, badge, empty, field, refusal, select, table, time } from './parts.js';
import { currentLanguage, has, locale, moment, named, t } from './texts.js';

const EVERY_MS = 3000;
// How many calls are shown at first, and how many more each time.
const STEP = 50;

export function callsPage({ left }) {
  const body = h('div', {}, h('p', { class: 'muted' }, t('common.loading')));
  const [lead, plot, found] = [h('p', { class: 'muted' }), h('div', {}), h('div', {})];
  let calls = [];
  let most = STEP;
  const search = h('input', { type: 'search', placeholder: t('calls.search-hint'), oninput: () => draw() });
  const outcome = select([['', t('calls.all')], ['granted', t('calls.granted')], ['refused', t('calls.refused')]], '');
  outcome.addEventListener('change', () => draw());
  const live = h('input', { type: 'checkbox', checked: true });

  const more = h('button', { type: 'button', onclick: () => {
    most += STEP;
    draw();
  } }, t('common.more'));

  function draw() {
    const shown = calls.filter((call) => matches(call, search.value, outcome.value));
    if (calls.length === 0) show(found, empty(t('calls.none')));
    else if (shown.length === 0) show(found, empty(t('calls.no-match')));
    else show(found, callTable(shown.slice(0, most), true), shown.length > most && more);
  }

  async function again() {
    try {
      const recent = await ask('ListCalls', { key: null });
      if (left.aborted) return;
      const isNew = JSON.stringify(calls) !== JSON.stringify(recent.calls);
      ({ calls } = recent);
      lead.textContent = t('calls.lead', { time: moment(recent.since) });
      show(plot, chart(recent.minutes, clock));
      if (isNew || calls.length === 0) draw();
      if (!body.contains(plot)) {
        show(body, lead, plot,
          h('div', { class: 'filters', role: 'search' }, field(t('calls.search'), search), field(t('calls.outcome'), outcome),
            h('label', { class: 'check' }, live, t('calls.live'))),
          found);
      }
    } catch (error) {
      if (left.aborted) return;
      show(body, refusal(asRefusal(error)));
      if (error.status === 403) return;
    }
    later();
  }

  // Nothing is asked while nobody looks, or somebody reads with a screen reader's cursor in the table.
  function later() {
    const timer = setTimeout(() => {
      if (live.checked && !document.hidden && !found.contains(document.activeElement)) again();
      else later();
    }, EVERY_MS);
    left.addEventListener('abort', () => clearTimeout(timer));
  }

  again();
  return [h('div', { class: 'title' }, h('h1', {}, t('calls.title'))), body];
}

function clock(start) {
  return new Intl.DateTimeFormat(locale(), { timeStyle: 'short' }).format(new Date(start));
}

function matches(call, text, outcome) {
  const wanted = text.trim().toLowerCase();
  const words = [call.principal, call.action, call.key, call.address, call.access_key_id, call.request_id, call.refusal?.message];
  const isRefused = call.refusal !== null;
  return words.join('\n').toLowerCase().includes(wanted) && (outcome === '' || (outcome === 'refused') === isRefused);
}

export function callTable(calls, withKey) {
  return table(t('calls.caption'), [
    [t('column.time'), (call) => time(call.at, true)],
    [t('column.who'), who],
    [t('column.what'), (call) => [h('strong', {}, call.action), withKey && call.key && keyLink(call.key)]],
    [t('column.outcome'), result, 'wide'],
  ], calls, 'calls');
}

function who(call) {
  const dialect = named('dialect', call.dialect);
  return [
    h('span', { title: call.access_key_id }, call.principal),
    h('div', { class: 'detail' }, call.address ? t('calls.from', { address: call.address, dialect }) : dialect),
  ];
}

function keyLink(key) {
  return h('div', { class: 'detail mono' }, h('a', { href: `#/keys/${encodeURIComponent(key)}` }, key));
}

function result({ refusal: why, request_id: requestId }) {
  if (why === null) return badge('enabled', t('calls.granted'));
  const isTranslated = currentLanguage() !== 'en' && has(`error.${why.code}`);
  return [
    badge('refused', t('calls.refused')),
    isTranslated && h('div', {}, t(`error.${why.code}`)),
    h('div', { class: 'detail', title: requestId }, why.message),
  ];
}
