"use strict";

// Who can be told apart among some entries: what leaderboard/ranking/ranking.py says of all, said of those that are shown.
(() => {
  const MOST_GROUPS = 26;

  // p-values corrected for their number by Holm's step-down procedure.
  function holm(p) {
    const order = p.map((_, at) => at).sort((one, other) => p[one] - p[other]);
    const corrected = new Array(p.length);
    let least = 0;
    order.forEach((at, rank) => {
      least = Math.max(least, p[at] * (p.length - rank));
      corrected[at] = Math.min(least, 1);
    });
    return corrected;
  }

  // Groups of entries that are all alike, one for every pair that is; null if these are too many.
  function cliques(apart) {
    const numbers = apart.map((_, at) => at);
    const together = apart.map((row) => row.map(() => false));
    const groups = [];
    for (const one of numbers) {
      for (;;) {
        const missing = numbers.filter((at) => !apart[one][at] && !together[one][at]);
        if (!missing.length) break;
        const other = missing.find((at) => at !== one) ?? one;
        const group = one === other ? [one] : [one, other];
        for (const at of numbers) {
          if (!group.includes(at) && group.every((member) => !apart[member][at])) group.push(at);
        }
        groups.push(group.sort((a, b) => a - b));
        if (groups.length > MOST_GROUPS) return null;
        for (const a of group) for (const b of group) together[a][b] = true;
      }
    }
    return groups;
  }

  // The longest stretches of entries of which no two are told apart.
  function stretches(apart) {
    const count = apart.length;
    const ends = apart.map((row, one) => {
      const first = row.findIndex((is, at) => at > one && is);
      return first < 0 ? count : first;
    });
    for (let at = count - 2; at >= 0; at -= 1) ends[at] = Math.min(ends[at], ends[at + 1]);
    return ends
      .map((end, one) => Array.from({ length: end - one }, (_, at) => one + at))
      .filter((_, one) => one === 0 || ends[one] > ends[one - 1]);
  }

  function before(one, other) {
    const at = one.findIndex((member, place) => member !== other[place]);
    return at < 0 ? one.length - other.length : one[at] - (other[at] ?? -1);
  }

  function letter(number) {
    let text = "";
    for (let left = number; left >= 0; left = Math.floor(left / 26) - 1) text = String.fromCharCode(97 + (left % 26)) + text;
    return text;
  }

  // Letters of the groups of each entry, parted by spaces, from who is told apart from whom, in the order of the board.
  function letters(apart) {
    const mine = apart.map(() => []);
    (cliques(apart) || stretches(apart)).sort(before).forEach((members, number) => {
      for (const member of members) mine[member].push(letter(number));
    });
    return mine.map((some) => some.join(" "));
  }

  // p of two of so many places, out of a list of every pair alone: row by row, above the diagonal.
  function pick(alone, count, one, other) {
    const [a, b] = [Math.min(one, other), Math.max(one, other)];
    return alone[a * count - (a * (a + 1)) / 2 + b - a - 1];
  }

  // Letters of some places: p is corrected for their pairs, and no others.
  function among(places, count, alone, level) {
    const pairs = places.flatMap((_, a) => places.slice(a + 1).map((_, b) => [a, a + 1 + b]));
    const corrected = holm(pairs.map(([a, b]) => pick(alone, count, places[a], places[b])));
    const apart = places.map(() => places.map(() => false));
    pairs.forEach(([a, b], at) => {
      apart[a][b] = apart[b][a] = corrected[at] <= level;
    });
    return letters(apart);
  }

  // p of some places against one of them or another, corrected for how many there are; null for itself.
  function against(reference, places, count, alone) {
    const others = places.filter((place) => place !== reference);
    const corrected = holm(others.map((place) => pick(alone, count, place, reference)));
    return places.map((place) => (place === reference ? null : corrected[others.indexOf(place)]));
  }

  globalThis.mdbenchGroups = { holm, letters, among, against };
})();
