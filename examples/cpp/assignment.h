// Which variant of an A/B test a unit gets, computed without a call.
#pragma once

#include <string>
#include <vector>

#include "modelward/v1/comparison.pb.h"

// What a unit gets.
struct Assignment {
  int variant;   // The index of the variant; the control when the unit takes no part.
  bool in_test;  // Whether the unit takes part.
  int bucket;    // From 0 to 9,999.
};

// Says what a unit gets of a test that GetAbTest returned.
Assignment Assign(const modelward::v1::AbTest& test, const std::string& unit);

// The bucket of a unit, from 0 to 9,999: GrowthBook's hash of version 2.
int BucketOf(const std::string& salt, const std::string& unit);

// Whether a unit belongs to the share of a namespace from `from` up to but without `until`.
bool InNamespace(const std::string& unit, const std::string& name, double from, double until);

// The index of the variant whose range holds the bucket; -1 when the unit takes no part.
// Weights are relative to each other; the coverage is the share of the units that take part, from 0 to 1.
int VariantOf(int bucket, const std::vector<double>& weights, double coverage);
