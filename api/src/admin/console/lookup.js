// The two lookups: a key, and a mutation by its position.

import { $, bytes, bytesOf, escaped, fromBase64, h, pair, toBase64, user, utf8 } from './dom.js';
import { moment } from './tables.js';

/** Makes the forms work. `ask(path)` answers `{status, body}`. */
export function setUp(ask) {
  submit('key-form', 'key-found', async () => {
    const text = $('key').value;
    const isBase64 = $('key-form-as').value === 'base64';
    if (isBase64 && !/^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text.trim())) {
      return [h('p', { class: 'warned' }, 'This is no base64.')];
    }
    const encoded = isBase64 ? text.trim() : toBase64(new TextEncoder().encode(text));
    const query = new URLSearchParams({ key_b64: encoded, consistency: $('consistency').value });
    if ($('tenant').value !== '') query.set('tenant', $('tenant').value);
    // A plus in a query is a plus to the server.
    const { status, body } = await ask('/admin/key?' + query.toString().replaceAll('+', '%20'));
    return status === 200 ? ofKey(body) : ofProblem(status, body);
  });
  submit('position-form', 'position-found', async () => {
    const position = $('position').value.trim();
    const { status, body } = await ask('/admin/mutations/' + encodeURIComponent(position));
    return status === 200 ? ofMutation(body) : ofProblem(status, body);
  });
}

/** Looks a key up that is shown elsewhere on the page. */
export function lookUp(tenant, text, base64) {
  $('key-form-as').value = typeof text === 'string' && !/[\r\n]/.test(text) ? 'text' : 'base64';
  $('key').value = $('key-form-as').value === 'text' ? text : base64;
  $('tenant').value = tenant ?? '';
  $('key-form').requestSubmit();
  $('key').focus();
}

function submit(form, found, look) {
  let last = 0;
  $(form).addEventListener('submit', async (event) => {
    event.preventDefault();
    const own = ++last;
    const shown = await look().catch((error) => [h('p', { class: 'warned' }, 'No answer: ' + error.message)]);
    // An answer to an earlier question is not shown.
    if (own === last) $(found).replaceChildren(...shown);
  });
}

function ofProblem(status, body) {
  if (status === 401) return [h('p', { class: 'warned' }, 'A token is needed: see above.')];
  const words = [body.title, body.detail, body.hint].filter(Boolean).join(': ');
  return [h('p', { class: 'warned' }, words || 'The answer was ' + status + '.')];
}

function list(rows) {
  return h('dl', { class: 'pairs' }, ...rows.map(([name, value]) => pair(name, value)));
}

const CODE = (text) => h('code', {}, text);

function ofKey(told) {
  const where = [
    ['Belongs to', 'partition ' + told.partition + ' on ' + told.shard],
    ['As of', CODE(told.position)],
  ];
  if (!told.found) {
    return [h('p', { class: 'warned' }, 'There is no such key of tenant ' + told.tenant + '.'), list(where)];
  }
  return [value(told), list([
    ['Version', CODE(told.version)],
    ['Content type', user(told.content_type)],
    ['Size', bytes(told.size)],
    ['Expires', told.expires_at ? moment(told.expires_at) : 'never'],
    ['Written', moment(told.updated_at)],
    ['Made', moment(told.created_at)],
    ['Tenant', told.tenant],
    ...where,
  ])];
}

function value(told) {
  const begin = fromBase64(told.value_b64);
  const text = utf8(begin, told.whole);
  const label = 'The value' + (told.whole ? '' : ', its first ' + bytes(begin.length)) + (text === null ? ', as bytes' : '');
  const shown = begin.length === 0 ? '(empty)' : text === null ? escaped(begin) : lines(text);
  return h('figure', {}, h('figcaption', { class: 'quiet' }, label),
    h('pre', { class: 'user', dir: 'auto', tabindex: '0', 'aria-label': label }, shown));
}

/** A value keeps its lines; everything else that cannot be seen is spelled out. */
function lines(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (c) => '\\u{' + c.charCodeAt(0).toString(16) + '}');
}

const STATUS = {
  accepted: 'accepted: it is on the log and not applied yet',
  applied: 'applied',
  rejected: 'rejected: it had no effect',
  duplicate: 'a duplicate',
  dead_lettered: 'dead-lettered: it can never apply',
  forgotten: 'not known any more: outcomes are kept for 24 hours',
};

function ofMutation(told) {
  const rows = [['Position', CODE(told.position)], ['Became', STATUS[told.status] ?? told.status]];
  if (told.problem) rows.push(['Why', [told.problem.reason ?? told.problem.code, told.problem.detail].filter(Boolean).join(': ')]);
  if (told.of) rows.push(['Duplicate of', CODE(told.of)]);
  if (told.version && !told.control) rows.push(['Version', CODE(told.version)]);
  rows.push(['Time', moment(told.time)]);
  if (told.control) rows.push(['What', 'a control record of Millpond itself']);
  const key = bytesOf(told, 'key') ?? bytesOf(told, 'record_key');
  if (told.tenant) rows.push(['Tenant', told.tenant]);
  if (key) rows.push(['Key', h('bdi', { class: 'user' }, key.shown)]);
  return [list(rows)];
}
