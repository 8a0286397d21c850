// The one table of texts, in each language, and which one is shown.

import english from './texts-en.js';
import chinese from './texts-zh.js';

export const LANGUAGES = [['en', 'English'], ['zh', '中文']];

const TABLES = { en: english, zh: chinese };
const LOCALES = { en: 'en-GB', zh: 'zh-CN' };

let language = remembered() ?? browsers();

function remembered() {
  try {
    const own = localStorage.getItem('language');
    return own in TABLES ? own : undefined;
  } catch {
    return undefined;
  }
}

function browsers() {
  const known = navigator.languages.map((name) => name.slice(0, 2).toLowerCase());
  return known.find((name) => name in TABLES) ?? 'en';
}

export function currentLanguage() {
  return language;
}

export function setLanguage(name) {
  language = name;
  try {
    localStorage.setItem('language', name);
  } catch {
    // A browser that keeps nothing asks its user again.
  }
}

export function locale() {
  return LOCALES[language];
}

export function has(key) {
  return key in TABLES[language];
}

// The text of a key, with {name} replaced by the value of that name.
export function t(key, values = {}) {
  const text = TABLES[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_whole, name) => values[name] ?? '');
}

// The text of one of the service's names, or the name itself.
export function named(kind, name) {
  const key = `${kind}.${name}`;
  return has(key) ? t(key) : name;
}

// A moment for people; `seconds` where they matter.
export function moment(text, seconds = false) {
  const form = { dateStyle: 'medium', timeStyle: seconds ? 'medium' : 'short' };
  return new Intl.DateTimeFormat(locale(), form).format(new Date(text));
}

export function number(value) {
  return new Intl.NumberFormat(locale()).format(value);
}
