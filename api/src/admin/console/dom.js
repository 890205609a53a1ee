// Small helpers around the document. Whatever is shown goes in as text: no function here makes markup of a string.

export const $ = (id) => document.getElementById(id);

/** An element with attributes, and children that are elements or texts. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === 'class') element.className = value;
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets a text only when it differs, so that nothing is read out again and no selection is lost. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Controls, and what changes the direction or the look of other text: shown by number.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** A user's text with everything that cannot be seen spelled out. */
export function visible(text) {
  return text.replace(/\\/g, '\\\\').replace(HIDDEN, (c) => {
    const code = c.charCodeAt(0);
    return code < 256 ? '\\x' + code.toString(16).padStart(2, '0') : '\\u{' + code.toString(16) + '}';
  });
}

export function fromBase64(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

export function toBase64(bytes) {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Bytes as text when they are UTF-8, else null. */
export function utf8(bytes, whole = true) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes, { stream: !whole });
  } catch {
    return null;
  }
}

/** Bytes that are no text, as text: printable ASCII as it is, the rest as \xNN. */
export function escaped(bytes) {
  return Array.from(bytes, (b) =>
    b === 0x5c ? '\\\\' : b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '\\x' + b.toString(16).padStart(2, '0')).join('');
}

/** A user's text, in a box of its own, so that it leaves the text around it alone. */
export function user(text) {
  return h('bdi', { class: 'user', dir: 'auto' }, text === '' ? '(empty)' : visible(text));
}

/** The members NAME or NAME_b64 of an object: `{text}`, as it is to be shown, and the bytes. */
export function bytesOf(object, name) {
  if (typeof object[name] === 'string') {
    return { shown: visible(object[name]), bytes: new TextEncoder().encode(object[name]) };
  }
  const encoded = object[name + '_b64'];
  if (typeof encoded !== 'string') return null;
  const bytes = fromBase64(encoded);
  return { shown: escaped(bytes), bytes };
}

export function number(value) {
  return value === null || value === undefined ? '?' : value.toLocaleString('en-US');
}

/** Seconds in words, such as "3 min 5 s". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '?';
  if (seconds < 10 && seconds % 1 !== 0) return seconds.toFixed(1) + ' s';
  const whole = Math.round(seconds);
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const parts = [];
  let rest = whole;
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0) parts.push(count + ' ' + unit);
  }
  return parts.slice(0, 2).join(' ') || '0 s';
}

export function bytes(count) {
  if (count === null || count === undefined) return '?';
  if (count < 1024) return count + ' B';
  const [size, unit] = count < 1024 * 1024 ? [1024, 'KiB'] : [1024 * 1024, 'MiB'];
  const value = count / size;
  return (Number.isInteger(value) ? value : value.toFixed(1)) + ' ' + unit;
}

/** A pair of a list of names and texts; a text may be an element. */
export function pair(name, value) {
  return h('div', {}, h('dt', {}, name), h('dd', {}, value));
}

// Said in words too: on a narrow screen rows are laid out as blocks, and browsers forget what they were.
const role = (name) => ({ role: name });

/**
 * A table whose rows are kept and whose cells change only when what they say does.
 * A cell is a text, or `{text, class, bar, span}`, or an element together with a `key` that tells when it is another one.
 */
export class Table {
  constructor(table, caption, columns) {
    this.rows = new Map();
    this.columns = columns;
    const head = h('tr', role('row'), ...columns.map((column) =>
      h('th', { scope: 'col', class: column.class, ...role('columnheader') }, column.name)));
    this.body = h('tbody', role('rowgroup'));
    table.setAttribute('role', 'table');
    table.replaceChildren(h('caption', { class: 'hidden' }, caption), h('thead', role('rowgroup'), head), this.body);
  }

  /** Shows `rows`, each `{key, cells, class}`, in this order. */
  show(rows) {
    const old = this.rows;
    this.rows = new Map();
    const elements = rows.map((row) => {
      const kept = old.get(row.key) ?? { element: h('tr', role('row')), said: [] };
      this.fill(kept, row);
      this.rows.set(row.key, kept);
      return kept.element;
    });
    const same = elements.length === this.body.children.length
      && elements.every((element, at) => this.body.children[at] === element);
    if (!same) this.body.replaceChildren(...elements);
  }

  fill(kept, row) {
    kept.element.className = row.class ?? '';
    row.cells.forEach((given, at) => {
      const cell = typeof given === 'object' && given !== null ? given : { text: String(given) };
      const said = JSON.stringify([cell.text, cell.class, cell.bar, cell.key, cell.span]);
      if (kept.said[at] === said) return;
      kept.said[at] = said;
      const column = this.columns[at];
      const element = kept.element.children[at]
        ?? kept.element.appendChild(
          column.header ? h('th', { scope: 'row', ...role('rowheader') }) : h('td', role('cell')));
      if (cell.span) element.colSpan = cell.span;
      element.className = [cell.span ? '' : column.class, cell.class].filter(Boolean).join(' ');
      element.replaceChildren(...(cell.element ? [cell.element] : content(cell)));
    });
  }
}

function content(cell) {
  if (cell.bar === undefined) return [cell.text];
  const fill = h('span', { class: 'fill' });
  fill.style.width = Math.max(0, Math.min(1, cell.bar)) * 100 + '%';
  const bar = h('span', { class: 'bar', 'aria-hidden': 'true' }, fill);
  return [h('span', { class: 'meter' }, bar, h('span', { class: 'figure' }, cell.text))];
}
