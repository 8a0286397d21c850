// Calls per minute as bars: granted below, refused on top.

import { h, svg } from './dom.js';
import { number, t } from './texts.js';

const HEIGHT = 120;
const STEP = 10;
const BAR = 7;

export function chart(minutes, clock) {
  const most = Math.max(1, ...minutes.map(({ granted, refused }) => granted + refused));
  const sum = (name) => minutes.reduce((total, minute) => total + minute[name], 0);
  const summary = t('calls.chart-summary', {
    granted: number(sum('granted')),
    refused: number(sum('refused')),
    most: number(Math.max(...minutes.map(({ granted, refused }) => granted + refused))),
  });
  const width = minutes.length * STEP;
  const bars = minutes.map((minute, nth) => bar(minute, nth, most, clock));
  return h('figure', { class: 'card chart' },
    h('figcaption', {}, h('strong', {}, t('calls.chart')), legend()),
    h('div', { class: 'plot' },
      h('div', { class: 'scale', 'aria-hidden': 'true' }, h('span', {}, number(most)), h('span', {}, '0')),
      svg('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': summary }, grid(width), bars)),
    h('div', { class: 'axis', 'aria-hidden': 'true' },
      h('span', {}, t('calls.ago', { minutes: minutes.length })),
      h('span', {}, t('calls.ago', { minutes: minutes.length / 2 })),
      h('span', {}, t('calls.now'))),
    h('p', { class: 'muted' }, summary));
}

function legend() {
  return h('span', { class: 'legend', 'aria-hidden': 'true' },
    h('span', { class: 'granted' }, t('calls.granted')), h('span', { class: 'refused' }, t('calls.refused')));
}

function grid(width) {
  return [0, 0.5, 1].map((part) => {
    const y = Math.min(HEIGHT - 0.5, Math.max(0.5, part * HEIGHT));
    return svg('line', { x1: 0, x2: width, y1: y, y2: y, class: 'grid' });
  });
}

function bar({ start, granted, refused }, nth, most, clock) {
  // What there is at all is seen: no bar is thinner than two units.
  const tall = (count) => (count === 0 ? 0 : Math.max(2, (count / most) * (HEIGHT - 4)));
  const [low, high] = [tall(granted), tall(refused)];
  const x = nth * STEP + (STEP - BAR) / 2;
  const text = t('calls.minute', { time: clock(start), granted: number(granted), refused: number(refused) });
  return svg('g', {}, svg('title', {}, text),
    svg('rect', { x: nth * STEP, y: 0, width: STEP, height: HEIGHT, class: 'touch' }),
    low > 0 && svg('rect', { x, y: HEIGHT - low, width: BAR, height: low, class: 'granted' }),
    high > 0 && svg('rect', { x, y: HEIGHT - low - high, width: BAR, height: high, class: 'refused' }));
}
