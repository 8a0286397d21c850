// An access key for a session.

import { signIn } from './api.js';
import { h } from './dom.js';
import { banner, field, form } from './parts.js';
import { t } from './texts.js';

export function signInPage({ over, begin }) {
  const id = h('input', { type: 'text', name: 'id', autocomplete: 'username', autocapitalize: 'off', spellcheck: 'false', required: true });
  const secret = h('input', { type: 'password', name: 'secret', autocomplete: 'current-password', required: true });
  const send = async () => {
    const session = await signIn(id.value, secret.value);
    secret.value = '';
    begin(session);
  };
  return h('div', { class: 'sign-in card' },
    h('h1', {}, t('sign-in.title')),
    over && banner('info', h('p', {}, t('error.SessionEnded'))),
    h('p', { class: 'muted' }, t('sign-in.lead')),
    form({ id: 'sign-in' }, send,
      field(t('sign-in.id'), id),
      field(t('sign-in.secret'), secret),
      h('button', { type: 'submit', class: 'primary wide' }, t('sign-in.do'))),
    h('p', { class: 'hint' }, t('sign-in.hint')));
}
