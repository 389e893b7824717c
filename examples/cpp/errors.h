// What a failed call says beyond its status: the reason, facts for programs, and each field that is wrong.
#pragma once

#include <grpcpp/grpcpp.h>

#include <iosfwd>
#include <stdexcept>

// A call that failed.
class CallFailed : public std::runtime_error {
 public:
  explicit CallFailed(const grpc::Status& status);
  const grpc::Status status;
};

// Throws when a call failed.
void Check(const grpc::Status& status);

// Writes the status, the reason, its metadata and the fields that are wrong.
void Explain(const grpc::Status& status, std::ostream& out);
