// Assignment of units to variants of an A/B test, computed without a call.
const BUCKETS = 10_000;
const NAMESPACE_BUCKETS = 1_000;

/** 32-bit FNV-1a of the text's UTF-8 bytes. */
function fnv1a(text) {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, "utf8")) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

/**
 * Return the assignment of a unit for a test returned by GetAbTest: variant, whether the unit takes part, bucket.
 *
 * A unit that does not take part gets the control, as does every unit of a shadow test; every unit of a concluded test
 * gets the winner.
 */
export function assignmentOf(test, unit) {
  const bucket = bucketOf(test.salt || test.test, unit);
  if (test.conclusion) {
    return { variant: test.variants.find(({ name }) => name === test.conclusion.winner), inTest: false, bucket };
  }
  const dealt = dealtBy(test, unit, bucket);
  return { variant: test.variants[test.shadow ? 0 : Math.max(dealt, 0)], inTest: dealt >= 0, bucket };
}

/** Return the index of the variant assigned to a unit, or -1. A weight of zero, or no coverage, means 1. */
function dealtBy({ namespace: share, variants, coverage }, unit, bucket) {
  if (share && !inNamespace(unit, share.name, share.from, share.until)) return -1;
  const weights = variants.map(({ weight }) => weight || 1);
  return variantOf(bucket, weights, coverage ?? 1);
}

/** Return the bucket of a unit, from 0 to 9,999: GrowthBook's hash version 2. */
export function bucketOf(salt, unit) {
  return fnv1a(String(fnv1a(salt + unit))) % BUCKETS;
}

/** Return whether a unit is in the range of a namespace from `from` to `until`, exclusive. */
export function inNamespace(unit, name, from, until) {
  const place = (fnv1a(`${unit}__${name}`) % NAMESPACE_BUCKETS) / NAMESPACE_BUCKETS;
  return from <= place && place < until;
}

/**
 * Return the index of the variant whose range contains the bucket; -1 if the unit does not take part.
 *
 * Weights are relative to each other; the coverage is the share of the units that take part, from 0 to 1.
 */
export function variantOf(bucket, weights, coverage) {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const place = bucket / BUCKETS;
  let start = 0;
  for (const [index, weight] of weights.entries()) {
    const share = weight / total;
    if (place >= start && place < start + coverage * share) return index;
    start += share;
  }
  return -1;
}
