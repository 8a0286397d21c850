// One key.

import { ask } from './api.js';
import { callTable } from './calls.js';
import { rotationChoice } from './create.js';
import * as dialogs from './dialogs.js';
import { h, show } from './dom.js';
import { nameOf } from './keys.js';
import { badge, banner, button, empty, field, form, load, part, say, section, stateBadge, table, time } from './parts.js';
import { moment, named, number, t } from './texts.js';

export function keyPage({ name, left }) {
  const body = h('div', {}, h('h1', { class: 'hidden' }, name));
  const draw = async () => {
    await load(body, ask('GetKey', { key: name }), (whole) => page(whole, draw));
    const title = body.querySelector('h1')?.textContent;
    if (title && !left.aborted) document.title = `${title} – ${t('page.title')}`;
  };
  draw();
  return [h('p', { class: 'crumb' }, h('a', { href: '#/keys' }, t('nav.keys'))), body];
}

function page(whole, again) {
  const { key } = whole;
  const aliases = whole.aliases.is ?? [];
  key.aliases = aliases;
  const place = h('div', {});
  // Does something to the key, says so and shows the key as it is then.
  const change = async (name, members, done) => {
    await ask(name, { key: key.id, ...members });
    await again();
    say(done);
  };
  const context = { key, whole, change, place };
  return [
    h('div', { class: 'title' }, h('h1', {}, nameOf(key)), stateBadge(key.state)),
    stateBanner(key),
    place,
    actions(context),
    facts(context),
    versions(context),
    h('div', { class: 'columns' }, aliasSection(context), tagSection(context)),
    policySection(context),
    grantSection(context),
    callSection(key),
  ];
}

function stateBanner(key) {
  switch (key.state) {
    case 'Disabled': return banner('warned', h('p', {}, t('key.disabled-banner')));
    case 'PendingDeletion': return banner('refused', h('p', {}, t('key.deleting-banner', { time: moment(key.deletion) })));
    case 'PendingImport': return banner('info', h('p', {}, t('key.import-banner')));
    default: return null;
  }
}

function actions({ key, change, place }) {
  const simple = (text, name, done, id) => button(t(text), place, () => change(name, {}, t(done)), { id });
  if (key.state === 'PendingDeletion') {
    return h('div', { class: 'actions' }, simple('key.cancel-deletion', 'CancelKeyDeletion', 'key.cancel-done', 'cancel-deletion'));
  }
  const name = nameOf(key);
  const disable = button(t('key.disable'), place, () => dialogs.ask(
    { title: t('key.disable-title'), text: t('key.disable-text', { name }), action: t('key.disable') },
    () => change('DisableKey', {}, t('key.disabled'))), { id: 'disable' });
  const rotate = button(t('key.rotate'), place, () => dialogs.ask(
    { title: t('key.rotate-title'), text: t('key.rotate-text'), action: t('key.rotate') },
    () => change('RotateKey', {}, t('key.rotated'))), { id: 'rotate' });
  return h('div', { class: 'actions' },
    key.state === 'Enabled' && disable,
    key.state === 'Disabled' && simple('key.enable', 'EnableKey', 'key.enabled', 'enable'),
    key.state === 'Enabled' && key.rotates && rotate,
    button(t('key.delete'), place, () => destroy({ key, change }), { class: 'danger-quiet', id: 'delete' }));
}

