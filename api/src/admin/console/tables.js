// What the page shows by itself: tiles, partitions, shards, dead letters, checks, limits.

import { $, Table, bytes, bytesOf, duration, h, number, pair, say, toBase64 } from './dom.js';

const partitions = new Table($('partitions-table'), 'Partitions and how far they are behind the log', [
  { name: 'Partition', header: true },
  { name: 'Shard', class: 'less of-log' },
  { name: 'State' },
  { name: 'Behind, records', class: 'wide of-log' },
  { name: 'Behind, time', class: 'num of-log' },
  { name: 'Applied up to', class: 'num less of-log' },
  { name: 'Log ends at', class: 'num less of-log' },
]);
const shards = new Table($('shards-table'), 'Shards and their nodes', [
  { name: 'Shard', header: true },
  { name: 'Node' },
  { name: 'State' },
  { name: 'Behind the primary', class: 'num' },
  { name: 'Reads', class: 'num less' },
  { name: 'Connections', class: 'num less' },
  { name: 'Address', class: 'less' },
]);
const letters = new Table($('letters-table'), 'The newest dead letters', [
  { name: 'Position', header: true },
  { name: 'Reason' },
  { name: 'Time' },
  { name: 'Tenant' },
  { name: 'Key' },
]);

const STATES = { ok: 'good', degraded: 'warn', failed: 'bad', unknown: 'none' };

/** A state with its sign, so that it is told without colours too. */
function state(text, kind) {
  return { text, class: 'state ' + kind, key: text + kind };
}

/** By partition: what the writer in this process says of it. */
function states(checks) {
  const found = new Map();
  for (const check of checks) {
    const match = /^partition (\d+)$/.exec(check.name);
    if (!match) continue;
    const halted = /^halted, ([a-z-]+): (.*)$/s.exec(check.detail);
    if (check.status === 'ok') found.set(Number(match[1]), { kind: 'good', text: 'running', detail: '' });
    else if (halted) found.set(Number(match[1]), { kind: 'bad', text: 'halted: ' + halted[1], detail: halted[2] });
    else found.set(Number(match[1]), { kind: 'warn', text: 'waits', detail: check.detail.replace(/^waits: /, '') });
  }
  return found;
}

export function showPartitions(overview) {
  const known = states(overview.checks);
  const lags = overview.partitions.length > 0
    ? overview.partitions
    : [...known.keys()].sort((a, b) => a - b).map((partition) => ({ partition }));
  $('partitions').hidden = lags.length === 0;
  // A process without an api knows how its partitions are, not how far.
  $('partitions-table').classList.toggle('no-log', overview.partitions.length === 0);
  const most = Math.max(1, ...lags.map((lag) => lag.lag_records ?? 0));
  partitions.show(lags.flatMap((lag) => {
    const here = known.get(lag.partition) ?? guess(lag);
    const row = {
      key: lag.partition,
      cells: [
        String(lag.partition),
        lag.shard ?? '–',
        state(here.text, here.kind),
        lag.applied === undefined ? '–' : behind(lag, most),
        lag.applied === undefined ? '–' : duration(lag.lag_seconds),
        lag.applied === undefined ? '–' : number(lag.applied),
        lag.applied === undefined ? '–' : number(lag.log_end),
      ],
    };
    return here.detail ? [row, detail(lag.partition, here.detail)] : [row];
  }));
}

/** Where another process writes: what can be seen from here. */
function guess(lag) {
  if (lag.lag_records === null || lag.lag_records === undefined) return { kind: 'none', text: 'unknown', detail: '' };
  if ((lag.lag_seconds ?? 0) >= 10) return { kind: 'warn', text: 'behind', detail: '' };
  return { kind: 'good', text: 'keeps up', detail: '' };
}

function behind(lag, most) {
  const records = lag.lag_records;
  const kind = (lag.lag_seconds ?? 0) >= 10 ? 'warn' : '';
  return { text: number(records), bar: records ? Math.max(0.02, records / most) : 0, class: 'behind ' + kind };
}

/** A row below a partition with why it stands still. */
function detail(partition, text) {
  return { key: partition + ' detail', class: 'detail', cells: ['', { text, span: 6, class: 'why-not' }] };
}

export function showShards(overview) {
  $('shards').hidden = overview.shards.length === 0;
  shards.show(overview.shards.flatMap((shard) => shard.nodes.map((node, at) => {
    const primary = node.kind === 'primary';
    const down = node.resting || (primary && !shard.answers);
    const count = shard.partitions.length === 1 ? '1 partition' : shard.partitions.length + ' partitions';
    const name = h('span', {}, shard.name, h('span', { class: 'less quiet' }, ' · ' + count));
    const lag = node.lag_records === 0 ? '0' : number(node.lag_records) + ' · ' + duration(node.lag_seconds);
    return {
      key: shard.name + ' ' + at,
      class: primary ? 'first' : '',
      cells: [
        primary ? { text: shard.name, element: name, key: count } : '',
        primary ? 'primary' : 'replica ' + at,
        down ? state(primary ? 'does not answer' : 'resting', primary ? 'bad' : 'warn') : state('answers', 'good'),
        primary ? '–' : lag,
        number(node.queries),
        node.connections_in_use + ' of ' + node.connections,
        { text: node.address, class: 'address', element: h('code', { title: node.address }, place(node.address)), key: node.address },
      ],
    };
  })));
}

