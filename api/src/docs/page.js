'use strict';
// Reads /openapi.json and shows it. Every text goes in as text, never as HTML.

const state = document.getElementById('state');
let spec;

/** An element with attributes and children; strings become text. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return node;
}

/** `code` and **strong** of a description; nothing else of Markdown. */
function prose(text) {
  return String(text ?? '').split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith('`')) return el('code', {}, part.slice(1, -1));
    if (part.startsWith('**')) return el('strong', {}, part.slice(2, -2));
    return part;
  });
}

function paragraphs(text) {
  return String(text ?? '').split('\n\n').filter(Boolean).map((part) => el('p', {}, prose(part)));
}

/** What a reference leads to, with what stands beside it. */
function resolve(value) {
  if (!value || !value.$ref) return value;
  const found = value.$ref.slice(2).split('/').reduce((at, name) => at?.[name.replaceAll('~1', '/')], spec);
  return { ...found, ...Object.fromEntries(Object.entries(value).filter(([key]) => key !== '$ref')) };
}

const nameOf = (value) => value?.$ref?.split('/').pop();

/** A schema in a few words. */
function brief(schema) {
  if (schema === true || schema === undefined) return 'anything';
  if (schema === false) return 'never there';
  if (schema.$ref) return nameOf(schema);
  if ('const' in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(' | ');
  for (const key of ['anyOf', 'oneOf']) if (schema[key] && !schema.properties) return schema[key].map(brief).join(' or ');
  if (schema.allOf && !schema.properties) return schema.allOf.map((one) => nameOf(one)).filter(Boolean).join(' and ');
  if (schema.type === 'array') return `list of ${brief(schema.items)}`;
  const type = [schema.type ?? (schema.properties ? 'object' : 'anything')].flat().join(' or ');
  const limits = [];
  if (schema.minimum !== undefined && schema.minimum > Number.MIN_SAFE_INTEGER) limits.push(`from ${schema.minimum}`);
  if (schema.maximum !== undefined && schema.maximum < Number.MAX_SAFE_INTEGER) limits.push(`to ${schema.maximum}`);
  if (schema.maxLength !== undefined) limits.push(`at most ${schema.maxLength} long`);
  if (schema.format) limits.push(schema.format);
  return type + (limits.length ? `, ${limits.join(', ')}` : '');
}

/** A schema with its members, each to be opened. */
function members(schema, depth = 0) {
  const name = nameOf(schema);
  const whole = resolve(schema);
  if (!whole || typeof whole !== 'object') return el('div', {}, el('code', {}, brief(schema)));
  const box = el('div', { class: 'members' });
  if (whole.description) box.append(el('div', { class: 'soft' }, prose(whole.description)));
  for (const [key, member] of Object.entries(whole.properties ?? {})) {
    const one = resolve(member);
    const row = el('div', {}, el('strong', {}, key), whole.required?.includes(key) ? '' : el('span', { class: 'soft' }, ' optional'), ' ', el('code', {}, brief(member)));
    if (one?.description) row.append(' ', el('span', { class: 'soft' }, prose(one.description)));
    const inner = one?.type === 'array' ? one.items : one;
    const deep = inner && (resolve(inner)?.properties || resolve(inner)?.oneOf || resolve(inner)?.allOf);
    if (deep && depth < 3) row.append(opened(nameOf(inner) ?? nameOf(member) ?? 'members', inner, depth + 1));
    box.append(row);
  }
  const parts = [...(whole.allOf ?? []), ...(whole.properties ? [] : whole.oneOf ?? whole.anyOf ?? [])];
  for (const part of parts) if (part.$ref && depth < 3) box.append(opened(nameOf(part), part, depth + 1));
  else if (part.properties && depth < 3) box.append(members(part, depth + 1));
  if (whole.type === 'array' && depth < 3) box.append(members(whole.items, depth + 1));
  if (!box.childNodes.length) box.append(el('code', {}, name ?? brief(whole)));
  return box;
}

/** Made when it is opened first: schemas may be deep. */
function opened(title, schema, depth) {
  const box = el('details', {}, el('summary', {}, el('code', {}, title)));
  box.addEventListener('toggle', () => { if (box.open && box.childNodes.length === 1) box.append(members(schema, depth)); });
  return box;
}

const quote = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;

/** A command that calls an operation with its examples. */
function curl(method, path, operation, type, example) {
  const parameters = (operation.parameters ?? []).map(resolve);
  const value = (one) => one.example ?? resolve(one.schema)?.examples?.[0];
  let url = path;
  for (const one of parameters.filter((one) => one.in === 'path')) url = url.replace(`{${one.name}}`, String(value(one)).split('/').map(encodeURIComponent).join('/'));
  const words = ['curl', '-i'];
  if (method === 'HEAD') words.push('-I');
  else if (method !== 'GET') words.push('-X', method);
  words.push(quote(location.origin + url));
  const token = document.getElementById('token').value;
  if (token) words.push('-H', quote(`Authorization: Bearer ${token}`));
  if (type) words.push('-H', quote(`Content-Type: ${type === '*/*' ? 'application/octet-stream' : type}`), '--data-binary', quote(typeof example === 'string' ? example : JSON.stringify(example)));
  return words.join(' ');
}

function copyable(make) {
  const code = el('code', {}, make());
  const button = el('button', { type: 'button' }, 'Copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
    } catch {
      // Without HTTPS there is no clipboard but on localhost: leave it selected.
      getSelection().selectAllChildren(code);
      button.textContent = 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  document.getElementById('token').addEventListener('input', () => { code.textContent = make(); });
  return el('div', { class: 'try' }, el('pre', {}, code), button);
}

function row(...cells) {
  return el('tr', {}, cells.map((cell) => el('td', {}, cell)));
}

function table(heads, rows) {
  return el('table', {}, el('thead', {}, el('tr', {}, heads.map((head) => el('th', { scope: 'col' }, head)))), el('tbody', {}, rows));
}

function show(value) {
  return el('pre', {}, el('code', {}, typeof value === 'string' ? value : JSON.stringify(value, null, 2)));
}

function body(content) {
  return Object.entries(content).map(([type, media]) => [
    el('p', {}, el('code', {}, type)),
    media.schema ? members(media['x-item-schema'] ?? media.schema) : '',
    media.example !== undefined ? show(media.example) : '',
  ]);
}

function answers(operation) {
  return Object.entries(operation.responses).map(([status, reference]) => {
    const answer = resolve(reference);
    const headers = Object.entries(answer.headers ?? {}).map(([name, reference]) => [name, resolve(reference)]).map(([name, header]) => el('div', {}, el('code', {}, name), ' ', el('span', { class: 'soft' }, prose(header.description))));
    const inside = [headers.length ? el('details', {}, el('summary', {}, 'headers'), headers) : ''];
    const fine = Number(status) < 400;
    if (fine && answer.content) inside.push(el('details', {}, el('summary', {}, 'body'), body(answer.content)));
    return row(el('strong', { class: fine ? 'ok' : 'bad' }, status), [...prose(answer.description), ...inside]);
  });
}

function operation(path, method, told) {
  const box = el('details', { class: 'op', id: told.operationId },
    el('summary', {}, el('span', { class: `method ${method.toLowerCase()}` }, method), el('span', { class: 'path' }, path), el('span', { class: 'soft' }, told.summary)));
  const fill = () => {
    if (box.childNodes.length > 1) return;
    const inner = el('div', {}, paragraphs(told.description));
    if (told.security?.length === 0) inner.append(el('p', { class: 'soft' }, 'No token is needed.'));
    const media = Object.entries(told.requestBody?.content ?? {}).filter(([, one]) => one.example !== undefined);
    inner.append(el('h3', {}, 'Try it'));
    if (media.length === 0) inner.append(copyable(() => curl(method, path, told)));
    for (const [type, one] of media) inner.append(copyable(() => curl(method, path, told, type, one.example)));
    const parameters = (told.parameters ?? []).map(resolve);
    if (parameters.length) inner.append(el('h3', {}, 'Parameters'), table(['name', 'in', 'form', 'what'],
      parameters.map((one) => row([el('code', {}, one.name), one.required ? '' : el('span', { class: 'soft' }, ' optional')], one.in, el('code', {}, brief(one.schema ?? one.content?.['application/json']?.schema)), prose(one.description)))));
    if (told.requestBody) inner.append(el('h3', {}, 'Body'), ...body(told.requestBody.content).flat());
    inner.append(el('h3', {}, 'Answers'), table(['status', 'what'], answers(told)));
    box.append(inner);
  };
  box.addEventListener('toggle', () => { if (box.open) fill(); });
  // Names of codes are in the descriptions of answers.
  const parts = [...told.parameters ?? [], ...Object.values(told.responses)].map(resolve);
  box.dataset.text = `${method} ${path} ${JSON.stringify(told)} ${JSON.stringify(parts)}`.toLowerCase();
  return box;
}

function render() {
  const content = document.getElementById('content');
  const nav = document.getElementById('nav');
  document.getElementById('version').textContent = spec.info.version;
  content.replaceChildren(el('div', { class: 'intro' }, paragraphs(spec.info.description)));
  const all = Object.entries(spec.paths).flatMap(([path, item]) => Object.entries(item)
    .filter(([, told]) => told.operationId).map(([method, told]) => ({ path, method: method.replace('x-', '').toUpperCase(), told })));
  for (const tag of spec.tags) {
    const heading = el('h2', {}, tag.name);
    const group = el('h2', {}, tag.name);
    content.append(heading, el('p', { class: 'soft' }, prose(tag.description)));
    nav.append(group);
    for (const { path, method, told } of all.filter((one) => one.told.tags.includes(tag.name))) {
      content.append(operation(path, method, told));
      nav.append(el('a', { href: `#${told.operationId}`, title: told.summary }, el('span', { class: `method ${method.toLowerCase()}` }, method), el('span', {}, path)));
    }
  }
  follow();
}

/** Opens what the address names. */
function follow() {
  const named = document.getElementById(location.hash.slice(1));
  if (named?.classList.contains('op')) {
    named.hidden = false;
    named.open = true;
    named.scrollIntoView();
  }
}

function search() {
  const words = document.getElementById('search').value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const box of document.querySelectorAll('details.op')) {
    box.hidden = !words.every((word) => box.dataset.text.includes(word));
    document.querySelector(`nav a[href="#${box.id}"]`).hidden = box.hidden;
  }
}

function dark(on) {
  document.documentElement.dataset.theme = on ? 'dark' : 'light';
  document.getElementById('theme').textContent = on ? 'Light' : 'Dark';
}

dark(matchMedia('(prefers-color-scheme: dark)').matches);
document.getElementById('theme').addEventListener('click', () => dark(document.documentElement.dataset.theme !== 'dark'));
document.getElementById('search').addEventListener('input', search);
addEventListener('hashchange', follow);
addEventListener('keydown', (event) => {
  if (event.key === '/' && !(event.target instanceof HTMLInputElement)) {
    event.preventDefault();
    document.getElementById('search').focus();
  }
});
fetch('/openapi.json').then(async (answer) => {
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  spec = await answer.json();
  render();
}).catch((error) => { state.textContent = `/openapi.json cannot be read: ${error.message}`; });
