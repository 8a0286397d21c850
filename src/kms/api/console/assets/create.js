// A new key.

import { ask } from './api.js';
import { h, newId, show } from './dom.js';
import { field, form, refusal, say, select } from './parts.js';
import { t } from './texts.js';

// What a key is for: its usage, and the kinds of key that can do it, the usual one first.
const PURPOSES = [
  ['encrypt', 'ENCRYPT_DECRYPT', ['AES_256', 'SM4', 'AES_128', 'AES_192']],
  ['public', 'ENCRYPT_DECRYPT', ['RSA_3072', 'RSA_2048', 'RSA_4096', 'EC_SM2']],
  ['sign', 'SIGN_VERIFY', ['EC_P256', 'EC_P384', 'EC_P256K', 'EC_SM2', 'RSA_2048', 'RSA_3072', 'RSA_4096']],
  ['mac', 'GENERATE_VERIFY_MAC', ['HMAC_256', 'HMAC_384', 'HMAC_512', 'HMAC_224']],
];

export const PERIODS = [30, 90, 180, 365];

export function rotationChoice(days) {
  const own = days && !PERIODS.includes(days) ? [days] : [];
  const every = [...PERIODS, ...own].sort((one, other) => one - other);
  const options = every.map((period) => [String(period), t('create.every', { days: period })]);
  return select([['', t('create.never')], ...options], String(days ?? ''));
}

export function createPage({ go, session }) {
  let purpose = PURPOSES[0];
  const rest = h('div', { class: 'stack' });
  const alias = h('input', { type: 'text', name: 'alias', autocapitalize: 'off', spellcheck: 'false', pattern: 'alias/[A-Za-z0-9\\/_\\-]{1,249}', placeholder: 'alias/' });
  const description = h('textarea', { name: 'description', rows: '2' });
  const rotation = rotationChoice();
  const home = select([['SOFTWARE', t('protection.SOFTWARE')], ['HSM', t('protection.HSM')]], 'SOFTWARE');
  home.name = 'home';
  let spec;

  function choose(chosen) {
    purpose = chosen;
    spec = select(chosen[2].map((name) => [name, name]), chosen[2][0]);
    spec.name = 'spec';
    const rotates = chosen[0] === 'encrypt';
    show(rest, field(t('create.spec'), spec), rotates && field(t('create.rotation'), rotation, t('create.rotation-hint')),
      session.hsm && field(t('create.home'), home, t('create.home-hint')));
  }
  choose(purpose);

  const send = async () => {
    const days = purpose[0] === 'encrypt' && rotation.value ? Number(rotation.value) : null;
    const made = await ask('CreateKey', {
      usage: purpose[1],
      spec: spec.value,
      alias: alias.value.trim(),
      description: description.value.trim(),
      rotation_days: days,
      hsm: session.hsm && home.value === 'HSM',
    });
    go(`#/keys/${made.id}`);
    if (made.alias?.refused) tellOfAlias(made.alias.refused);
    else say(t('create.done'));
  };
  return [
    h('div', { class: 'title' }, h('h1', {}, t('create.title'))),
    form({ class: 'card', id: 'create-key' }, send,
      purposes(choose),
      rest,
      field(t('create.alias'), alias, t('create.alias-hint')),
      field(t('create.description'), description, t('create.description-hint')),
      h('div', { class: 'actions' },
        h('button', { type: 'submit', class: 'primary' }, t('create.do')),
        h('a', { class: 'button', href: '#/keys' }, t('common.cancel')))),
  ];
}

function purposes(choose) {
  const choices = PURPOSES.map((purpose, nth) => {
    const id = newId();
    const radio = h('input', { type: 'radio', name: 'purpose', id, value: purpose[0], checked: nth === 0, onchange: () => choose(purpose) });
    return h('label', { class: 'choice', for: id }, radio,
      h('span', {}, h('strong', {}, t(`create.${purpose[0]}`)), h('span', { class: 'hint' }, t(`create.${purpose[0]}-lead`))));
  });
  return h('fieldset', {}, h('legend', {}, t('create.purpose')), h('div', { class: 'choices' }, choices));
}

// The page of the key is shown by then; the refusal stands at its top.
function tellOfAlias(refused) {
  say(t('create.without-alias'));
  setTimeout(() => {
    document.getElementById('main').prepend(h('p', { class: 'strong' }, t('create.without-alias')), refusal(refused));
  });
}
