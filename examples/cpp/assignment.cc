#include "assignment.h"

#include <cstdint>
#include <numeric>

namespace mw = modelward::v1;

namespace {

constexpr int kBuckets = 10000;
constexpr int kNamespaceBuckets = 1000;

// 32-bit FNV-1a.
std::uint32_t Fnv1a(const std::string& text) {
  std::uint32_t hash = 2166136261u;
  for (unsigned char byte : text) hash = (hash ^ byte) * 16777619u;
  return hash;
}

// Returns the default of the contract for a value of zero.
double Or(double value, double otherwise) { return value == 0 ? otherwise : value; }

// Returns the index of the variant assigned to a unit, or -1.
int Dealt(const mw::AbTest& test, const std::string& unit, int bucket) {
  const auto& share = test.namespace_();
  if (test.has_namespace_() && !InNamespace(unit, share.name(), share.from(), share.until())) return -1;
  std::vector<double> weights;
  for (const auto& variant : test.variants()) weights.push_back(Or(variant.weight(), 1));
  return VariantOf(bucket, weights, test.has_coverage() ? test.coverage() : 1);
}

int Winner(const mw::AbTest& test) {
  int index = 0;
  while (index + 1 < test.variants_size() && test.variants(index).name() != test.conclusion().winner()) ++index;
  return index;
}

}  // namespace

Assignment Assign(const mw::AbTest& test, const std::string& unit) {
  const int bucket = BucketOf(test.salt().empty() ? test.test() : test.salt(), unit);
  if (test.has_conclusion()) return {Winner(test), false, bucket};
  const int dealt = Dealt(test, unit, bucket);
  return {test.shadow() || dealt < 0 ? 0 : dealt, dealt >= 0, bucket};
}

int BucketOf(const std::string& salt, const std::string& unit) {
  return Fnv1a(std::to_string(Fnv1a(salt + unit))) % kBuckets;
}

bool InNamespace(const std::string& unit, const std::string& name, double from, double until) {
  const double place = static_cast<double>(Fnv1a(unit + "__" + name) % kNamespaceBuckets) / kNamespaceBuckets;
  return from <= place && place < until;
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
