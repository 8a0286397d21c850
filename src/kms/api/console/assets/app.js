// The frame of the pages: who is signed in, which page is shown, in which language.

import { resume, signOut } from './api.js';
import { callsPage } from './calls.js';
import { createPage } from './create.js';
import { h, show } from './dom.js';
import { keyPage } from './key.js';
import { keysPage } from './keys.js';
import { refusal, say, select } from './parts.js';
import { peoplePage } from './people.js';
import { signInPage } from './sign-in.js';
import { LANGUAGES, currentLanguage, setLanguage, t } from './texts.js';

const PAGES = [
  [/^#\/keys\/new$/, createPage],
  [/^#\/keys\/(.+)$/, keyPage],
  [/^#\/calls$/, callsPage],
  [/^#\/people$/, peoplePage],
  [/^#\/keys$|^#?$|^#\/$/, keysPage],
];

const NAVIGATION = [['#/keys', 'nav.keys'], ['#/calls', 'nav.calls'], ['#/people', 'nav.people']];

const app = document.getElementById('app');
let session;
let over = false;
// Ends what the page before goes on doing, such as asking again every few seconds.
let leave = new AbortController();

function draw() {
  leave.abort();
  leave = new AbortController();
  document.querySelectorAll('dialog').forEach((dialog) => dialog.close());
  document.documentElement.lang = currentLanguage() === 'zh' ? 'zh-CN' : 'en';
  const main = h('main', { id: 'main', tabindex: '-1' });
  show(app, session && skipLink(), header(), main);
  const page = session ? pageOf(location.hash) : signInPage({ over, begin });
  show(main, page);
  document.title = `${main.querySelector('h1')?.textContent ?? ''} – ${t('page.title')}`;
}

function pageOf(hash) {
  for (const [pattern, make] of PAGES) {
    const match = pattern.exec(hash);
    if (match) return make({ session, left: leave.signal, name: decodeURIComponent(match[1] ?? ''), go });
  }
  return keysPage({ session, left: leave.signal, go });
}

function go(hash) {
  if (location.hash === hash) draw();
  else location.hash = hash;
}

function skipLink() {
  const skip = (event) => {
    event.preventDefault();
    document.getElementById('main').focus();
  };
  return h('a', { class: 'skip', href: '#main', onclick: skip }, t('nav.skip'));
}

function header() {
  return h('header', {},
    h('a', { class: 'brand', href: '#/keys' }, h('img', { src: '/console/icon.svg', alt: '' }), 'envelopekms'),
    session && navigation(),
    h('div', { class: 'tools' },
      session && h('span', { class: 'who', title: session.access_key_id }, t('nav.signed-in-as', { name: session.principal })),
      languages(),
      session && h('button', { type: 'button', class: 'quiet', id: 'sign-out', onclick: end }, t('nav.sign-out'))));
}

function navigation() {
  const isHere = (to) => (location.hash || '#/keys').startsWith(to);
  const links = NAVIGATION.map(([to, text]) =>
    h('a', { href: to, 'aria-current': isHere(to) ? 'page' : undefined }, t(text)));
  return h('nav', { 'aria-label': t('nav.label') }, links);
}

function languages() {
  const choice = select(LANGUAGES, currentLanguage());
  choice.id = 'language';
  choice.setAttribute('aria-label', t('nav.language'));
  choice.addEventListener('change', () => {
    setLanguage(choice.value);
    draw();
    document.getElementById('language').focus();
  });
  return choice;
}

function begin(made) {
  session = made;
  over = false;
  draw();
  focusTitle();
}

async function end() {
  try {
    await signOut();
    session = undefined;
    draw();
    say(t('sign-in.signed-out'));
  } catch (error) {
    document.getElementById('main').prepend(refusal(error));
  }
}

function focusTitle() {
  const title = app.querySelector('h1');
  if (!title) return;
  title.tabIndex = -1;
  title.focus();
}

addEventListener('hashchange', () => {
  draw();
  focusTitle();
  scrollTo(0, 0);
});

document.addEventListener('session-ended', () => {
  if (!session) return;
  session = undefined;
  over = true;
  draw();
});

try {
  session = await resume();
  draw();
} catch (error) {
  show(app, header(), h('main', {}, refusal(error),
    h('p', {}, h('button', { type: 'button', onclick: () => location.reload() }, t('common.retry')))));
}
