// Makes elements. Text becomes text nodes and never markup.

const SVG = 'http://www.w3.org/2000/svg';

// h('a', {href: '#/keys', class: 'x', onclick: f}, child, …): children are nodes, text, lists of them, or nothing.
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key === 'value') element.value = value;
    else element.setAttribute(key, value === true ? '' : value);
  }
  element.append(...children.flat(9).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// Puts children in the place of what an element has.
export function show(element, ...children) {
  element.replaceChildren(...children.flat(9).filter(Boolean));
}

let count = 0;

// An id that the page has once.
export function newId() {
  count += 1;
  return `n${count}`;
}
