// Assignment of units to variants of an A/B test, computed without a call.
#pragma once

#include <string>
#include <vector>

#include "modelward/v1/comparison.pb.h"

// The assignment of a unit.
struct Assignment {
  int variant;   // The index of the variant; the control if the unit does not take part.
  bool in_test;  // Whether the unit takes part.
  int bucket;    // From 0 to 9,999.
};

// Returns the assignment of a unit for a test returned by GetAbTest.
Assignment Assign(const modelward::v1::AbTest& test, const std::string& unit);

// Returns the bucket of a unit, from 0 to 9,999: GrowthBook's hash version 2.
int BucketOf(const std::string& salt, const std::string& unit);

// Returns whether a unit is in the range of a namespace from `from` to `until`, exclusive.
bool InNamespace(const std::string& unit, const std::string& name, double from, double until);

// Returns the index of the variant whose range contains the bucket; -1 if the unit does not take part.
// Weights are relative to each other; the coverage is the share of the units that take part, from 0 to 1.
int VariantOf(int bucket, const std::vector<double>& weights, double coverage);
