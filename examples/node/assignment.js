// Which variant of an A/B test a unit gets, computed without a call.
const BUCKETS = 10_000;

/** FNV-1a of 32 bits, of the text's UTF-8. */
function fnv1a(text) {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, "utf8")) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

/** Return the bucket of a unit, from 0 to 9,999: GrowthBook's hash of version 2. */
export function bucketOf(salt, unit) {
  return fnv1a(String(fnv1a(salt + unit))) % BUCKETS;
}

/**
 * Return the index of the variant whose range holds the bucket; -1 when the unit takes no part.
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
