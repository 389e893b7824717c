#include "assignment.h"

#include <cstdint>
#include <numeric>

namespace {

constexpr int kBuckets = 10000;

// FNV-1a of 32 bits.
std::uint32_t Fnv1a(const std::string& text) {
  std::uint32_t hash = 2166136261u;
  for (unsigned char byte : text) hash = (hash ^ byte) * 16777619u;
  return hash;
}

}  // namespace

int BucketOf(const std::string& salt, const std::string& unit) {
  return Fnv1a(std::to_string(Fnv1a(salt + unit))) % kBuckets;
}

int VariantOf(int bucket, const std::vector<double>& weights, double coverage) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double place = static_cast<double>(bucket) / kBuckets;
  double start = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double share = weights[i] / total;
    if (place >= start && place < start + coverage * share) return static_cast<int>(i);
    start += share;
  }
  return -1;
}