function destroy({ key, change }) {
  const days = h('input', { type: 'number', min: '7', max: '366', value: '30', required: true, name: 'days' });
  const confirm = h('input', { type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', required: true, name: 'confirm' });
  return dialogs.ask({
    title: t('key.delete-title'),
    text: t('key.delete-text'),
    action: t('key.delete-do'),
    danger: true,
    fields: [field(t('key.delete-days'), days), field(t('key.delete-confirm', { name: nameOf(key) }), confirm)],
  }, () => change('ScheduleKeyDeletion', { days: Number(days.value), confirm: confirm.value.trim() }, t('key.delete-done')));
}

function facts({ key, change, place }) {
  const fact = (text, ...value) => h('div', {}, h('dt', {}, t(text)), h('dd', {}, value));
  return h('dl', { class: 'facts card' },
    fact('key.id', h('code', {}, key.id)),
    fact('key.spec', h('code', {}, key.spec)),
    fact('key.usage', named('usage', key.usage)),
    fact('key.origin', named('origin', key.origin)),
    fact('key.protection', named('protection', key.protection)),
    fact('key.created', t('key.created-by', { time: moment(key.created), name: key.creator })),
    key.deletion && fact('key.deletion', time(key.deletion)),
    key.material_expires && fact('key.expires', time(key.material_expires)),
    fact('key.description', key.description || h('span', { class: 'muted' }, t('key.no-description')), ' ',
      key.state !== 'PendingDeletion' && button(t('common.edit'), place, () => describe({ key, change }), { class: 'link' })),
    key.rotates && fact('rotation.title', rotationText(key.rotation), ' ',
      key.state === 'Enabled' && button(t('common.edit'), place, () => rotation({ key, change }), { class: 'link' })));
}

function describe({ key, change }) {
  const text = h('textarea', { rows: '3', value: key.description });
  return dialogs.ask({
    title: t('key.description'), action: t('common.save'), fields: [field(t('key.description'), text)],
  }, () => change('UpdateKeyDescription', { description: text.value.trim() }, t('key.description-done')));
}

function rotationText({ days, next }) {
  return days === null ? t('rotation.by-hand') : t('rotation.every', { days, time: moment(next) });
}

function rotation({ key, change }) {
  const choice = rotationChoice(key.rotation.days);
  return dialogs.ask({
    title: t('rotation.title'), action: t('common.save'),
    fields: [field(t('rotation.label'), choice, t('create.rotation-hint'))],
  }, () => change('UpdateRotation', { days: choice.value ? Number(choice.value) : null }, t('rotation.done')));
}

function versions({ key, whole, change }) {
  const place = h('div', {});
  return section(t('versions.title'), place, part(whole.versions, (all) => {
    if (all.length === 0) return h('p', { class: 'muted' }, t('versions.none'));
    return table(t('versions.caption'), [
      [t('column.version'), (version) => h('span', { title: version.id }, h('strong', {}, String(version.number)))],
      [t('column.state'), (version) => versionBadge(key, version)],
      [t('column.created'), (version) => time(version.created)],
      [t('column.cause'), (version) => named('cause', version.cause)],
      [t('column.uses'), (version) => uses(version)],
      [t('column.last-used'), (version) => (version.last_used ? time(version.last_used) : t('versions.never'))],
      [t('column.actions'), (version) => versionAction({ key, version, change, place }), 'end'],
    ], all);
  }));
}

function versionBadge(key, version) {
  if (!version.enabled) return badge('disabled', t('versions.off'));
  const isPrimary = version.id === key.primary;
  return badge(isPrimary ? 'enabled' : 'plain', t(isPrimary ? 'versions.primary' : 'versions.live'));
}

function uses({ produced, opened }) {
  return produced === null ? '–' : t('versions.uses', { produced: number(produced), opened: number(opened) });
}

function versionAction({ key, version, change, place }) {
  if (version.id === key.primary || !['Enabled', 'Disabled'].includes(key.state)) return '–';
  const set = (enabled) => change('SetKeyVersionEnabled', { version: version.id, enabled }, t('common.done'));
  const values = { number: version.number };
  if (!version.enabled) {
    return button(t('short.enable'), place, () => set(true), { 'aria-label': t('versions.enable', values) });
  }
  const sure = () => dialogs.ask({
    title: t('versions.disable-title', values), text: t('versions.disable-text'), action: t('key.disable'),
  }, () => set(false));
  return button(t('short.disable'), place, sure, { 'aria-label': t('versions.disable', values) });
}

function aliasSection({ key, whole, change }) {
  const name = h('input', { type: 'text', placeholder: 'alias/', required: true, autocapitalize: 'off', spellcheck: 'false', name: 'new-alias' });
  const remove = (alias) => dialogs.ask({
    title: t('aliases.remove-title', { name: alias }), text: t('aliases.remove-text'), action: t('common.remove'), danger: true,
  }, () => change('DeleteAlias', { name: alias }, t('aliases.removed')));
  return section(t('aliases.title'), part(whole.aliases, (aliases) => [
    chips(aliases, t('aliases.none'), (alias) => alias, remove),
    form({ class: 'inline' }, () => change('CreateAlias', { name: name.value.trim() }, t('aliases.added')),
      field(t('aliases.label'), name), h('button', { type: 'submit' }, t('common.add'))),
  ]));
}

function tagSection({ whole, change }) {
  const tag = h('input', { type: 'text', required: true, maxlength: '128' });
  const value = h('input', { type: 'text', maxlength: '256' });
  const remove = (own) => change('UntagKey', { tag: own.key }, t('tags.removed'));
  return section(t('tags.title'), part(whole.tags, (tags) => [
    chips(tags, t('tags.none'), (own) => `${own.key}: ${own.value}`, remove),
    form({ class: 'inline' }, () => change('TagKey', { tag: tag.value, value: value.value }, t('tags.added')),
      field(t('tags.key'), tag), field(t('tags.value'), value), h('button', { type: 'submit' }, t('common.add'))),
  ]));
}

function chips(items, none, text, remove) {
  if (items.length === 0) return h('p', { class: 'muted' }, none);
  const place = h('div', {});
  const chip = (item) => h('li', {}, text(item),
    button('×', place, () => remove(item), { class: 'link', 'aria-label': `${t('common.remove')} ${text(item)}` }));
  return [h('ul', { class: 'chips' }, items.map(chip)), place];
}

function policySection({ whole, change }) {
  return section(t('policy.title'), part(whole.policy, (policy) =>
    policyForm(policy, t('policy.label'), (text) => change('PutKeyPolicy', { policy: text }, t('policy.done')))));
}

// A policy, folded until somebody wants to see it.
export function policyForm(policy, label, save) {
  const text = h('textarea', { rows: '14', class: 'mono', spellcheck: 'false', value: pretty(policy) });
  const send = async () => {
    try {
      JSON.parse(text.value);
    } catch (error) {
      throw Object.assign(new Error(t('policy.not-json', { message: error.message })), { code: 'NotJson' });
    }
    await save(text.value);
  };
  return h('details', {}, h('summary', {}, label),
    form({}, send, field(label, text), h('div', { class: 'actions' }, h('button', { type: 'submit' }, t('common.save')))));
}

function pretty(policy) {
  try {
    return JSON.stringify(JSON.parse(policy), null, 2);
  } catch {
    return policy;
  }
}

// How many calls a key's page shows; Activity has more.
const CALLS_MAX = 10;

const FOR_GRANTS = {
  ENCRYPT_DECRYPT: ['Encrypt', 'Decrypt', 'GenerateDataKey', 'GenerateDataKeyWithoutPlaintext', 'DescribeKey'],
  SIGN_VERIFY: ['Sign', 'Verify', 'GetPublicKey', 'DescribeKey'],
  GENERATE_VERIFY_MAC: ['GenerateMac', 'VerifyMac', 'DescribeKey'],
};

function grantSection({ key, whole, change }) {
  const place = h('div', {});
  const revoke = (grant) => dialogs.ask({
    title: t('grants.revoke-title'), text: t('grants.revoke-text', { name: grant.grantee }), action: t('short.revoke'), danger: true,
  }, () => change('RevokeGrant', { id: grant.id }, t('grants.revoked')));
  return section(t('grants.title'), place, part(whole.grants, (grants) => [
    grants.length === 0 ? h('p', { class: 'muted' }, t('grants.none')) : table(t('grants.caption'), [
      [t('column.grantee'), (grant) => [h('strong', {}, grant.grantee), grant.name && h('div', { class: 'detail' }, grant.name)]],
      [t('column.operations'), (grant) => [grant.operations.join(', '), grant.constraint && h('div', { class: 'detail' }, t('grants.constrained'))], 'wide'],
      [t('column.created'), (grant) => time(grant.created)],
      [t('column.actions'), (grant) => button(t('short.revoke'), place, () => revoke(grant),
        { 'aria-label': t('grants.revoke', { name: grant.grantee }) }), 'end'],
    ], grants),
    key.state === 'Enabled' && h('div', { class: 'actions' }, button(t('grants.add'), place, () => grant({ key, change }))),
  ]));
}

function grant({ key, change }) {
  const grantee = h('input', { type: 'text', required: true, autocapitalize: 'off', spellcheck: 'false' });
  const boxes = FOR_GRANTS[key.usage].map((name) => h('input', { type: 'checkbox', value: name, checked: true }));
  const choices = boxes.map((box) => h('label', { class: 'check' }, box, box.value));
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  return dialogs.ask({
    title: t('grants.add'), action: t('grants.add'),
    fields: [field(t('grants.grantee'), grantee), h('fieldset', {}, h('legend', {}, t('grants.operations')), choices)],
  }, () => change('CreateGrant', { name: '', grantee: grantee.value.trim(), operations: chosen() }, t('grants.added')));
}

function callSection(key) {
  const body = h('div', {});
  load(body, ask('ListCalls', { key: key.id }), ({ calls }) =>
    (calls.length === 0 ? h('p', { class: 'muted' }, t('calls.none')) : callTable(calls.slice(0, CALLS_MAX), false)));
  return section(t('calls.of-key'), body);
}
