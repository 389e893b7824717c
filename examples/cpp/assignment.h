// Which variant of an A/B test a unit gets, computed without a call.
#pragma once

#include <string>
#include <vector>

// The bucket of a unit, from 0 to 9,999: GrowthBook's hash of version 2.
int BucketOf(const std::string& salt, const std::string& unit);

// The index of the variant whose range holds the bucket; -1 when the unit takes no part.
// Weights are relative to each other; the coverage is the share of the units that take part, from 0 to 1.
int VariantOf(int bucket, const std::vector<double>& weights, double coverage);
