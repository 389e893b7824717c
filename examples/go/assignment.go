package main

import (
	"hash/fnv"
	"strconv"

	mw "modelward.example/modelwardv1"
)

const (
	buckets          = 10_000
	namespaceBuckets = 1_000
)

// assignment is the assignment of a unit: the control if it does not take part, the winner of a concluded test.
type assignment struct {
	variant *mw.Variant
	inTest  bool
	bucket  int
}

// assignmentOf returns the assignment of a unit for a test returned by GetAbTest.
func assignmentOf(test *mw.AbTest, unit string) assignment {
	salt := test.GetSalt()
	if salt == "" {
		salt = test.GetTest()
	}
	bucket, variants := bucketOf(salt, unit), test.GetVariants()
	if ended := test.GetConclusion(); ended != nil {
		return assignment{named(variants, ended.GetWinner()), false, bucket}
	}
	dealt := dealtBy(test, unit, bucket)
	if dealt < 0 || test.GetShadow() {
		return assignment{variants[0], dealt >= 0, bucket}
	}
	return assignment{variants[dealt], true, bucket}
}

func named(variants []*mw.Variant, name string) *mw.Variant {
	for _, variant := range variants {
		if variant.GetName() == name {
			return variant
		}
	}
	return nil
}

// dealtBy returns the index of the variant assigned to a unit, or -1.
func dealtBy(test *mw.AbTest, unit string, bucket int) int {
	share := test.GetNamespace()
	if share != nil && !inNamespace(unit, share.GetName(), share.GetFrom(), share.GetUntil()) {
		return -1
	}
	weights := make([]float64, len(test.GetVariants()))
	for index, variant := range test.GetVariants() {
		weights[index] = or(variant.GetWeight(), 1)
	}
	coverage := 1.0
	if test.Coverage != nil {
		coverage = test.GetCoverage()
	}
	return variantOf(bucket, weights, coverage)
}

// or returns the default of the contract for a value of zero.
func or(value, otherwise float64) float64 {
	if value == 0 {
		return otherwise
	}
	return value
}

// fnv1a returns the 32-bit FNV-1a hash of the text's UTF-8 bytes.
func fnv1a(text string) uint32 {
	hash := fnv.New32a()
	hash.Write([]byte(text))
	return hash.Sum32()
}

// bucketOf returns the bucket of a unit, from 0 to 9,999: GrowthBook's hash version 2.
func bucketOf(salt, unit string) int {
	return int(fnv1a(strconv.FormatUint(uint64(fnv1a(salt+unit)), 10)) % buckets)
}

// inNamespace returns whether a unit is in the range of a namespace from start to until, exclusive.
func inNamespace(unit, namespace string, start, until float64) bool {
	place := float64(fnv1a(unit+"__"+namespace)%namespaceBuckets) / namespaceBuckets
	return start <= place && place < until
}

// variantOf returns the index of the variant whose range contains the bucket; -1 if the unit does not take part.
// Weights are relative to each other; the coverage is the share of the units that take part, from 0 to 1.
func variantOf(bucket int, weights []float64, coverage float64) int {
	total := 0.0
	for _, weight := range weights {
		total += weight
	}
	place, start := float64(bucket)/buckets, 0.0
	for index, weight := range weights {
		share := weight / total
		if start <= place && place < start+coverage*share {
			return index
		}
		start += share
	}
	return -1
}
