// A study's columns as rows, and which of them a page shows in which order.

export function toRows(study) {
  const place = new Map(study.ranking.map((row, i) => [row, i + 1]));
  return study.number.map((number, i) => ({
    number,
    index: i,
    state: study.state[i],
    round: study.round[i],
    plain: Boolean(study.plain[i]),
    kind: study.kind[i],
    rank: place.get(i) ?? null,
    values: Object.fromEntries(Object.entries(study.values).map(([name, column]) => [name, column[i]])),
    condition: Object.fromEntries(Object.entries(study.conditions).map(([name, column]) => [name, column[i]])),
  }));
}

const last = (value) => (value === null || value === undefined ? Infinity : value);

// What a list is sorted by: "rank", "newest", "oldest", "round", or "value:NAME" and "value:NAME:down".
export function sorted(rows, by) {
  const [kind, name, down] = by.split("\u0000");
  const key = {
    rank: (row) => last(row.rank),
    newest: (row) => -row.number,
    oldest: (row) => row.number,
    round: (row) => row.round,
    value: (row) => {
      const value = row.values[name] ?? row.condition[name];
      return value === null || value === undefined ? Infinity : down ? -value : value;
    },
  }[kind];
  return rows.map((row) => [key(row), row]).sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x.number - y.number))
    .map(([, row]) => row);
}

// `wanted`: {state, round, draws, equal: {name: text}, from: {name: number}, to: {name: number}}; empty texts ask nothing.
export function kept(rows, wanted) {
  const value = (row, name) => row.values[name] ?? row.condition[name];
  return rows.filter((row) => (
    (!wanted.state || row.state === wanted.state)
    && (!wanted.round || String(row.round) === wanted.round)
    && (!wanted.draws || row.plain === (wanted.draws === "plain"))
    && Object.entries(wanted.equal).every(([name, text]) => String(value(row, name)) === text)
    && Object.entries(wanted.from).every(([name, least]) => value(row, name) !== null && value(row, name) >= least)
    && Object.entries(wanted.to).every(([name, most]) => value(row, name) !== null && value(row, name) <= most)
  ));
}
