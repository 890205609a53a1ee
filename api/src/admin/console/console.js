// Asks this process how it is every two seconds while somebody looks, and shows what it says.

import { $, duration, h, say } from './dom.js';
import { lookUp, setUp } from './lookup.js';
import { showChecks, showLetters, showLimits, showPartitions, showShards, showTiles } from './tables.js';

const EVERY_MS = 2000;
const ANSWER_MS = 10000;
// Dead letters are read from the shards: more rarely.
const LETTERS_EVERY = 5;
const TOKEN = 'millpond-token';

let token = sessionStorage.getItem(TOKEN) ?? '';
let paused = false;
let asking = false;
let timer = 0;
let turn = 0;
let dead = null;
let before = null;
let answeredAt = 0;
// A lookup was refused for want of a token, though the rest is told without one.
let wanted = false;

async function ask(path) {
  const headers = token === '' ? {} : { Authorization: 'Bearer ' + token };
  const response = await fetch(path, {
    headers, cache: 'no-store', credentials: 'omit', redirect: 'error', signal: AbortSignal.timeout(ANSWER_MS),
  });
  const isJson = /json/.test(response.headers.get('Content-Type') ?? '');
  return { status: response.status, body: isJson ? await response.json() : await response.text() };
}

async function look() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    await show();
    answeredAt = Date.now();
  } catch (error) {
    showHealth({ status: 'failed', sentence: 'This process does not answer.', findings: [{
      status: 'failed', sentence: 'What is below is old.', remedy: 'See that it runs: ' + error.message + '.', command: null,
    }] });
  }
  asking = false;
  fresh();
  if (!paused && !document.hidden) timer = setTimeout(look, EVERY_MS);
}

async function show() {
  const { status, body } = await ask('/admin/overview');
  if (status === 401 || status === 403) return refused(status, body);
  if (status !== 200) throw new Error('the answer was ' + status);
  $('access').hidden = !wanted;
  $('token-held').hidden = token === '';
  const hasApi = body.topology !== null;
  const role = body.role === 'all' ? 'everything in one process' : body.role;
  say($('about'), body.version + ' · ' + role + ' · up ' + duration(body.uptime_seconds));
  showHealth(body.health);
  showPartitions(body);
  showShards(body);
  showChecks(body.checks);
  showLimits(body.limits, body.topology);
  $('lookups').hidden = !hasApi;
  if (hasApi && turn++ % LETTERS_EVERY === 0) await letters();
  showTiles(body, rate(body.partitions), dead);
}

async function letters() {
  const { status, body } = await ask('/admin/dead-letters?limit=20');
  if (status !== 200) return;
  dead = body.total;
  showLetters(body, lookUp);
}

/** Records a second that the log took since the last look; null: not known. */
function rate(partitions) {
  const now = { at: performance.now(), end: partitions.reduce((sum, lag) => sum + (lag.log_end ?? NaN), 0) };
  const last = before;
  before = now;
  if (!last || now.at - last.at < 500) return null;
  const perSecond = (now.end - last.end) / ((now.at - last.at) / 1000);
  return Number.isFinite(perSecond) ? Math.max(0, perSecond) : null;
}

/** Without a token that is good enough there are still the probes, which everybody may ask. */
async function refused(status, body) {
  $('access').hidden = false;
  $('token-held').hidden = token === '';
  const wrong = token !== '' && status === 401 ? 'The token is not known here, or has expired. ' : '';
  say($('access-why'), wrong + (body.detail ? 'This process says: ' + body.detail + '.' : 'This process tells more with a token.'));
  for (const id of ['partitions', 'shards', 'letters', 'lookups', 'tiles', 'limits']) $(id).hidden = true;
  const probe = await ask('/readyz?verbose');
  const checks = probe.body.split('\n').map((line) => /^\[[+~-]\](.*?) (ok|degraded|failed)(?:: (.*))?$/.exec(line))
    .filter(Boolean).map(([, name, health, detail]) => ({ name, status: health, detail: detail ?? '' }));
  const worst = checks.find((check) => check.status === 'failed') ?? checks.find((check) => check.status === 'degraded');
  showHealth({
    status: worst?.status ?? 'ok',
    sentence: worst ? worst.name + ': ' + worst.detail + '.' : 'Every check of this process passes.',
    findings: [],
  });
  showPartitions({ checks, partitions: [] });
  showChecks(checks);
}

const WORDS = { ok: 'Healthy', degraded: 'Degraded', failed: 'Needs you' };

function showHealth(health) {
  $('health').dataset.status = health.status;
  say($('status'), WORDS[health.status] ?? health.status);
  say($('sentence'), health.sentence);
  document.title = (health.status === 'ok' ? '' : (WORDS[health.status] ?? '') + ': ') + 'Millpond';
  const list = $('findings');
  list.hidden = health.findings.length === 0;
  const signature = JSON.stringify(health.findings);
  if (list.dataset.said === signature) return;
  list.dataset.said = signature;
  list.replaceChildren(...health.findings.map((finding, at) => h('li', { 'data-status': finding.status },
    at === 0 && finding.sentence === health.sentence ? null : h('p', {}, finding.sentence),
    h('p', { class: 'quiet' }, finding.remedy),
    finding.command ? command(finding.command) : null)));
  if (health.findings.length > 0) list.append(h('li', {}, h('p', { class: 'quiet' }, 'All of this in a terminal:'), command(doctor())));
}

/** What asks this very process. */
function doctor() {
  return 'millpond doctor --ops ' + location.origin;
}

function command(text) {
  const copy = h('button', { type: 'button', 'aria-label': 'Copy the command' }, 'Copy');
  copy.addEventListener('click', async () => {
    await navigator.clipboard?.writeText(text);
    copy.textContent = 'Copied';
  });
  return h('p', { class: 'command' }, h('code', {}, text), copy);
}

function fresh() {
  const words = answeredAt === 0 ? 'no answer yet' : 'as of ' + new Date(answeredAt).toLocaleTimeString();
  say($('fresh'), paused ? 'paused, ' + words : words);
}

$('pause').addEventListener('click', () => {
  paused = !paused;
  $('pause').setAttribute('aria-pressed', String(paused));
  say($('pause'), paused ? 'Go on' : 'Pause');
  if (paused) clearTimeout(timer);
  fresh();
  if (!paused) look();
});
document.addEventListener('visibilitychange', () => {
  if (document.hidden) clearTimeout(timer);
  else if (!paused) look();
});
$('access-form').addEventListener('submit', (event) => {
  event.preventDefault();
  token = $('token').value.trim();
  wanted = false;
  $('token').value = '';
  sessionStorage.setItem(TOKEN, token);
  turn = 0;
  look();
});
$('forget').addEventListener('click', () => {
  token = '';
  wanted = false;
  sessionStorage.removeItem(TOKEN);
  turn = 0;
  look();
});
setUp(async (path) => {
  const answer = await ask(path);
  if (answer.status === 401 || answer.status === 403) {
    wanted = true;
    $('access').hidden = false;
    say($('access-why'), answer.status === 401 && token === ''
      ? 'Values are told here only with a token of this deployment.'
      : 'The token does not do for this: ' + (answer.body.detail ?? answer.body.title) + '.');
    $('token').focus();
  }
  return answer;
});
look();