/** An address without what is the same for all: scheme and user. */
function place(address) {
  return address.replace(/^[a-z]+:\/\/([^@/]*@)?/, '');
}

export function showLetters(told, lookUp) {
  $('letters').hidden = false;
  const reasons = Object.entries(told.reasons).map(([reason, count]) => number(count) + ' ' + reason).join(', ');
  const missing = told.complete ? '' : ' Without those of ' + (told.unreachable.join(', ') || 'some partitions') + ', which did not answer.';
  const shown = told.dead_letters.length < told.total ? ' The newest ' + told.dead_letters.length + ':' : '';
  say($('letters-sum'), (told.total === 0
    ? (told.complete ? 'None: every record on the log could be applied or judged.' : 'None where they could be asked for.')
    : number(told.total) + ' records can never apply: ' + reasons + '.' + shown) + missing);
  $('letters-table').hidden = told.total === 0;
  letters.show(told.dead_letters.map((letter) => ({
    key: letter.position,
    cells: [
      letter.position,
      { text: letter.reason, element: reason(letter), key: letter.reason + letter.detail },
      { text: letter.time, element: moment(letter.time), key: letter.time },
      letter.tenant ?? '–',
      keyCell(letter, lookUp),
    ],
  })));
}

function reason(letter) {
  return h('span', {}, letter.reason, letter.detail ? h('span', { class: 'quiet why' }, letter.detail) : null);
}

/** A time as it is, without the milliseconds; they are in its title. */
export function moment(time) {
  return h('time', { datetime: time, title: time }, time.replace('T', ' ').replace(/\.\d+Z$/, ' UTC'));
}

function keyCell(letter, lookUp) {
  const key = bytesOf(letter, 'key');
  if (!key) {
    const raw = bytesOf(letter, 'record_key');
    return raw ? { text: raw.shown, element: h('bdi', { class: 'user' }, raw.shown), key: raw.shown } : 'none';
  }
  const button = h('button', { type: 'button', class: 'link', title: 'Look this key up' }, h('bdi', { class: 'user' }, key.shown));
  button.addEventListener('click', () => lookUp(letter.tenant, letter.key, toBase64(key.bytes)));
  return { text: key.shown, element: button, key: key.shown };
}

export function showChecks(checks) {
  $('checks').hidden = checks.length === 0;
  const signature = JSON.stringify(checks);
  if ($('checks-list').dataset.said === signature) return;
  $('checks-list').dataset.said = signature;
  const told = checks.filter((check) => !check.name.startsWith('partition ')).map((check) =>
    checked(check.name, STATES[check.status] ?? 'none', check.detail || check.status));
  // Those that do not run are told of one by one above.
  const partitions = checks.filter((check) => check.name.startsWith('partition '));
  const running = partitions.filter((check) => check.status === 'ok').length;
  if (partitions.length > 0) {
    const all = running === partitions.length;
    told.push(checked('partitions', all ? 'good' : 'warn', running + ' of ' + partitions.length + ' running'));
  }
  $('checks-list').replaceChildren(...told);
}

function checked(name, kind, detail) {
  return h('li', {}, h('span', { class: 'state ' + kind }, name), h('span', { class: 'quiet' }, detail));
}

const LIMITS = {
  key_bytes_max: ['Longest key', bytes],
  value_bytes_max: ['Longest value', bytes],
  batch_operations_max: ['Most operations in a batch', number],
  batch_bytes_max: ['Longest batch', bytes],
  page_rows_max: ['Most rows on a page', number],
};

export function showLimits(limits, topology) {
  $('limits').hidden = !limits;
  if (!limits) return;
  const rows = Object.entries(limits).map(([name, value]) => {
    const [words, show] = LIMITS[name] ?? [name, number];
    return [words, show(value)];
  });
  if (topology) rows.push(['Epoch of the topology', number(topology.epoch)], ['Generation of the log', number(topology.generation)]);
  const signature = JSON.stringify(rows);
  if ($('limits-list').dataset.said === signature) return;
  $('limits-list').dataset.said = signature;
  $('limits-list').replaceChildren(...rows.map(([name, value]) => pair(name, value)));
}

const tiles = new Map();

export function showTiles(overview, rate, dead) {
  const lags = overview.partitions;
  $('tiles').hidden = lags.length === 0;
  if (lags.length === 0) return;
  const behind = lags.reduce((sum, lag) => sum + (lag.lag_records ?? 0), 0);
  const slowest = Math.max(0, ...lags.map((lag) => lag.lag_seconds ?? 0));
  const nodes = overview.shards.flatMap((shard) => shard.nodes.map((node) =>
    !(node.resting || (node.kind === 'primary' && !shard.answers))));
  tile('Appended', rate === null ? '–' : number(Math.round(rate)) + '/s', 'records on the log');
  tile('Behind', number(behind), behind === 0 ? 'all is applied' : 'records, ' + duration(slowest) + ' at most');
  tile('Nodes', nodes.filter(Boolean).length + ' of ' + nodes.length, 'of ' + overview.shards.length + ' shards answer');
  tile('Dead letters', dead === null ? '–' : number(dead), 'records that can never apply');
}

function tile(name, figure, words) {
  let found = tiles.get(name);
  if (!found) {
    found = { figure: h('dd', { class: 'figure' }), words: h('dd', { class: 'quiet' }) };
    $('tiles').append(h('div', {}, h('dt', {}, name), found.figure, found.words));
    tiles.set(name, found);
  }
  say(found.figure, figure);
  say(found.words, words);
}
