'use strict';
// The reader of a replay. Whatever was said is put into the page as text, never as markup.

const run = JSON.parse(document.getElementById('contents').textContent);
const byId = (id) => document.getElementById(id);
const unpacked = new Map();
let open = 0; // which session
let turns = []; // its turns
let chosen = 0; // which of them
let asked = 0; // how often a session was asked for
const detail = h('div', { id: 'detail' });

// --- making elements ---------------------------------------------------------------------------------------------------

function h(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else if (name.startsWith('--')) made.style.setProperty(name, value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return made;
}

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const words = (name) => String(name).replaceAll('_', ' ');
const known = (value) => typeof value === 'number';
const plain = (value, digits) => (known(value) ? value.toFixed(digits).replace('-', '−') : 'not kept');
function signed(value, digits = 2) {
  if (!known(value)) return 'not kept';
  const text = Math.abs(value).toFixed(digits);
  return (Number(text) === 0 ? '±' : value > 0 ? '+' : '−') + text;
}
// Small numbers keep two digits that say something.
const fine = (value) => signed(value, known(value) && value !== 0 && Math.abs(value) < 0.05 ? (Math.abs(value) < 0.0005 ? 4 : 3) : 2);
const signClass = (value) => (!known(value) || Math.abs(value) < 1e-9 ? 'num' : value > 0 ? 'num plus-text' : 'num minus-text');
const share = (value, low, high) => String(Math.min(1, Math.max(0, (value - low) / (high - low))));

// A bar from zero, to the right where it adds, to the left where it takes; full where that is good, hatched where it is not.
function signedBar(value, most, good = value) {
  const reach = known(value) && most > 0 ? Math.min(1, Math.abs(value) / most) / 2 : 0;
  const bar = h('i', { class: good < 0 ? 'minus' : good > 0 ? 'plus' : '', '--from': String(value < 0 ? 0.5 - reach : 0.5), '--to': String(value < 0 ? 0.5 : 0.5 + reach) });
  return h('span', { class: 'track middle', 'aria-hidden': 'true' }, reach ? bar : null);
}

// A level between two ends, with the place it came from dotted.
function levelBar(was, now, low, high) {
  const middle = low < 0;
  const from = middle ? Math.min(now, 0) : low, to = middle ? Math.max(now, 0) : now;
  return h('span', { class: middle ? 'track middle' : 'track', 'aria-hidden': 'true' },
    h('i', { '--from': share(from, low, high), '--to': share(to, low, high) }),
    known(was) && was !== now ? h('u', { class: 'past', '--at': share(was, low, high) }) : null,
    h('u', { '--at': share(now, low, high) }));
}

const row = (label, bar, value, valueClass = 'num') => h('span', { class: 'row' }, h('span', {}, label), bar, h('span', { class: 'value ' + valueClass }, value));

function levelRow(name, was, now, low, high, digits) {
  const change = known(was) ? ` (${fine(now - was)})` : '';
  return row(words(name), levelBar(was, now, low, high), plain(now, digits) + change);
}

function fold(summary, fill, plainSummary = false) {
  const box = h('details', {}, h('summary', plainSummary ? { class: 'plain' } : {}, summary));
  box.addEventListener('toggle', () => {
    if (box.open && box.childElementCount === 1) box.append(h('div', { class: 'open' }, fill()));
  });
  return box;
}

const part = (label, value, most, how, turned = 1) => h('span', { class: 'row' }, h('span', {}, label), signedBar(value, most, value * turned), h('span', { class: 'value ' + signClass(value * turned) }, fine(value)), how ? h('span', { class: 'how' }, how) : null);
const most = (values) => Math.max(0, ...values.filter(known).map(Math.abs));
// `turned` says what a rise means: 1 good, -1 bad, 0 neither.
const parts = (pairs, turned = 1) => { const top = most(pairs.map((p) => p[1])); return pairs.map(([label, value, how]) => part(label, value, top, how, turned)); };
const twoColumns = (rows) => { const half = Math.ceil(rows.length / 2); return h('div', { class: 'two' }, h('div', {}, rows.slice(0, half)), h('div', {}, rows.slice(half))); };
const bySize = (object) => Object.entries(object || {}).filter(([, v]) => known(v) && v !== 0).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
const section = (title, ...inside) => h('section', {}, h('h2', {}, title), ...inside);
const hint = (text) => h('p', { class: 'hint' }, text);

// --- sessions ----------------------------------------------------------------------------------------------------------

async function sessionTurns(number) {
  if (!unpacked.has(number)) {
    const bytes = Uint8Array.from(atob(run.sessions[number].packed), (c) => c.charCodeAt(0));
    const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
    unpacked.set(number, JSON.parse(text));
  }
  return unpacked.get(number);
}

const ENDINGS = {
  left: 'The client left: the alliance had fallen too far.', closed_well: 'The session closed well, in Integration.',
  turn_limit: 'The session ended at its last turn.',
};
const TREATMENTS = {
  planned: 'The treatment ended as planned.', left: 'With it the treatment ended.', dropped_out: 'The client did not come again.',
  session_limit: 'The agreed sessions were used up.',
};
const endedAs = (one) => (one.ending ? ENDINGS[one.ending] || `The session ended: ${words(one.ending)}.` : 'The session was not ended in this file.')
  + (one.treatment_ending ? ' ' + (TREATMENTS[one.treatment_ending] || `The treatment ended: ${words(one.treatment_ending)}.`) : '');
const shortEnd = (one) => ({ left: 'left', closed_well: 'closed well', turn_limit: 'turn limit' })[one.ending] || (one.ending ? words(one.ending) : 'not ended');
const sessionName = (one) => `Session ${one.session}` + (one.turns[0] > 1 ? `, from turn ${one.turns[0]}` : '');

async function openSession(number, turn = 0, move = true) {
  const mine = ++asked;
  const wanted = await sessionTurns(number);
  if (mine !== asked) return; // another session was asked for meanwhile
  [open, turns] = [number, wanted];
  drawWho(); drawSessions(); drawCourse(); drawTranscript();
  choose(turn < 0 ? turns.length - 1 : Math.min(turn, turns.length - 1), move);
}

function drawWho() {
  const { person, stage } = run.sessions[open];
  const about = [words(person.concern), `attachment strategy ${person.strategy}`, `stage ${stage} of treatment, ${run.stages[stage - 1]}`];
  const more = [person.opening && h('p', {}, `“${person.opening}”`), person.history && h('p', {}, person.history), person.manner && h('p', {}, `In conversation ${person.name} ${person.manner[0].toLowerCase()}${person.manner.slice(1).replace(/\.?$/, '.')}`)];
  byId('who').replaceChildren(
    h('h1', {}, person.name), h('p', { class: 'line' }, about.join(' · ')),
    h('details', {}, h('summary', { class: 'plain' }, 'The referral'), more.filter(Boolean)),
    ...run.notes.map((note) => h('p', { class: 'said-of' }, note)));
}

function drawSessions() {
  const count = run.sessions.length;
  const step = (by, label) => h('button', { type: 'button', disabled: !run.sessions[open + by], onclick: () => openSession(open + by) }, label);
  const select = h('select', { 'aria-label': 'Session', onchange: (event) => openSession(Number(event.target.value)) });
  let group = null, treatment = null;
  run.sessions.forEach((one, i) => {
    if (one.treatment !== treatment) {
      treatment = one.treatment;
      group = h('optgroup', { label: `${one.person.name}, ${words(one.person.concern)}` });
      select.append(group);
    }
    group.append(h('option', { value: i, selected: i === open }, `${sessionName(one)}: ${one.turns.length} turns, ${shortEnd(one)}`));
  });
  const box = h('input', { type: 'checkbox', onchange: (event) => document.body.classList.toggle('quiet', !event.target.checked) });
  box.checked = !document.body.classList.contains('quiet');
  const many = count > 1 ? [select, step(-1, 'Previous session'), step(1, 'Next session')] : [];
  byId('sessions').replaceChildren(...many, h('label', { class: 'check' }, box, 'Show what was thought and not said'));
}

// --- the course: phase, alliance and coiling, reward over all sessions of this client ---------------------------------------

function drawCourse() {
  const mine = run.sessions.map((one, i) => [one, i]).filter(([one]) => one.treatment === run.sessions[open].treatment);
  const points = mine.flatMap(([one, i]) => one.turns.map((_, k) => ({
    session: i, turn: k, phase: 'ABCD'.indexOf(one.phase[k]), alliance: one.alliance[k], coiling: one.coiling[k], reward: one.reward[k],
  })));
  const n = points.length;
  const edges = points.map((p, x) => (x && points[x - 1].session !== p.session ? x : 0)).filter(Boolean);
  const here = points.findIndex((p) => p.session === open && p.turn === chosen);
  // A line is broken where a session ends: what lies between two sessions was not seen.
  const line = (value) => points.map((p, x) => `${x && points[x - 1].session === p.session ? 'L' : 'M'}${x + 0.5} ${value(p)}`).join('');
  const steps = points.map((p, x) => `${x && points[x - 1].session === p.session ? 'L' : 'M'}${x} ${3 - p.phase}L${x + 1} ${3 - p.phase}`).join('');
  const largest = most(points.map((p) => p.reward)) || 1;
  // Twenty points of a phase change must not flatten the rest: bars grow with the square root.
  const tall = (value) => Math.sqrt(Math.abs(value || 0) / largest);
  const chart = (box, ...inside) => {
    const made = svg('svg', { viewBox: `0 ${box[0]} ${n} ${box[1]}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      svg('rect', { class: 'here', x: here, y: box[0], width: 1, height: box[1] }), ...inside,
      ...edges.map((x) => svg('path', { class: 'edge', d: `M${x} ${box[0]}v${box[1]}` })));
    made.addEventListener('click', (event) => {
      const box = made.getBoundingClientRect();
      const at = points[Math.min(n - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * n)))];
      if (at.session === open) choose(at.turn); else openSession(at.session, at.turn);
    });
    return made;
  };
  const now = points[here] || points[0];
  const band = (label, picture) => h('div', { class: 'band' }, h('span', {}, label), picture);
  const key = (kind, text, value) => [h('span', { class: 'key ' + kind, 'aria-hidden': 'true' }), text, ' ', h('b', { class: 'num' }, plain(value, 2))];
  const bars = points.map((p, x) => svg('rect', { class: p.reward < 0 ? 'loss' : 'gain', x: x + 0.2, width: 0.6, y: p.reward < 0 ? 0 : -tall(p.reward), height: tall(p.reward) }));
  byId('course').replaceChildren(
    band(['Phase ', h('b', {}, run.phases['ABCD'[now.phase]] || 'not kept'), h('br'), 'higher is deeper'], chart([-0.4, 3.8], ...[0, 1, 2, 3].map((y) => svg('path', { class: 'base', d: `M0 ${y}H${n}` })), svg('path', { class: 'phase', d: steps }))),
    band([...key('', 'Alliance', now.alliance), h('br'), ...key('dash', 'Coiling', now.coiling)], chart([-0.05, 1.1], svg('path', { class: 'base', d: `M0 0H${n}M0 1H${n}` }), svg('path', { class: 'alliance', d: line((p) => 1 - p.alliance) }), svg('path', { class: 'coiling', d: line((p) => 1 - p.coiling) }))),
    band(['Reward ', h('b', { class: 'num' }, signed(now.reward, 1)), h('br'), 'square-root scale'], chart([-1.05, points.some((p) => p.reward < 0) ? 2.1 : 1.1], svg('path', { class: 'base', d: `M0 0H${n}` }), ...bars)),
    edges.length ? h('p', { class: 'hint soft' }, `${mine.length} sessions of ${run.sessions[open].person.name}; a dotted upright is the time between two.`) : h('span'));
}

// --- the dialogue ---------------------------------------------------------------------------------------------------------

function spoken(who, name, text, unsaid) {
  return h('div', { class: who }, h('span', { class: 'speaker' }, name),
    unsaid ? h('p', { class: 'unsaid' }, h('span', { class: 'unseen' }, 'Thought, not said: '), unsaid) : null,
    h('p', { class: 'words' }, text || h('span', { class: 'soft' }, '(nothing was said)')));
}

function events(turn) {
  const found = [];
  const { phase_step: step, phase, rupture, stage_step: stage } = turn.after;
  if (step > 0) found.push(`The phase went forward to ${run.phases[phase]}.`);
  if (step < 0) found.push(`The phase fell back to ${run.phases[phase]}.`);
  if (rupture) found.push('A rupture: the client felt unmet or unsafe.');
  for (const broken of turn.judgement.violations) found.push(`The screen found in the reply: ${words(broken.kind)} (${broken.evidence}).`);
  if (stage > 0) found.push('A stage of treatment was gained.');
  if (stage < 0) found.push('A stage of treatment was lost.');
  return found.map((text) => h('p', { class: 'event' }, text));
}

function drawTranscript() {
  const one = run.sessions[open];
  const list = h('ol', { class: turns.length > 60 ? 'long' : '' }, turns.map((turn, i) => h('li', { class: 'turn', onclick: (event) => { if (i !== chosen && !event.target.closest('.pick')) choose(i); } },
    h('h3', {}, h('button', { type: 'button', class: 'pick', 'aria-pressed': 'false', onclick: () => choose(i) },
      h('b', {}, `Turn ${turn.turn}`), h('span', {}, run.phases[turn.before ? turn.before.phase : turn.after.phase]),
      h('span', { class: 'reward ' + signClass(turn.reward) }, `${signed(turn.reward, 1)} points`))),
    spoken('client', one.person.name, turn.client, i && turn.client_reasoning && turn.client_reasoning === turns[i - 1].client_reasoning ? 'As before.' : turn.client_reasoning),
    spoken('therapist', 'Therapist', turn.therapist, turn.therapist_reasoning),
    events(turn))));
  const last = turns[turns.length - 1];
  const next = run.sessions[open + 1];
  const ended = h('div', { class: 'ended' }, one.ending ? spoken('client', one.person.name, last.after.client, last.after.client_reasoning) : null,
    h('p', { class: 'event' }, endedAs(one)),
    next ? h('button', { type: 'button', class: 'more', onclick: () => openSession(open + 1) }, next.treatment === one.treatment ? `Go on to ${sessionName(next).toLowerCase()}` : `Go on to ${next.person.name}`) : null);
  byId('transcript').replaceChildren(h('h2', {}, `${sessionName(one)}, ${turns.length} turn${turns.length > 1 ? 's' : ''}`), list, ended);
}

const narrow = matchMedia('(max-width: 60rem)');

function choose(number, move = true) {
  chosen = number;
  const items = byId('transcript').querySelectorAll('.turn');
  items.forEach((item, i) => {
    item.classList.toggle('chosen', i === number);
    item.querySelector('.pick').setAttribute('aria-pressed', String(i === number));
  });
  drawDetail(); drawCourse(); place();
  const turn = turns[number];
  byId('status').textContent = `Turn ${turn.turn} of session ${run.sessions[open].session}, ${run.phases[turn.after.phase]}, ${signed(turn.reward, 1)} points.`;
  if (move) {
    items[number].querySelector('.pick').focus({ preventScroll: true });
    items[number].scrollIntoView({ block: narrow.matches ? 'start' : 'nearest' });
    byId('side').scrollTop = 0;
  }
}

// On a narrow page the numbers stand under the turn they belong to, else beside the dialogue.
function place() {
  const home = narrow.matches ? byId('transcript').querySelectorAll('.turn')[chosen] : byId('side');
  if (detail.parentElement !== home) home.append(detail);
}
narrow.addEventListener('change', place);

// --- the selected turn ------------------------------------------------------------------------------------------------------

function drawDetail() {
  const turn = turns[chosen];
  detail.replaceChildren(
    h('p', { class: 'title' }, `Turn ${turn.turn}: what the reply did`),
    standing(turn), reward(turn), judges(turn), movedNodes(turn), reservoirs(turn), phaseScore(turn), beliefs(turn), axes(turn));
}

function standing({ before, after }) {
  const at = 'ABCD'.indexOf(after.phase);
  const line = h('ol', { class: 'phases' }, ['A', 'B', 'C', 'D'].map((letter, i) => h('li', { class: i === at ? 'now' : i < at ? 'was' : '', 'aria-current': i === at ? 'step' : null }, run.phases[letter])));
  return section('Where the client is now', line,
    levelRow('alliance', before && before.alliance, after.alliance, 0, 1, 2),
    levelRow('coiling', before && before.coiling, after.coiling, 0, 1, 3),
    levelRow('attunement', before && before.attunement, after.attunement, 0, 1, 2),
    hint(`Stance asked of the therapist: ${words(after.stance)}. Coiling is how tightly the client's troubles hold: lower is looser. A dotted mark is where the turn began.`));
}

const REWARDS = {
  composite: 'judged skill', modifiers: 'stage bonus, penalty', phase_transition: 'phase change', stage_transition: 'stage change', taie_trend: 'axes trend',
  transformation: 'transformation', adaptation_events: 'adaptations', attunement_change: 'attunement', ending: 'turns not held', violations: 'frame broken',
};

function reward(turn) {
  const pairs = Object.entries(turn.reward_parts), top = most(pairs.map((p) => p[1]));
  return section(`Reward ${signed(turn.reward, 2)}`,
    hint(turn.trace ? 'Each part opens to what it was made of.' : 'The parts of the reward; what they were made of was not kept.'),
    pairs.map(([name, value]) => {
      const line = row(REWARDS[name] || words(name), signedBar(value, top), signed(value, 2), signClass(Math.abs(value) < 0.005 ? 0 : value));
      const told = value !== 0 || name === 'phase_transition' ? rewardTrace(name, value, turn) : null;
      return told ? fold(line, told) : h('div', {}, line);
    }));
}

// What a part of the reward was made of: a function that draws it, or null where the source did not keep it.
function rewardTrace(name, value, turn) {
  const { trace, before, after } = turn;
  const change = (what, low, high, digits) => (before ? () => Object.keys(after[what]).filter((k) => after[what][k] !== before[what][k]).map((k) => part(words(k), after[what][k] - before[what][k], most(Object.keys(after[what]).map((j) => after[what][j] - before[what][j])), `${plain(before[what][k], digits)} → ${plain(after[what][k], digits)}`)) : null);
  switch (name) {
    case 'composite': return trace && (() => [h('p', { class: 'soft' }, 'Points by dimension: its score, weighted for the stage of treatment.'), parts(bySize(trace.composite).map(([d, v]) => [words(d), v]))]);
    case 'modifiers': return trace && (() => parts(bySize(trace.modifiers).map(([d, v]) => [words(d), v])));
    case 'phase_transition': return trace && (() => phaseParts(trace));
    case 'taie_trend': return change('axes', -10, 10, 2);
    case 'adaptation_events': return change('loa', -10, 10, 2);
    case 'attunement_change': return before && (() => h('p', {}, `How near the therapist's picture is to the truth: ${plain(before.attunement, 3)} → ${plain(after.attunement, 3)}.`));
    case 'transformation': return () => h('p', {}, `How far the three axes have come toward their healthy middle since intake: ${plain(after.transformation, 3)} of 1.`);
    case 'ending': return () => h('p', {}, value > 0 ? 'For each turn that was not needed any more: what had to be done was done.' : 'For each turn that was not held: the client left or came no more.');
    case 'violations': return () => [h('p', { class: 'soft' }, 'What a reply must not do, found by rules; the scores stay as they were judged.'), ...turn.judgement.violations.map((v) => h('p', {}, `${words(v.kind)}: ${v.evidence}`))];
    default: return null;
  }
}

function judges(turn) {
  const { kind, harsh } = turn.judgement;
  const rows = run.dimensions.map((name, d) => {
    const k = kind.scores[d], s = harsh.scores[d], mean = (k + s) / 2;
    const bar = h('span', { class: 'track', 'aria-hidden': 'true' }, h('i', { '--from': share(Math.min(k, s), 0, 10), '--to': share(Math.max(k, s), 0, 10) }), h('u', { class: 'dot', '--at': share(k, 0, 10) }), h('u', { class: 'dot full', '--at': share(s, 0, 10) }));
    return fold(row(words(name), bar, h('span', {}, h('span', { class: 'unseen' }, 'kind '), plain(k, 1), h('span', { class: 'soft' }, ' / '), h('span', { class: 'unseen' }, 'harsh '), plain(s, 1))), () => dimension(name, d, mean, turn));
  });
  const column = (title, view) => h('div', {}, h('h3', {}, title), h('p', {}, view.narrative), h('ul', {}, [...view.critical_moments, ...view.recommendations].map((text) => h('li', {}, text))));
  return section(`The judges, ${plain(turn.judgement.composite, 1)} of 10`,
    hint('Each score from 0 to 10: the kind reader is the open circle, the harsh one the full circle. Above 6.5 a score helps, below 3.5 it harms.'),
    twoColumns(rows), h('div', { class: 'judges' }, column('The kind reader', kind), column('The harsh reader', harsh)));
}

function dimension(name, d, mean, turn) {
  const { kind, harsh } = turn.judgement;
  const asked = mean > 6.5 ? 'it helps' : mean < 3.5 ? 'it harms' : 'it neither helps nor harms';
  const inside = [h('p', {}, `Mean ${plain(mean, 1)}: ${asked}.` + (turn.trace ? ` ${signed(turn.trace.composite[name], 2)} of the reward.` : '')),
    kind.reasons[d] && h('p', {}, h('span', { class: 'soft' }, 'Kind: '), h('span', { class: 'quote' }, kind.reasons[d])),
    harsh.reasons[d] && h('p', {}, h('span', { class: 'soft' }, 'Harsh: '), h('span', { class: 'quote' }, harsh.reasons[d]))];
  const strongest = most((turn.moved || []).flatMap((node) => (node.causes || []).filter((c) => c[1] === 'direct' && c[0] === name).map((c) => c[2])));
  const nodes = turn.traced ? turn.moved.flatMap((node) => node.causes.filter((c) => c[1] === 'direct' && c[0] === name).map((c) => part(words(node.node), c[2], strongest, c[3], healthy(node)))) : [];
  const pools = turn.trace ? Object.entries(turn.trace.buckets).filter(([, b]) => known(b[0][name])).map(([pool, b]) => [words(pool), b[0][name]]) : [];
  if (nodes.length) inside.push(h('h4', {}, 'Nodes it moved, of those that moved most (level points)'), nodes);
  if (pools.length) inside.push(h('h4', {}, 'Reservoirs it moved'), parts(pools, 0));
  return inside.filter(Boolean);
}

// Whether a rise of the node is health (1), or a fall (-1); 0 where the source does not say.
const healthy = (node) => (known(node.toward_health) ? Math.sign(node.toward_health) * Math.sign(node.after - node.before) : 0);
const better = (node) => (!known(node.toward_health) || node.toward_health === 0 ? '' : node.toward_health > 0 ? 'toward health' : 'away from health');

function movedNodes(turn) {
  if (!turn.moved) return section('What moved most', hint('Not kept for this turn: the turn before it is not in the file.'));
  if (!turn.moved.length) return section('What moved most', hint('No node moved: no score lay above 6.5 or below 3.5.'));
  const top = most(turn.moved.map((n) => n.after - n.before));
  const lines = turn.moved.map((node) => {
    const line = row(words(node.node), signedBar(node.after - node.before, top, (node.after - node.before) * healthy(node)), `${plain(node.before, 2)} → ${plain(node.after, 2)}`);
    return turn.traced ? fold(line, () => trace(node)) : h('div', {}, line);
  });
  return section('What moved most',
    hint(turn.traced ? 'Levels of the client from 0 to 10: to the right what rose, to the left what fell, full toward health and hatched away from it. Each opens to what moved it.' : 'Levels of the client from 0 to 10: to the right what rose, to the left what fell. What moved each was not kept.'), lines);
}

function trace(node) {
  const kinds = { direct: [], bucket: [], edge: [] };
  node.causes.forEach(([source, type, value, how, why]) => (kinds[type] || kinds.edge).push([words(source), value, (kinds[type] ? how : `${words(type)}, ${how}`) + ` (${why})`]));
  if (node.other_edges_count) kinds.edge.push([`${node.other_edges_count} smaller edges`, node.other_edges, '']);
  const sum = (list) => list.reduce((total, one) => total + one[1], 0);
  const first = kinds.direct.slice(0, 2).map((p) => p[0]).join(', ') || 'no score';
  const chain = [first, `${words(node.node)} ${fine(node.after - node.before)}`, `coiling, ${better(node) || 'unchanged'}`, `phase score ${fine(node.phase_points)}`];
  const group = (title, list) => (list.length ? [h('h4', {}, `${title}: ${fine(sum(list))}`), parts(list, healthy(node))] : []);
  return [
    h('ol', { class: 'chain', 'aria-label': 'From score to phase' }, chain.map((text) => h('li', {}, text))),
    h('p', { class: 'soft' }, `${words(node.domain)}; ${{ increase: 'high is healthy', decrease: 'low is healthy', bipolar: 'the middle, 5, is healthy' }[node.direction] || node.direction}. The phase lets ${plain(node.phase_weight, 2)} of a score through, engagement ${plain(node.engagement, 2)}, resistance 1/(1 + ${plain(node.bq, 1)}).`),
    group('From the judges’ scores', kinds.direct), group('Through edges from other nodes', kinds.edge), group('Through reservoirs', kinds.bucket),
    node.clipped ? h('p', { class: 'soft' }, `${fine(node.clipped)} given back at a bound of the scale.`) : null,
  ].flat();
}

function reservoirs(turn) {
  const { before, after, trace: found } = turn;
  const rows = Object.entries(after.buckets).map(([name, now]) => {
    const was = before ? before.buckets[name] : null;
    const line = levelRow(name, was, now, 0, 1, 2), here = found && found.buckets[name];
    if (!here) return h('div', {}, line);
    return fold(line, () => {
      const [by, clipped, points] = here;
      const source = bySize(by).slice(0, 2).map(([d]) => words(d)).join(', ') || 'no score';
      return [h('ol', { class: 'chain', 'aria-label': 'From score to phase' }, [source, `${words(name)} ${fine(now - was)}`, `phase score ${fine(points)}`].map((text) => h('li', {}, text))),
        h('h4', {}, 'By dimension'), parts(bySize(by).map(([d, v]) => [words(d), v]), Math.sign(points) * Math.sign(now - was)),
        clipped ? h('p', { class: 'soft' }, `${fine(clipped)} given back: the reservoir was full or empty.`) : null].filter(Boolean);
    });
  });
  return section('Reservoirs of feeling', hint('From empty (0) to full (1); they move faster than the nodes and feed them.'), twoColumns(rows));
}

function phaseParts(found) {
  const p = found.phase;
  const nodes = turns[chosen].moved.map((node) => [words(node.node), node.phase_points]);
  const pools = Object.entries(found.buckets).map(([name, b]) => [words(name), b[2]]);
  const ordered = (list) => list.filter((one) => known(one[1]) && one[1] !== 0).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 6);
  return [
    parts([['turns before, in this phase', p.earlier], ['reservoirs, this turn', p.buckets], ['nodes, this turn', p.nodes]]),
    h('p', { class: 'soft' }, `Together ${plain(p.score, 3)}${known(p.forward_at) ? `, where ${plain(p.forward_at, 2)} leads on` : ''}; the alliance multiplies by ${plain(p.alliance_factor, 2)}, which the points already hold.`),
    h('h4', {}, 'Reservoirs that gave most'), parts(ordered(pools)), h('h4', {}, 'Nodes that gave most, of those that moved most'), parts(ordered(nodes))];
}

function phaseScore(turn) {
  const { trace: found, after, before } = turn;
  if (!found) return section('Phase score', h('p', { class: 'num' }, plain(after.phase_score, 3)), hint('How it was made up was not kept.'));
  const { score, forward_at: forward, back_at: back } = found.phase;
  const low = Math.min(back === null ? 0 : back, score, 0) - 0.05, high = Math.max(forward === null ? 0.3 : forward, score) + 0.05;
  const at = 'ABCD'.indexOf(before.phase);
  const bar = h('span', { class: 'track', 'aria-hidden': 'true' }, h('i', { class: score < 0 ? 'minus' : 'plus', '--from': share(Math.min(0, score), low, high), '--to': share(Math.max(0, score), low, high) }),
    [forward, back].filter(known).map((value) => h('u', { '--at': share(value, low, high) })));
  const bounds = [known(forward) && `${plain(forward, 2)} leads on to ${run.phases['ABCD'[at + 1]]}`, known(back) && `${plain(back, 2)} leads back to ${run.phases['ABCD'[at - 1]]}`].filter(Boolean).join('; ');
  return section('Phase score', hint(`What has loosened since the phase was entered. ${bounds}.`), fold(row(`in ${run.phases[before.phase]}`, bar, plain(score, 3)), () => phaseParts(found)));
}

function beliefs(turn) {
  if (!turn.misread) return section('The therapist’s picture of the client', hint('Not kept for this turn.'));
  return section('The therapist’s picture of the client',
    hint('Where it was most mistaken when the reply was given: believed is the open circle, true the full one.'),
    turn.misread.map(([node, belief, truth]) => row(words(node), h('span', { class: 'track', 'aria-hidden': 'true' }, h('i', { '--from': share(Math.min(belief, truth), 0, 10), '--to': share(Math.max(belief, truth), 0, 10) }), h('u', { class: 'dot', '--at': share(belief, 0, 10) }), h('u', { class: 'dot full', '--at': share(truth, 0, 10) })),
      h('span', {}, h('span', { class: 'unseen' }, 'believed '), plain(belief, 1), h('span', { class: 'soft' }, ' / '), h('span', { class: 'unseen' }, 'true '), plain(truth, 1)))));
}

const AXES = { rigidity_porosity: 'rigid ↔ porous', self_esteem: 'wounded ↔ inflated', cherishment_estrangement: 'estranged ↔ clinging' };

function axes({ before, after }) {
  const list = (values, olds, names) => Object.entries(values).map(([name, now]) => levelRow(names[name] || name, olds && olds[name], now, -10, 10, 1));
  return section('Axes and adaptation',
    hint('From −10 to 10. On the axes the middle is health; on the levels of adaptation more is better.'),
    h('div', { class: 'two' }, h('div', {}, list(after.axes, before && before.axes, AXES)), h('div', {}, list(after.loa, before && before.loa, {}))));
}

// --- keys and the start -------------------------------------------------------------------------------------------------------

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest('select, input, #side')) return;
  const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  if (by) {
    event.preventDefault();
    if (turns[chosen + by]) choose(chosen + by);
    else if (run.sessions[open + by]) openSession(open + by, by < 0 ? -1 : 0);
  } else if (event.key === 'Home' || event.key === 'End') {
    event.preventDefault();
    choose(event.key === 'Home' ? 0 : turns.length - 1);
  }
});

byId('foot').append(
  h('p', {}, 'A turn is chosen by click, touch or the keys ', h('kbd', {}, '↑'), ' ', h('kbd', {}, '↓'), '. Everything on this page was computed by a simulator from tables and a judge; it describes no person and supports no clinical decision.'),
  h('p', {}, 'Made by icarus replay. The page loads nothing and sends nothing.'));

byId('side').append(detail);
if (typeof DecompressionStream === 'undefined') byId('transcript').append(h('p', {}, 'This browser cannot unpack the page (it lacks DecompressionStream, of 2023). A newer one can.'));
else openSession(0, 0, false);
