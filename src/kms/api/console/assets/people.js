// Principals, their policies and their access keys.

import { ask } from './api.js';
import * as dialogs from './dialogs.js';
import { h, newId } from './dom.js';
import { policyForm } from './key.js';
import { badge, button, field, load, say, select, table, time } from './parts.js';
import { t } from './texts.js';

// What a person or program may do, as most want it; the policy can be changed after.
const ROLES = {
  user: ['kms:AsymmetricDecrypt', 'kms:AsymmetricEncrypt', 'kms:Decrypt', 'kms:DescribeKey', 'kms:Encrypt', 'kms:GenerateDataKey*', 'kms:GenerateMac', 'kms:GetPublicKey', 'kms:ReEncrypt*', 'kms:Sign', 'kms:Verify', 'kms:VerifyMac'],
  reader: ['kms:Describe*', 'kms:Get*', 'kms:List*'],
  admin: ['kms:*'],
  none: [],
};

function policyOf(role) {
  const Action = ROLES[role];
  const Statement = Action.length === 0 ? [] : [{ Effect: 'Allow', Action, Resource: '*' }];
  return JSON.stringify({ Version: '2012-10-17', Statement });
}

export function peoplePage() {
  const body = h('div', {});
  const draw = () => load(body, everybody(), (people) => people.map((person) => card(person, draw)));
  draw();
  const place = h('div', {});
  return [
    h('div', { class: 'title' }, h('h1', {}, t('people.title')),
      button(t('people.create'), place, () => create(draw), { class: 'primary', id: 'add-person' })),
    h('p', { class: 'muted' }, t('people.lead')),
    place,
    body,
  ];
}

async function everybody() {
  const people = [];
  let offset = 0;
  while (offset !== null) {
    const page = await ask('ListPrincipals', { offset });
    people.push(...page.principals);
    offset = page.next;
  }
  return people;
}

function create(again) {
  const name = h('input', { type: 'text', required: true, maxlength: '64', pattern: '[A-Za-z0-9._@\\-]+', autocapitalize: 'off', spellcheck: 'false', name: 'person' });
  const role = select(Object.keys(ROLES).map((key) => [key, t(`people.role-${key}`)]), 'user');
  return dialogs.ask({
    title: t('people.create'), action: t('common.add'),
    fields: [field(t('people.name'), name, t('people.name-hint')), field(t('people.role'), role)],
  }, async () => {
    await ask('CreatePrincipal', { name: name.value, policy: policyOf(role.value) });
    await again();
    say(t('people.created', { name: name.value }));
  });
}

function card(person, again) {
  const { name } = person;
  const place = h('div', {});
  const id = newId();
  const change = async (operation, members, done) => {
    await ask(operation, members);
    await again();
    say(done);
  };
  const remove = () => dialogs.ask({
    title: t('people.delete-title', { name }), text: t('people.delete-text', { name }), action: t('common.remove'), danger: true,
  }, () => change('DeletePrincipal', { name }, t('people.deleted', { name })));
  return h('section', { class: 'card', 'aria-labelledby': id },
    h('div', { class: 'title' }, h('h2', { id }, name),
      button(t('common.remove'), place, remove, { class: 'danger-quiet', 'aria-label': t('people.delete', { name }) })),
    place,
    accessKeys(person, change, place),
    h('div', { class: 'actions' }, button(t('people.new-access-key'), place, () => newAccessKey(name, again))),
    policyForm(person.policy, t('people.policy-label', { name }),
      (policy) => change('PutPrincipalPolicy', { name, policy }, t('policy.done'))));
}

function accessKeys({ access_keys: keys }, change, place) {
  if (keys.length === 0) return h('p', { class: 'muted' }, t('people.no-access-keys'));
  return table(t('people.access-keys'), [
    [t('column.access-key'), ({ id }) => h('code', {}, id), 'wide'],
    [t('column.state'), ({ enabled }) => badge(enabled ? 'enabled' : 'disabled', t(enabled ? 'people.on' : 'people.off'))],
    [t('column.created'), ({ created }) => time(created)],
    [t('column.actions'), (key) => h('div', { class: 'actions end' }, toggle(key, change, place), removeKey(key, change, place)), 'end'],
  ], keys);
}

function toggle({ id, enabled }, change, place) {
  const set = () => change('SetAccessKeyEnabled', { id, enabled: !enabled }, t('common.done'));
  const label = t(enabled ? 'people.disable' : 'people.enable', { id });
  return button(t(enabled ? 'short.disable' : 'short.enable'), place, set, { 'aria-label': label });
}

function removeKey({ id }, change, place) {
  const remove = () => dialogs.ask({
    title: t('people.delete-key-title'), text: t('people.delete-key-text', { id }), action: t('short.delete'), danger: true,
  }, () => change('DeleteAccessKey', { id }, t('common.done')));
  return button(t('short.delete'), place, remove, { class: 'danger-quiet', 'aria-label': t('people.delete-key', { id }) });
}

async function newAccessKey(name, again) {
  const made = await ask('CreateAccessKey', { name });
  const copyable = (label, text) => {
    const input = h('input', { type: 'text', readonly: true, value: text, class: 'mono', onfocus: () => input.select() });
    const copy = async () => {
      await navigator.clipboard.writeText(text);
      say(t('common.copied'));
    };
    return h('div', { class: 'inline' }, field(label, input), button(t('common.copy'), h('div', {}), copy));
  };
  await dialogs.tell(t('people.secret-title'), h('p', {}, t('people.secret-text')),
    copyable(t('sign-in.id'), made.id), copyable(t('sign-in.secret'), made.secret));
  await again();
}
